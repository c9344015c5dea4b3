//! The pages of folders, and the page at the top of a server of transfers. All texts are here.

use maud::{Markup, html};
use outflow_catalog::{FolderEntry, TransferInfo};
use outflow_content::UnixTime;
use outflow_content::address::encode;
use outflow_web::page::{document, size, visible};

use super::listing::{self, Listing};

/// A folder's page.
pub(super) fn folder(listing: &Listing) -> String {
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
    let href = listing::href(entry);
    // Browsers send values as text and change line ends. A name that would not survive goes
    // percent-encoded, in another field.
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
            td.time { (time(entry.modified)) }
        }
    }
}

/// The description of a transfer above its files.
fn introduction(about: &TransferInfo) -> Markup {
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
            @if let Some(expires) = about.expires { ", available until " span.whole { (time(Some(UnixTime::from_nanos(expires)))) " (UTC)" } }
        }
    }
}

/// A number with commas between groups of three digits.
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
        p { "This is a download server. Open the link that you were sent to reach your files; there is no list of them." }
    };
    document("Outflow", &body)
}

/// A time of the catalog for people, in UTC; empty if it is unknown.
fn time(time: Option<UnixTime>) -> String {
    time.map_or_else(String::new, |time| outflow_web::page::time(time.seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_an_unknown_time_is_empty() {
        assert_eq!([time(Some(UnixTime::from_nanos(-1))), time(None)], ["1969-12-31 23:59", ""]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
