//! The chunked transfer coding of a request's body (RFC 9112 section 7.1), decoded strictly.

/// Longest chunk-size line and longest trailer line, extensions included.
const MAX_LINE: usize = 1024;
/// All trailer fields together. They are checked for their form and dropped.
const MAX_TRAILERS: usize = 8 * 1024;

/// Where the decoder stands in the stream.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    line: usize,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size: its value so far, and how many digits.
    Size(u64, u8),
    /// In a chunk extension; skipped.
    Extension(u64),
    /// After the CR of the size line.
    SizeLf(u64),
    /// In the data; so many bytes are left.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// What the decoder made of the bytes it was shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes were framing: drop them and call again.
    Skip(usize),
    /// The next so many bytes are data.
    Data(usize),
    /// So many bytes were framing, and the body is complete behind them.
    End(usize),
}

impl Chunked {
    pub(crate) fn new() -> Chunked {
        Chunked { state: State::Size(0, 0), line: 0, trailers: 0 }
    }

    /// Looks at the next bytes of the stream (not none). `Err`: malformed, the connection has to close.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, &'static str> {
        if let State::Data(left) = self.state {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.state = if n as u64 == left { State::DataCr } else { State::Data(left - n as u64) };
            return Ok(Step::Data(n));
        }
        for (i, &byte) in bytes.iter().enumerate() {
            self.state = self.next(byte)?;
            match self.state {
                State::End => return Ok(Step::End(i + 1)),
                State::Data(_) => return Ok(Step::Skip(i + 1)),
                _ => {}
            }
        }
        Ok(Step::Skip(bytes.len()))
    }

    fn next(&mut self, byte: u8) -> Result<State, &'static str> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err("chunk-size or trailer line too long");
        }
        Ok(match (self.state, byte) {
            (State::Size(size, digits), _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err("chunk size too large");
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                State::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (State::Size(_, 0), _) => return Err("chunk without a size"),
            (State::Size(size, _), b'\r') => State::SizeLf(size),
            (State::Size(size, _), b';') => State::Extension(size),
            (State::Size(..), _) => return Err("malformed chunk size"),
            (State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Extension(_), b'\n' | 0) => return Err("malformed chunk extension"),
            (State::Extension(size), _) => State::Extension(size),
            (State::SizeLf(0), b'\n') => self.new_line(State::TrailerStart),
            (State::SizeLf(size), b'\n') => self.new_line(State::Data(size)),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.new_line(State::Size(0, 0)),
            (State::DataCr | State::DataLf, _) => return Err("chunk longer than its size"),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, b'\n' | 0) => return Err("malformed trailer"),
            (State::TrailerStart | State::Trailer, _) => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS {
                    return Err("trailers too long");
                }
                State::Trailer
            }
            (State::TrailerLf, b'\n') => self.new_line(State::TrailerStart),
            (State::EndLf, b'\n') => State::End,
            (State::SizeLf(_) | State::TrailerLf | State::EndLf, _) => return Err("CR without LF"),
            (State::Data(_) | State::End, _) => return Err("decoder used beyond its end"),
        })
    }

    fn new_line(&mut self, state: State) -> State {
        self.line = 0;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire` shown in pieces of `piece` bytes; the data and what was left behind the body.
    fn decode(wire: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let (mut decoder, mut data, mut at) = (Chunked::new(), Vec::new(), 0);
        while at < wire.len() {
            let shown = &wire[at..(at + piece).min(wire.len())];
            match decoder.step(shown)? {
                Step::Skip(n) => at += n,
                Step::Data(n) => {
                    data.extend_from_slice(&shown[..n]);
                    at += n;
                }
                Step::End(n) => return Ok((data, wire[at + n..].to_vec())),
            }
        }
        Err("incomplete")
    }

    #[test]
    fn data_comes_out_however_it_was_cut() {
        let wire = b"5\r\nhello\r\n6;ext=\"a b\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET";
        for piece in 1..wire.len() {
            assert_eq!(decode(wire, piece), Ok((b"hello world".to_vec(), b"GET".to_vec())), "piece {piece}");
        }
    }

    #[test]
    fn malformed_framing_is_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(3000));
        for wire in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "11111111111111111\r\n",
            "-1\r\n",
            "+1\r\na",
            " 1\r\na",
            "1 \r\na\r\n",
            "0x1\r\na",
            "0\r\nA\nb",
            "0\r\n\rX",
            "1;a\nb",
            &long,
            &trailers,
        ] {
            let result = decode(wire.as_bytes(), 7);
            assert!(result.is_err() && result != Err("incomplete"), "{wire:?} gave {result:?}");
        }
    }
}
