//! The frame of every page, and how pages show names. Pages work without scripts.

use http::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use outflow_texts::Language;

/// The media type of a page.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// `Content-Security-Policy` of our own pages: they load nothing and send forms to this server
/// only.
pub const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
);

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--soft:#777;--blue:#06c}
@media(prefers-color-scheme:dark){:root{--blue:#6af;--soft:#aaa}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.3rem;font-weight:600;overflow-wrap:anywhere}
a{color:var(--blue);text-decoration:none}a:hover{text-decoration:underline}
table{border-collapse:collapse;width:100%}
td,th{padding:.4rem .5rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft)}
td.name{overflow-wrap:anywhere;width:100%}
td.size,td.time,th.size{white-space:nowrap;text-align:right;color:var(--soft);font-variant-numeric:tabular-nums}
p.actions{display:flex;flex-wrap:wrap;gap:1rem;align-items:center}
button{font:inherit;padding:.3rem .8rem}
p.message{overflow-wrap:anywhere}.whole{white-space:nowrap}
footer,.soft{color:var(--soft)}
@media(max-width:36rem){td.time,th.time{display:none}}
";

/// A whole page in `language`: the skeleton, the style, and `body`.
#[must_use]
pub fn document(language: Language, title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// A name as pages show it: control characters, and characters that reverse the direction of
/// writing, become visible.
#[must_use]
pub fn visible(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
            '\x7f' => '\u{2421}',
            '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricky_characters_are_made_visible() {
        assert_eq!(visible("a\nb\u{7f}\u{202e}gpj.exe é😀"), "a␊b␡\u{fffd}gpj.exe é😀");
    }
}
