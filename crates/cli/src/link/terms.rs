//! A link's terms and token, as commands print and read them.

use outflow_links::{Terms, split};
use serde::Serialize;

/// The terms of a link, as `--json` prints them.
#[derive(Serialize)]
pub(super) struct PrintedTerms<'a> {
    id: &'a str,
    key: &'a str,
    scope: &'a str,
    recipient: Option<&'a str>,
    expires: Option<String>,
    max_downloads: Option<u32>,
    files: &'a [String],
    password: bool,
    operator: bool,
}

impl PrintedTerms<'_> {
    pub(super) fn of(terms: &Terms) -> PrintedTerms<'_> {
        PrintedTerms {
            id: &terms.id,
            key: &terms.key,
            scope: &terms.scope,
            recipient: terms.recipient.as_deref(),
            expires: terms.expires.and_then(rfc3339),
            max_downloads: terms.max_downloads,
            files: &terms.files,
            password: terms.password.is_some(),
            operator: terms.operator,
        }
    }
}

/// Seconds since 1970 in the form of RFC 3339.
pub(super) fn rfc3339(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

/// The token in a URL or a path, or `link` itself.
pub(super) fn token_of(link: &str) -> &str {
    let path = match link.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => link,
    };
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    // A proxy may strip a prefix, so `/l/` need not come first.
    let links = path.match_indices("/l/").find_map(|(at, _)| split(&path[at..]));
    links.map_or(path, |addressed| addressed.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_wherever_it_is() {
        let token = format!("eyJ9.{}", "A".repeat(43));
        for link in [
            format!("https://h/l/{token}/t/abc/?zip"),
            format!("https://h/files/l/{token}/t/abc/"),
            format!("https://h/l/x/l/{token}#x"),
            format!("/l/{token}"),
            token.clone(),
        ] {
            assert_eq!(token_of(&link), token, "{link}");
        }
    }
}
