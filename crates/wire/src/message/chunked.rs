//! The chunked transfer coding of a request's body (RFC 9112 section 7.1), decoded strictly.

/// Maximum length of a chunk-size line and of a trailer line, in bytes, extensions included.
///
/// Bound: requests.
const MAX_LINE: usize = 1024;
/// Maximum size of all trailer fields together, in bytes. They are checked for their form and
/// dropped.
///
/// Bound: requests.
const MAX_TRAILERS: usize = 8 * 1024;

/// A decoder, and its position in the stream.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: ChunkState,
    line: usize,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the digits of a chunk's size: its value so far, and how many digits.
    Size(u64, u8),
    /// In a chunk extension; skipped.
    Extension(u64),
    /// After the CR of the size line.
    SizeLf(u64),
    /// In the data, with this many bytes left.
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

/// One step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChunkStep {
    /// This many bytes were framing: drop them and call again.
    Skip(usize),
    /// The next bytes are data, this many.
    Data(usize),
    /// This many bytes were framing, and the body is complete behind them.
    End(usize),
}

impl Chunked {
    pub(crate) fn new() -> Chunked {
        Chunked { state: ChunkState::Size(0, 0), line: 0, trailers: 0 }
    }

    /// Decodes the next bytes of the stream (at least one). `Err`: malformed, the connection has to
    /// close.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<ChunkStep, &'static str> {
        if let ChunkState::Data(left) = self.state {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.state =
                if n as u64 == left { ChunkState::DataCr } else { ChunkState::Data(left - n as u64) };
            return Ok(ChunkStep::Data(n));
        }
        for (i, &byte) in bytes.iter().enumerate() {
            self.state = self.next(byte)?;
            match self.state {
                ChunkState::End => return Ok(ChunkStep::End(i + 1)),
                ChunkState::Data(_) => return Ok(ChunkStep::Skip(i + 1)),
                _ => {}
            }
        }
        Ok(ChunkStep::Skip(bytes.len()))
    }

    fn next(&mut self, byte: u8) -> Result<ChunkState, &'static str> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err("chunk-size or trailer line too long");
        }
        Ok(match (self.state, byte) {
            (ChunkState::Size(size, digits), _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err("chunk size too large");
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                ChunkState::Size(size << 4 | u64::from(digit), digits + 1)
            }
            (ChunkState::Size(_, 0), _) => return Err("chunk without a size"),
            (ChunkState::Size(size, _), b'\r') => ChunkState::SizeLf(size),
            (ChunkState::Size(size, _), b';') => ChunkState::Extension(size),
            (ChunkState::Size(..), _) => return Err("malformed chunk size"),
            (ChunkState::Extension(size), b'\r') => ChunkState::SizeLf(size),
            (ChunkState::Extension(_), b'\n' | 0) => return Err("malformed chunk extension"),
            (ChunkState::Extension(size), _) => ChunkState::Extension(size),
            (ChunkState::SizeLf(0), b'\n') => self.new_line(ChunkState::TrailerStart),
            (ChunkState::SizeLf(size), b'\n') => self.new_line(ChunkState::Data(size)),
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => self.new_line(ChunkState::Size(0, 0)),
            (ChunkState::DataCr | ChunkState::DataLf, _) => return Err("chunk longer than its size"),
            (ChunkState::TrailerStart, b'\r') => ChunkState::EndLf,
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerStart | ChunkState::Trailer, b'\n' | 0) => return Err("malformed trailer"),
            (ChunkState::TrailerStart | ChunkState::Trailer, _) => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS {
                    return Err("trailers too long");
                }
                ChunkState::Trailer
            }
            (ChunkState::TrailerLf, b'\n') => self.new_line(ChunkState::TrailerStart),
            (ChunkState::EndLf, b'\n') => ChunkState::End,
            (ChunkState::SizeLf(_) | ChunkState::TrailerLf | ChunkState::EndLf, _) => {
                return Err("CR without LF");
            }
            (ChunkState::Data(_) | ChunkState::End, _) => return Err("decoder used beyond its end"),
        })
    }

    fn new_line(&mut self, state: ChunkState) -> ChunkState {
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
                ChunkStep::Skip(n) => at += n,
                ChunkStep::Data(n) => {
                    data.extend_from_slice(&shown[..n]);
                    at += n;
                }
                ChunkStep::End(n) => return Ok((data, wire[at + n..].to_vec())),
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
