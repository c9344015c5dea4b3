//! Content codings: which a request accepts (RFC 9110, section 12.5.3), and compressing by them.

use std::io::{self, Read, Write};

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::sealed::{Filling, Sealed};

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// All of them, the quickest first.
pub(super) const ALL: [Coding; 3] = [Coding::Gzip, Coding::Zstd, Coding::Brotli];

/// From so many bytes on the densest settings take too long: a second and more.
const LARGE: u64 = 1024 * 1024;

/// Read at once while compressing.
const PIECE: usize = 64 * 1024;

impl Coding {
    /// Its name in HTTP.
    pub(super) fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    fn is_called(self, name: &str) -> bool {
        // An old name that recipients have to know as well (RFC 9110, section 8.4.1.3).
        name.eq_ignore_ascii_case(self.name())
            || (self == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }

    /// `plain` compressed; nothing if that has more than `most` bytes, or if `goes_on` says no in between.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn compress(
        self,
        plain: &Sealed,
        most: u64,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<Sealed>> {
        let large = plain.len() > LARGE;
        let out = Bounded { filling: Filling::new()?, most, broken: None };
        let result = match self {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::best());
                pump(plain, &mut encoder, goes_on).and_then(|()| encoder.finish())
            }
            Coding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: if large { 9 } else { 11 },
                    // A window no larger than what it has to hold: the encoder's memory is several times that.
                    lgwin: (64 - plain.len().leading_zeros() as i32).clamp(16, 22),
                    size_hint: usize::try_from(plain.len()).unwrap_or(usize::MAX),
                    ..Default::default()
                };
                let mut encoder = brotli::CompressorWriter::with_params(out, PIECE, &params);
                // Ends the stream; an error of that is found in what it was written to.
                pump(plain, &mut encoder, goes_on).map(|()| encoder.into_inner())
            }
            Coding::Zstd => (|| {
                let mut encoder = zstd::Encoder::new(out, if large { 15 } else { 19 })?;
                encoder.set_pledged_src_size(Some(plain.len()))?;
                pump(plain, &mut encoder, goes_on).and_then(|()| encoder.finish())
            })(),
        };
        match result.and_then(Bounded::whole) {
            Ok(filling) => filling.seal().map(Some),
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn pump(plain: &Sealed, into: &mut impl Write, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
    let mut reader = plain.reader();
    let mut piece = vec![0; PIECE];
    loop {
        if !goes_on() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        match reader.read(&mut piece)? {
            0 => return Ok(()),
            n => into.write_all(&piece[..n])?,
        }
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    filling: Filling,
    most: u64,
    /// Why it took no more: not every encoder tells.
    broken: Option<io::ErrorKind>,
}

impl Bounded {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.filling.len() + bytes.len() as u64 > self.most {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.filling.push(bytes)
    }

    /// What was taken, if that is all there was.
    fn whole(self) -> io::Result<Filling> {
        match self.broken {
            None => Ok(self.filling),
            Some(kind) => Err(kind.into()),
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).inspect_err(|error| self.broken = Some(error.kind()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a request accepts.
pub(super) struct Accepted<'a>(Option<&'a HeaderMap>);

impl<'a> Accepted<'a> {
    pub(super) fn by(headers: &'a HeaderMap) -> Accepted<'a> {
        Accepted(headers.contains_key(ACCEPT_ENCODING).then_some(headers))
    }

    /// The weight of a coding in thousandths; 0: it must not be used. Who says nothing gets none.
    pub(super) fn weight(&self, coding: Coding) -> u16 {
        let (named, any) = self.weights(|name| coding.is_called(name));
        named.or(any).unwrap_or(0)
    }

    /// The same of the bytes as they are, which need not be mentioned to be accepted. `None`: they are not.
    pub(super) fn identity(&self) -> Option<u16> {
        let (named, any) = self.weights(|name| name.eq_ignore_ascii_case("identity"));
        let asked = named.or(any);
        if asked == Some(0) { None } else { Some(named.unwrap_or(0)) }
    }

    /// The weights of a name and of `*`.
    fn weights(&self, is_it: impl Fn(&str) -> bool) -> (Option<u16>, Option<u16>) {
        let (mut named, mut any) = (None, None);
        let lines = self.0.into_iter().flat_map(|headers| headers.get_all(ACCEPT_ENCODING));
        for element in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let slot = if name == "*" {
                &mut any
            } else if is_it(name) {
                &mut named
            } else {
                continue;
            };
            let weight = parts.find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
            });
            // Named twice: the better one counts.
            *slot = (*slot).max(Some(weight.unwrap_or(1000)));
        }
        (named, any)
    }
}

/// A `qvalue` (RFC 9110, section 12.4.2); what is none counts as 0: what nobody understands is not used.
fn thousandths(value: &str) -> u16 {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = if digits { format!("{fraction:0<3}").parse().unwrap_or(0) } else { return 0 };
    match (whole, fraction) {
        ("0", fraction) => fraction,
        ("1", 0) => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn weights(lines: &[&'static str]) -> (u16, u16, u16, Option<u16>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        let accepted = Accepted::by(&headers);
        let of = |coding| accepted.weight(coding);
        (of(Coding::Gzip), of(Coding::Brotli), of(Coding::Zstd), accepted.identity())
    }

    #[test]
    fn weights_follow_the_rfc() {
        for (lines, expected) in [
            (&[][..], (0, 0, 0, Some(0))),
            (&[""], (0, 0, 0, Some(0))),
            (&["gzip"], (1000, 0, 0, Some(0))),
            (&["gzip, deflate, br, zstd"], (1000, 1000, 1000, Some(0))),
            (&["GZIP;Q=0.5 , br ; q=1.0"], (500, 1000, 0, Some(0))),
            (&["x-gzip;q=0.123"], (123, 0, 0, Some(0))),
            (&["gzip;q=0.8", "br;q=0.9"], (800, 900, 0, Some(0))),
            (&["*"], (1000, 1000, 1000, Some(0))),
            (&["*;q=0"], (0, 0, 0, None)),
            (&["gzip, *;q=0"], (1000, 0, 0, None)),
            (&["identity, *;q=0"], (0, 0, 0, Some(1000))),
            (&["identity;q=0"], (0, 0, 0, None)),
            (&["identity;q=0, *"], (1000, 1000, 1000, None)),
            (&["identity;q=0.5, gzip;q=0.4"], (400, 0, 0, Some(500))),
            (&["br;q=0, *;q=0.3"], (300, 0, 300, Some(0))),
            (&["gzip;q=1.001, br;q=2, zstd;q=x"], (0, 0, 0, Some(0))),
            (&["gzip;q=0.0005"], (0, 0, 0, Some(0))),
            (&[",, gzip;x=1;q=0.7,"], (700, 0, 0, Some(0))),
            (&["gzipped, brr"], (0, 0, 0, Some(0))),
        ] {
            assert_eq!(weights(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_compressed_becomes_what_it_was() {
        let plain: Vec<u8> = (0..20_000_u32).flat_map(|at| (at / 50).to_string().into_bytes()).collect();
        let mut filling = Filling::new().unwrap();
        filling.push(&plain).unwrap();
        let sealed = filling.seal().unwrap();
        for coding in ALL {
            let small = coding.compress(&sealed, sealed.len() / 2, &|| true).unwrap().expect("it is regular");
            let mut out = Vec::new();
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(small.reader()).read_to_end(&mut out).unwrap(),
                Coding::Brotli => {
                    brotli::Decompressor::new(small.reader(), 4096).read_to_end(&mut out).unwrap()
                }
                Coding::Zstd => zstd::Decoder::new(small.reader()).unwrap().read_to_end(&mut out).unwrap(),
            };
            assert!(out == plain, "{coding:?}");
            for most in [100, small.len() - 1] {
                assert!(
                    coding.compress(&sealed, most, &|| true).unwrap().is_none(),
                    "{coding:?}: over {most}"
                );
            }
            assert!(
                coding.compress(&sealed, sealed.len(), &|| false).unwrap().is_none(),
                "{coding:?}: stopped"
            );
        }
    }
}
