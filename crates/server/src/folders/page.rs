//! The pages of folders, and the page at the top of a server of transfers.

use maud::{Markup, html};
use outflow_catalog::{FolderEntry, TransferInfo};
use outflow_content::UnixTime;
use outflow_content::address::encode;
use outflow_texts::{Language, Size, Text, TextValue, Time, text};
use outflow_web::page::{document, visible};

use super::listing::{self, Listing};

/// A folder's page.
pub(super) fn folder(language: Language, listing: &Listing) -> String {
    let say = |text: Text| language.say(&text);
    // Fluent would cost as much for each row as the rest of the row.
    let select = language.say_around(&text!(select_name, name = TextValue::GAP));
    let row = |entry| row(language, &select, entry);
    let body = html! {
        h1 {
            @for (at, (name, href)) in listing.crumbs().iter().enumerate() {
                @if at > 0 { " / " }
                @if href.is_empty() { (visible(name)) } @else { a href=(href) { (visible(name)) } }
            }
        }
        @if let Some(about) = &listing.about { (introduction(language, about)) }
        form method="post" action="?zip" {
            @if listing.entries.is_empty() {
                p.soft { (say(text!(folder_is_empty))) }
            } @else {
                p.actions {
                    a href="?zip" { (say(text!(download_all))) }
                    button type="submit" { (say(text!(download_selected))) }
                }
                table {
                    thead {
                        tr {
                            th { }
                            th { (say(text!(column_name))) }
                            th.size { (say(text!(column_size))) }
                            th.time { (say(text!(column_modified))) }
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
    document(language, &visible(&listing.name), &body)
}

/// The row of an entry; `select` is the label of its checkbox, before and behind the name.
fn row(language: Language, (select, this): &(String, String), entry: &FolderEntry) -> Markup {
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
                        input type="checkbox" name="file" value={ (name) (slash) } aria-label={ (select) (shown) (this) };
                    } @else {
                        input type="checkbox" name="raw" value={ (encode(&entry.name)) (slash) } aria-label={ (select) (shown) (this) };
                    }
                }
            }
            td.name {
                @match &href {
                    Some(href) => a href=(href) { (shown) (slash) },
                    None => { (shown) (slash) },
                }
            }
            td.size { @if !entry.is_folder() { (language.size(entry.size)) } }
            td.time { (time(language, entry.modified)) }
        }
    }
}

/// The description of a transfer above its files.
fn introduction(language: Language, about: &TransferInfo) -> Markup {
    let message = about.message.as_deref().unwrap_or_default().trim_end();
    let content = text!(transfer_content, files = about.files, size = Size(about.bytes));
    let expires = about.expires.map(|expires| {
        let (before, behind) = language.say_around(&text!(transfer_available, until = TextValue::GAP));
        let until = text!(time_in_utc, time = Time(UnixTime::from_nanos(expires).seconds()));
        html! { (before) span.whole { (language.say(&until)) } (behind) }
    });
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
            (language.say(&content))
            @if let Some(expires) = expires { (expires) }
        }
    }
}

/// The page at the top of a server that serves transfers.
pub(crate) fn top(language: Language) -> String {
    let body = html! {
        h1 { "Outflow" }
        p { (language.say(&text!(top_of_transfers))) }
    };
    document(language, "Outflow", &body)
}

/// A time of the catalog for people, in UTC; empty if it is unknown.
fn time(language: Language, time: Option<UnixTime>) -> String {
    time.map_or_else(String::new, |time| language.time(time.seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_time_is_empty() {
        let english = Language::default();
        assert_eq!(
            [time(english, Some(UnixTime::from_nanos(-1))), time(english, None)],
            ["1969-12-31 23:59", ""]
        );
    }
}
