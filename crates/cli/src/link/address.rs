//! The address that a link is for.

use anyhow::{bail, ensure};
use outflow_catalog::is_transfer_id;
use outflow_links::split;
use outflow_texts::console;

/// The parts of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LinkAddress {
    /// Scheme, host and a prefix that a proxy strips, without a slash at the end. Empty if unknown.
    pub(super) base: String,
    /// The path that the server sees.
    pub(super) path: String,
    /// The query, with its question mark; empty if there is none.
    pub(super) query: String,
    /// The query selects files.
    pub(super) selects: bool,
}

impl LinkAddress {
    /// Parses a URL, a path or the name of a transfer. `base` is the URL of the server.
    pub(super) fn parse(what: &str, base: Option<&str>) -> anyhow::Result<LinkAddress> {
        // An unset variable in a script must not become a link to everything.
        ensure!(!what.is_empty(), console!(link_address_empty));
        let base = base.map(|base| base.trim_end_matches('/')).unwrap_or_default();
        if !base.is_empty() {
            let (host, _) = split_url(base)?;
            ensure!(!host.is_empty(), console!(link_base_is_no_server, base));
        }
        let inside = what.strip_prefix(base).filter(|rest| !base.is_empty() && rest.starts_with('/'));
        let (base, rest) = match inside {
            Some(rest) => (base, rest),
            None if what.contains("://") => split_url(what)?,
            None => (base, what),
        };
        ensure!(!rest.contains('#'), console!(link_address_has_fragment, address = what));
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let path = if is_transfer_id(path) {
            format!("/t/{path}/")
        } else if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        };
        ensure!(path.starts_with('/'), console!(link_address_unknown_form, address = what));
        if split(&path).is_some() {
            bail!(console!(link_address_is_link, address = what));
        }
        let selects = query[query.len().min(1)..]
            .split('&')
            .any(|field| ["file=", "raw=", "pick="].iter().any(|name| field.starts_with(name)));
        Ok(LinkAddress { base: base.to_owned(), path, query: query.to_owned(), selects })
    }
}

/// Scheme and host, and the rest.
fn split_url(url: &str) -> anyhow::Result<(&str, &str)> {
    let Some((scheme, rest)) = url.split_once("://") else { bail!(console!(link_url_without_scheme, url)) };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    ensure!(is_web, console!(link_url_not_http, url));
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    ensure!(host > 0, console!(link_url_without_host, url));
    ensure!(!rest[..host].contains('@'), console!(link_url_with_user, url));
    Ok(url.split_at(scheme.len() + 3 + host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_paths_and_names_are_addresses() {
        for (what, base, taken) in [
            ("https://h/t/abc/", None, ("https://h", "/t/abc/", "")),
            ("http://h:8080/a%20b/c?zip&x=1", None, ("http://h:8080", "/a%20b/c", "?zip&x=1")),
            ("https://h", None, ("https://h", "/", "")),
            ("https://h?zip", None, ("https://h", "/", "?zip")),
            ("/t/abc/", None, ("", "/t/abc/", "")),
            ("/t/abc/", Some("https://h/"), ("https://h", "/t/abc/", "")),
            ("abc", Some("https://h/files"), ("https://h/files", "/t/abc/", "")),
            ("https://h/files/t/abc/", Some("https://h/files/"), ("https://h/files", "/t/abc/", "")),
            ("https://h/filesystem/", Some("https://h/files"), ("https://h", "/filesystem/", "")),
            ("https://other/t/abc/", Some("https://h"), ("https://other", "/t/abc/", "")),
            ("/l/a.txt", None, ("", "/l/a.txt", "")),
        ] {
            let LinkAddress { base, path, query, .. } = LinkAddress::parse(what, base).unwrap();
            assert_eq!((base.as_str(), path.as_str(), query.as_str()), taken, "{what}");
        }
        for (what, selects) in
            [("/?zip&file=a", true), ("/?zip", false), ("/?profile=a", false), ("/?pick=x", true)]
        {
            assert_eq!(LinkAddress::parse(what, None).unwrap().selects, selects, "{what}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let link = format!("https://h/l/eyJ9.{}/t/abc/", "A".repeat(43));
        for what in
            ["", "a b", "a/b", "s3://bucket/x", "https:///x", "https://u:p@h/", "/a#b", "://x", link.as_str()]
        {
            assert!(LinkAddress::parse(what, None).is_err(), "{what}");
        }
        assert!(LinkAddress::parse("/t/abc/", Some("h")).is_err());
    }
}
