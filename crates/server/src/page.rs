//! The pages for people: plain, and of use without scripts.

use http::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use outflow_catalog::{About, FolderEntry, NO_TIME};

use crate::listing::Listing;
use crate::problem::Problem;
use crate::target::encode;

pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Our own pages load nothing and send forms to ourselves only.
pub(crate) const POLICY: HeaderValue = HeaderValue::from_static(
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

fn document(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
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

/// A folder's page.
pub(crate) fn folder(listing: &Listing) -> String {
    let body = html! {
        h1 {
            @for (at, (name, href)) in listing.crumbs().iter().enumerate() {
                @if at > 0 { " / " }
                @if href.is_empty() { (visible(name)) } @else { a href=(href) { (visible(name)) } }
            }
        }
        @if let Some(about) = &listing.about { (introduction(about)) }
        form method="post" action="?zip" {
            @if listing.entries.is_empty() {
                p.soft { "This folder is empty." }
            } @else {
                p.actions {
                    a href="?zip" { "Download all as ZIP" }
                    button type="submit" { "Download selected" }
                }
                table {
                    thead {
                        tr {
                            th { }
                            th { "Name" }
                            th.size { "Size" }
                            th.time { "Modified (UTC)" }
                        }
                    }
                    tbody {
                        // Folders first.
                        @for entry in listing.entries.iter().filter(|entry| entry.is_folder()) { (row(entry)) }
                        @for entry in listing.entries.iter().filter(|entry| !entry.is_folder()) { (row(entry)) }
                    }
                }
            }
        }
    };
    document(&visible(&listing.name), &body)
}

fn row(entry: &FolderEntry) -> Markup {
    let name = String::from_utf8_lossy(&entry.name);
    let shown = visible(&name);
    let href = crate::listing::href(entry);
    // A browser sends a value as text, and line ends in it changed: what would not survive that goes
    // percent-encoded, in a field of another name.
    let survives = std::str::from_utf8(&entry.name).is_ok() && !name.chars().any(char::is_control);
    let slash = if entry.is_folder() { "/" } else { "" };
    html! {
        tr {
            td {
                @if href.is_some() {
                    @if survives {
                        input type="checkbox" name="file" value={ (name) (slash) } aria-label={ "Select " (shown) };
                    } @else {
                        input type="checkbox" name="raw" value={ (encode(&entry.name)) (slash) } aria-label={ "Select " (shown) };
                    }
                }
            }
            td.name {
                @match &href {
                    Some(href) => a href=(href) { (shown) (slash) },
                    None => { (shown) (slash) },
                }
            }
            td.size { @if !entry.is_folder() { (size(entry.size)) } }
            td.time { (time(entry.mtime)) }
        }
    }
}

/// What is told of a transfer above its files.
fn introduction(about: &About) -> Markup {
    let message = about.message.as_deref().unwrap_or_default().trim_end();
    let files =
        if about.files == 1 { "1 file".to_owned() } else { format!("{} files", grouped(about.files)) };
    html! {
        @if !message.trim().is_empty() {
            p.message {
                @for (at, line) in message.lines().enumerate() {
                    @if at > 0 { br; }
                    (visible(&line.replace('\t', " ")))
                }
            }
        }
        p.soft {
            (files) ", " (size(about.bytes))
            @if let Some(expires) = about.expires { ", available until " span.whole { (time(expires)) " (UTC)" } }
        }
    }
}

/// A number with a comma between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The page at the top of a server that serves transfers.
pub(crate) fn top() -> String {
    let body = html! {
        h1 { "Outflow" }
        p { "This is a download server. What was sent to you is at the address that you were told; there is no list of it." }
    };
    document("Outflow", &body)
}

/// The page of a problem.
pub(crate) fn problem(problem: &Problem) -> String {
    let title = format!("{} {}", problem.status.as_u16(), problem.title);
    let names: Vec<&str> = problem.names().collect();
    let body = html! {
        h1 { (title) }
        p { (problem.detail) }
        @if !names.is_empty() {
            ul { @for name in names { li { (name) } } }
        }
        @if problem.way_back { p { a href="./" { "To the folder" } } }
    };
    document(&title, &body)
}

/// A name as it is shown: control characters, and those that turn the direction of writing around, made
/// visible.
fn visible(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
            '\x7f' => '\u{2421}',
            '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A size for people, in powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024 is 1 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A point in time for people, in UTC; empty if there is none to write.
pub(crate) fn time(nanos: i64) -> String {
    if nanos == NO_TIME {
        return String::new();
    }
    let time = jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000));
    time.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn tricky_characters_are_made_visible() {
        assert_eq!(visible("a\nb\u{7f}\u{202e}gpj.exe é😀"), "a␊b␡\u{fffd}gpj.exe é😀");
        assert_eq!(time(-1), "1969-12-31 23:59");
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
