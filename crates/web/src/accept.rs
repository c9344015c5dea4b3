//! Content negotiation between HTML for people and JSON for programs (RFC 9110, section 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// Whether the client names JSON and prefers it to HTML.
#[must_use]
pub fn prefers_json(headers: &HeaderMap) -> bool {
    let json = quality(headers, "application", "json").max(quality(headers, "application", "problem+json"));
    json.is_named && json.q > 0 && json > quality(headers, "text", "html")
}

/// Whether the client names HTML and does not prefer JSON. Browsers do, programs rarely.
#[must_use]
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let html = quality(headers, "text", "html");
    html.is_named && html.q > 0 && html >= quality(headers, "application", "json")
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Quality {
    /// In thousandths.
    q: u16,
    /// The range names the type; `*/*` does not.
    is_named: bool,
}

/// The quality that the most specific matching range gives to a media type.
fn quality(headers: &HeaderMap, kind: &str, subtype: &str) -> Quality {
    let mut best = (0, Quality::default());
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let Some((range_kind, range_subtype)) = parts.next().and_then(|name| name.split_once('/')) else {
            continue;
        };
        let precision = if range_kind.eq_ignore_ascii_case(kind) {
            if range_subtype.eq_ignore_ascii_case(subtype) {
                3
            } else if range_subtype == "*" {
                2
            } else {
                continue;
            }
        } else if range_kind == "*" && range_subtype == "*" {
            1
        } else {
            continue;
        };
        if precision > best.0 {
            let q = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
            });
            best = (precision, Quality { q: q.unwrap_or(1000), is_named: precision > 1 });
        }
    }
    best.1
}

/// A `qvalue` (RFC 9110, section 12.4.2); anything else counts as 1.
fn thousandths(value: &str) -> u16 {
    match value.parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        // Rust also parses `NaN`, which is in no range.
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn people_and_programs_are_told_apart() {
        for (accept, json, html) in [
            (None, false, false),
            (Some("*/*"), false, false),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), false, true),
            (Some("application/json"), true, false),
            (Some("application/json, text/plain, */*"), true, false),
            (Some("application/json;q=0.5, text/html"), false, true),
            (Some("application/json, text/html;q=0.9"), true, false),
            (Some("text/html, application/json"), false, true),
            (Some("application/*"), true, false),
            (Some("application/json;q=0"), false, false),
            (Some("text/html;q=0, */*"), false, false),
            (Some("text/*"), false, true),
            (Some("APPLICATION/JSON ; Q=1.0"), true, false),
            (Some("application/json;q=NaN"), true, false),
            (Some("application/json;q=-1"), true, false),
            (Some("application/problem+json"), true, false),
            (Some(";;,/,*"), false, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!((prefers_json(&headers), prefers_html(&headers)), (json, html), "{accept:?}");
        }
    }
}
