//! The HTTP client under all of a store's clients.
//!
//! `object_store` ignores S3's checksum headers, but it passes an answer's extensions to the
//! caller. So this client copies the checksum there.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse,
    HttpService, ReqwestConnector,
};

/// What an answer's headers tell of the CRC-32 of the whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// It is this.
    Whole(u32),
    /// The store has a CRC-32 of each part.
    Parts,
}

impl Checksum {
    /// From `x-amz-checksum-crc32` and `x-amz-checksum-type`. Not all servers send the type, nor
    /// the hyphen and number that a value of parts should end with; the tag of what was uploaded in
    /// parts has such an end, too.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Checksum> {
        let value = headers.get("x-amz-checksum-crc32")?.to_str().ok()?.trim();
        let is_whole = match headers.get("x-amz-checksum-type") {
            Some(kind) => kind.as_bytes().eq_ignore_ascii_case(b"FULL_OBJECT"),
            None => headers.get("etag").is_none_or(|etag| !etag.as_bytes().contains(&b'-')),
        };
        if !is_whole || value.contains('-') {
            return Some(Checksum::Parts);
        }
        decode(value).map(Checksum::Whole)
    }
}

/// A CRC-32 as S3 writes it.
pub(crate) fn decode(value: &str) -> Option<u32> {
    let bytes = STANDARD.decode(value).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The reverse of [`decode`].
pub(crate) fn encode(crc32: u32) -> String {
    STANDARD.encode(crc32.to_be_bytes())
}

/// Gives every client of a store the same connections.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: HttpClient,
    allow_http: bool,
}

impl Connector {
    pub(crate) fn new(options: &ClientOptions) -> object_store::Result<Connector> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(Connector { client: HttpClient::new(Copying(client)), allow_http: allows_http(options) })
    }

    pub(crate) fn client(&self) -> &HttpClient {
        &self.client
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Servers of credentials may have to be reached without TLS, or must not be, independently
        // of the store.
        if allows_http(options) != self.allow_http {
            return ReqwestConnector::default().connect(options);
        }
        Ok(self.client.clone())
    }
}

fn allows_http(options: &ClientOptions) -> bool {
    options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true")
}

#[derive(Debug)]
struct Copying(HttpClient);

#[async_trait]
impl HttpService for Copying {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut response = self.0.execute(request).await?;
        if let Some(checksum) = Checksum::of(response.headers()) {
            response.extensions_mut().insert(checksum);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_of_the_whole_or_of_parts() {
        let of = |value: &str, kind: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-checksum-crc32", value.parse().unwrap());
            if let Some(kind) = kind {
                headers.insert("x-amz-checksum-type", kind.parse().unwrap());
            }
            Checksum::of(&headers)
        };
        let value = encode(0xcbf4_3926);
        assert_eq!(value, "y/Q5Jg==");
        assert_eq!(of(&value, None), Some(Checksum::Whole(0xcbf4_3926)));
        assert_eq!(of(&value, Some("FULL_OBJECT")), Some(Checksum::Whole(0xcbf4_3926)));
        assert_eq!(of(&value, Some("COMPOSITE")), Some(Checksum::Parts));
        assert_eq!(of(&format!("{value}-3"), None), Some(Checksum::Parts));
        for bad in ["", "AAAA", "not base64", "AAAAAAAA"] {
            assert_eq!(of(bad, None), None, "{bad}");
        }
        assert_eq!(Checksum::of(&HeaderMap::new()), None);
    }
}
