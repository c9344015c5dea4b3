//! Content codings: which of them a request accepts (RFC 9110, section 12.5.3), and compressing.

use std::io::{self, Read, Write};

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::sealed::{SealedBytes, SealedBytesBuilder};

/// A content coding that compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Gzip,
    Brotli,
    Zstd,
}

/// Above this length, in bytes, the densest settings take a second and more.
const MAX_DENSEST: u64 = 1024 * 1024;

/// Bytes read at a time while compressing.
const CHUNK: usize = 64 * 1024;

impl ContentCoding {
    /// All codings, the fastest first.
    pub(super) const ALL: [ContentCoding; 3] =
        [ContentCoding::Gzip, ContentCoding::Zstd, ContentCoding::Brotli];

    /// Its name in HTTP.
    pub(super) fn name(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Brotli => "br",
            ContentCoding::Zstd => "zstd",
        }
    }

    fn is_called(self, name: &str) -> bool {
        // An alias that recipients have to accept (RFC 9110, section 8.4.1.3).
        name.eq_ignore_ascii_case(self.name())
            || (self == ContentCoding::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }

    /// `plain` compressed. `None` if that takes more than `limit` bytes, or as soon as `proceed`
    /// returns false.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn compress(
        self,
        plain: &SealedBytes,
        limit: u64,
        proceed: &dyn Fn() -> bool,
    ) -> io::Result<Option<SealedBytes>> {
        let large = plain.len() > MAX_DENSEST;
        let out = LimitedOutput { output: SealedBytesBuilder::new()?, limit, error: None };
        let result = match self {
            ContentCoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::best());
                copy_all(plain, &mut encoder, proceed).and_then(|()| encoder.finish())
            }
            ContentCoding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: if large { 9 } else { 11 },
                    // No larger than the content: the encoder's memory is several times the window.
                    lgwin: (64 - plain.len().leading_zeros() as i32).clamp(16, 22),
                    size_hint: usize::try_from(plain.len()).unwrap_or(usize::MAX),
                    ..Default::default()
                };
                let mut encoder = brotli::CompressorWriter::with_params(out, CHUNK, &params);
                // `into_inner` ends the stream; `LimitedOutput` keeps an error of that.
                copy_all(plain, &mut encoder, proceed).map(|()| encoder.into_inner())
            }
            ContentCoding::Zstd => (|| {
                let mut encoder = zstd::Encoder::new(out, if large { 15 } else { 19 })?;
                encoder.set_pledged_src_size(Some(plain.len()))?;
                copy_all(plain, &mut encoder, proceed).and_then(|()| encoder.finish())
            })(),
        };
        match result.and_then(LimitedOutput::finish) {
            Ok(output) => output.seal().map(Some),
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn copy_all(plain: &SealedBytes, into: &mut impl Write, proceed: &dyn Fn() -> bool) -> io::Result<()> {
    let mut reader = plain.reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        if !proceed() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        match reader.read(&mut chunk)? {
            0 => return Ok(()),
            n => into.write_all(&chunk[..n])?,
        }
    }
}

/// Accepts up to `limit` bytes.
struct LimitedOutput {
    output: SealedBytesBuilder,
    limit: u64,
    /// The first error, which not every encoder reports.
    error: Option<io::ErrorKind>,
}

impl LimitedOutput {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.output.len() + bytes.len() as u64 > self.limit {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.output.push(bytes)
    }

    /// The output, if nothing is missing.
    fn finish(self) -> io::Result<SealedBytesBuilder> {
        match self.error {
            None => Ok(self.output),
            Some(kind) => Err(kind.into()),
        }
    }
}

impl Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).inspect_err(|error| self.error = Some(error.kind()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The codings that a request accepts.
pub(super) struct AcceptedCodings<'a>(Option<&'a HeaderMap>);

impl<'a> AcceptedCodings<'a> {
    pub(super) fn parse(headers: &'a HeaderMap) -> AcceptedCodings<'a> {
        AcceptedCodings(headers.contains_key(ACCEPT_ENCODING).then_some(headers))
    }

    /// The weight of a coding in thousandths; 0 if it must not be used, or if the request has no
    /// `Accept-Encoding`.
    pub(super) fn weight(&self, coding: ContentCoding) -> u16 {
        let (named, any) = self.weights(|name| coding.is_called(name));
        named.or(any).unwrap_or(0)
    }

    /// The weight of the content as it is, which is acceptable unless excluded. `None` if it is
    /// excluded.
    pub(super) fn identity(&self) -> Option<u16> {
        let (named, any) = self.weights(|name| name.eq_ignore_ascii_case("identity"));
        let weight = named.or(any);
        if weight == Some(0) { None } else { Some(named.unwrap_or(0)) }
    }

    /// The weights of a name and of `*`.
    fn weights(&self, matches: impl Fn(&str) -> bool) -> (Option<u16>, Option<u16>) {
        let (mut named, mut any) = (None, None);
        let lines = self.0.into_iter().flat_map(|headers| headers.get_all(ACCEPT_ENCODING));
        for element in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight_of = if name == "*" {
                &mut any
            } else if matches(name) {
                &mut named
            } else {
                continue;
            };
            let weight = parts.find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
            });
            // The higher weight of a repeated name counts.
            *weight_of = (*weight_of).max(Some(weight.unwrap_or(1000)));
        }
        (named, any)
    }
}

/// A `qvalue` in thousandths (RFC 9110, section 12.4.2). An invalid one counts as 0, so that its
/// coding is not used.
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
        let accepted = AcceptedCodings::parse(&headers);
        let of = |coding| accepted.weight(coding);
        (of(ContentCoding::Gzip), of(ContentCoding::Brotli), of(ContentCoding::Zstd), accepted.identity())
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
        let mut builder = SealedBytesBuilder::new().unwrap();
        builder.push(&plain).unwrap();
        let sealed = builder.seal().unwrap();
        for coding in ContentCoding::ALL {
            let small = coding.compress(&sealed, sealed.len() / 2, &|| true).unwrap().expect("it is regular");
            let mut out = Vec::new();
            match coding {
                ContentCoding::Gzip => {
                    flate2::read::GzDecoder::new(small.reader()).read_to_end(&mut out).unwrap()
                }
                ContentCoding::Brotli => {
                    brotli::Decompressor::new(small.reader(), 4096).read_to_end(&mut out).unwrap()
                }
                ContentCoding::Zstd => {
                    zstd::Decoder::new(small.reader()).unwrap().read_to_end(&mut out).unwrap()
                }
            };
            assert!(out == plain, "{coding:?}");
            for limit in [100, small.len() - 1] {
                assert!(
                    coding.compress(&sealed, limit, &|| true).unwrap().is_none(),
                    "{coding:?}: over {limit}"
                );
            }
            assert!(
                coding.compress(&sealed, sealed.len(), &|| false).unwrap().is_none(),
                "{coding:?}: stopped"
            );
        }
    }
}
