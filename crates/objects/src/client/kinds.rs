//! The table of kinds, and how an address finds its row.

use crate::client::address::StoreAddress;
#[cfg(feature = "azure")]
use crate::client::azure;
#[cfg(feature = "gcs")]
use crate::client::gcs;
use crate::client::http;
use crate::client::kind::StoreKind;
#[cfg(feature = "s3")]
use crate::client::s3;

/// Every kind of store that this crate is built with. A new one is a module beside this one, and a
/// row here.
pub static KINDS: &[&StoreKind] = &[
    #[cfg(feature = "s3")]
    &s3::S3_KIND,
    #[cfg(feature = "gcs")]
    &gcs::GCS,
    #[cfg(feature = "azure")]
    &azure::AZURE,
    &http::HTTPS,
    &http::HTTP,
];

/// The kinds' examples as a text: `a, b or c`.
#[must_use]
pub fn examples_of(kinds: &[&StoreKind]) -> String {
    let mut text = String::new();
    for (index, kind) in kinds.iter().enumerate() {
        let before = match index {
            0 => "",
            _ if index + 1 == kinds.len() => " or ",
            _ => ", ",
        };
        text.push_str(before);
        text.push_str(kind.example);
    }
    text
}

/// Finds the kind of `address` among `kinds`, and checks the address by its rules. The errors
/// repeat of the address only what cannot be a secret.
pub(crate) fn parse<'a>(
    kinds: &[&'a StoreKind],
    address: &str,
) -> Result<(&'a StoreKind, StoreAddress), String> {
    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(format!("it has no scheme; a store's address looks like {}", examples_of(kinds)));
    };
    if rest.contains('@') && rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err(
            "it has credentials in it, which would end up in logs and process lists; give them by the \
                    environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_…, AZURE_…) instead"
                .to_owned(),
        );
    }
    if rest.contains(['?', '#']) {
        return Err("it has a query or a fragment, which a store's address cannot have; tokens and options \
                    belong in the environment"
            .to_owned());
    }
    if let Some(kind) = kinds.iter().find(|kind| kind.scheme == scheme) {
        return (kind.parse)(address).map(|address| (*kind, address));
    }
    let known = examples_of(kinds);
    if scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("unknown kind of store {scheme}://; the kinds are {known}"));
    }
    Err(format!("unknown kind of store; the kinds are {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_place_and_a_prefix() {
        for (address, text, prefix) in [
            ("s3://bucket", "s3://bucket", ""),
            ("s3://bucket/", "s3://bucket", ""),
            ("s3://my.bucket-1/a/b c%20/", "s3://my.bucket-1/a/b c%20", "a/b c%20"),
            ("gs://b/p@q", "gs://b/p@q", "p@q"),
            ("az://container/x", "az://container/x", "x"),
            ("https://host:8443/a/b/", "https://host:8443/a/b", ""),
            ("http://[::1]:80/", "http://[::1]/", ""),
        ] {
            let (_, parsed) = parse(KINDS, address).unwrap();
            assert_eq!((parsed.text.as_str(), parsed.prefix.as_ref()), (text, prefix), "{address}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_secrets_are_not() {
        for (address, says) in [
            ("bucket/prefix", "scheme"),
            ("s3:/bucket", "scheme"),
            ("ftp://host/", "ftp://"),
            ("s3://KEY:hunter2@bucket/p", "environment"),
            ("https://user:hunter2@host/p", "environment"),
            ("https://host/p?sig=hunter2", "query"),
            ("https://host/p#hunter2", "query"),
            ("s3:///prefix", "bucket"),
            ("s3://../x", "bucket"),
            ("az://c\u{e4}/x", "container"),
            ("s3://b/a//c", "prefix"),
            ("s3://b/a/../c", "prefix"),
            ("s3://b//a", "prefix"),
            ("s3://b/a\n", "prefix"),
            ("http://", "URL"),
        ] {
            let error = parse(KINDS, address).unwrap_err();
            assert!(error.contains(says), "{address}: {error}");
            assert!(!error.contains("hunter2"), "{address}: {error}");
        }
    }
}
