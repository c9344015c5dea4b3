//! The address of a store: what it names, checked, and without anything secret.

use object_store::path::Path;
use url::Url;

/// A checked address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    /// What the kind opens: the name of a bucket, or a URL without a slash at the end.
    pub place: String,
    /// What all keys are below; empty where the place says it already.
    pub prefix: Path,
    /// For people. Nothing secret can be in it: what could hold a secret is refused.
    pub text: String,
}

/// An address of the form `scheme://bucket/prefix`. `what` is the kind's word for a bucket.
pub(crate) fn bucket(address: &str, what: &str) -> Result<StoreAddress, String> {
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_one = !bucket.is_empty()
        && bucket.len() <= 255
        && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && bucket != "."
        && bucket != "..";
    if !is_one {
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
    let mut text = format!("{scheme}://{bucket}");
    if !prefix.is_root() {
        text = format!("{text}/{prefix}");
    }
    Ok(StoreAddress { place: bucket.to_owned(), prefix, text })
}

/// An address that is the URL of an HTTP origin.
pub(crate) fn url(address: &str) -> Result<StoreAddress, String> {
    let mut url = Url::parse(address).map_err(|error| format!("it is no URL: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    // A slash at the end would be doubled by the next component.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let text = url.to_string();
    Ok(StoreAddress { place: text.clone(), prefix: Path::ROOT, text })
}
