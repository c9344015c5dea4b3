//! The address of a store: what it names, checked, and without anything secret.

use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// S3 and what speaks like it.
    S3 { bucket: String },
    /// Google Cloud Storage.
    Gcs { bucket: String },
    /// Azure Blob Storage.
    Azure { container: String },
    /// Any HTTP origin; no slash at the end.
    Http { url: Url },
    /// A folder of this machine.
    File { path: PathBuf },
}

/// A checked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// What all keys are below; empty where the place says it already.
    pub(crate) prefix: Path,
    /// For people. Nothing secret can be in it: what could hold a secret is refused.
    pub(crate) text: String,
}

const KINDS: &str = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, https://host/path, \
                     http://host/path or file:///path";

impl Address {
    /// The errors repeat of the address only what cannot be a secret.
    pub(crate) fn parse(address: &str) -> Result<Address, String> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Err(format!("it has no scheme; a store's address looks like {KINDS}"));
        };
        if rest.contains('@') && rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(
                "it has credentials in it, which would end up in logs and process lists; give them by the \
                        environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_…, AZURE_…) instead"
                    .to_owned(),
            );
        }
        if rest.contains(['?', '#']) {
            return Err(
                "it has a query or a fragment, which a store's address cannot have; tokens and options \
                        belong in the environment"
                    .to_owned(),
            );
        }
        match scheme {
            "s3" | "gs" | "az" => Address::bucket(scheme, rest),
            "http" | "https" => Address::http(address),
            "file" => Address::file(address),
            _ if scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(format!("{scheme}:// is no kind of store that is known; known are {KINDS}"))
            }
            _ => Err(format!("its scheme is not known; known are {KINDS}")),
        }
    }

    fn bucket(scheme: &str, rest: &str) -> Result<Address, String> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_one = !bucket.is_empty()
            && bucket.len() <= 255
            && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            && bucket != "."
            && bucket != "..";
        if !is_one {
            let what = if scheme == "az" { "container" } else { "bucket" };
            return Err(format!(
                "the name of the {what} between {scheme}:// and the next slash has to consist of letters, digits, \
                 dots, hyphens and underscores"
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let prefix = Path::parse(prefix)
            .ok()
            .filter(|path| path.as_ref() == prefix)
            .ok_or("its prefix has an empty component, \".\", \"..\" or a control character")?;
        let bucket = bucket.to_owned();
        let mut text = format!("{scheme}://{bucket}");
        if !prefix.is_root() {
            text = format!("{text}/{prefix}");
        }
        let place = match scheme {
            "s3" => Place::S3 { bucket },
            "gs" => Place::Gcs { bucket },
            _ => Place::Azure { container: bucket },
        };
        Ok(Address { place, prefix, text })
    }

    fn http(address: &str) -> Result<Address, String> {
        let mut url = Url::parse(address).map_err(|error| format!("it is no URL: {error}"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it has no host".to_owned());
        }
        // A slash at the end would be doubled by the next component.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let text = url.to_string();
        Ok(Address { place: Place::Http { url }, prefix: Path::ROOT, text })
    }

    fn file(address: &str) -> Result<Address, String> {
        let path = Url::parse(address)
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .ok_or("a folder's address has three slashes and an absolute path: file:///srv/transfers")?;
        let text = address.trim_end_matches('/').to_owned();
        Ok(Address { place: Place::File { path }, prefix: Path::ROOT, text })
    }
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
            ("file:///srv/files/", "file:///srv/files", ""),
        ] {
            let parsed = Address::parse(address).unwrap();
            assert_eq!((parsed.text.as_str(), parsed.prefix.as_ref()), (text, prefix), "{address}");
        }
        let file = Address::parse("file:///srv/a%20b").unwrap();
        assert_eq!(file.place, Place::File { path: PathBuf::from("/srv/a b") });
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
            ("file://relative/path", "three slashes"),
            ("http://", "URL"),
        ] {
            let error = Address::parse(address).unwrap_err();
            assert!(error.contains(says), "{address}: {error}");
            assert!(!error.contains("hunter2"), "{address}: {error}");
        }
    }
}
