//! What a request to a channel asks for: its address and query, in our words or in Mercure's.
//!
//! | address | meaning |
//! |---|---|
//! | `/channels/NAME` | the channel of that name |
//! | `/channels/NAME?count` | how many subscribe to it |
//! | `/.well-known/mercure?topic=NAME`, `?match=NAME` | the same channel, to subscribe to |
//!
//! | field | meaning |
//! |---|---|
//! | `last_event_id`, `lastEventID`, `Last-Event-ID` | where a subscriber was, as the field `Last-Event-ID` says it |
//! | `token`, `authorization` | a token, for those who cannot set fields |
//! | `event` | what a published event is called |

use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

use super::channel::Since;
use outflow_web::Problem;

/// Where our channels are.
const OURS: &str = "/channels/";
/// Where Mercure has them (draft-dunglas-mercure).
const MERCURE: &str = "/.well-known/mercure";
/// Longest name of a channel, or of an event.
const NAME: usize = 100;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) count: bool,
    pub(super) event: Option<String>,
    pub(super) since: Since,
    /// Asked for in Mercure's words.
    pub(super) mercure: bool,
}

/// Whether an address is a channel's.
pub(super) fn is_here(path: &str) -> bool {
    path.starts_with(OURS) || path == MERCURE
}

/// Whether a channel, or an event, can be called that.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// Takes the token out of a query: what is left may be logged.
pub(super) fn take_token(uri: &mut Uri) -> Option<String> {
    let query = uri.query()?;
    let is_token = |field: &&str| matches!(field.split('=').next(), Some("token" | "authorization"));
    let token = query.split('&').find(is_token)?;
    let (_, token) = token.split_once('=').unwrap_or_default();
    let token = decode(token);
    let rest: Vec<&str> = query.split('&').filter(|field| !is_token(field)).collect();
    let (path, mark) = (uri.path(), if rest.is_empty() { "" } else { "?" });
    // Parts of an address that was one.
    *uri = format!("{path}{mark}{}", rest.join("&")).parse().unwrap_or_default();
    Some(token)
}

impl Ask {
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Result<Ask, Problem> {
        let mut ask = Ask { mercure: uri.path() == MERCURE, ..Ask::default() };
        let mut topics = Vec::new();
        for field in uri.query().unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            match name {
                "count" => ask.count = true,
                "event" => ask.event = Some(decode(value)),
                "last_event_id" | "lastEventID" | "Last-Event-ID" => ask.since = since(&decode(value)),
                "topic" | "match" if ask.mercure => topics.push(decode(value)),
                _ => {}
            }
        }
        if let Some(id) = headers.get("last-event-id") {
            ask.since = since(&String::from_utf8_lossy(id.as_bytes()));
        }
        ask.name = match uri.path().strip_prefix(OURS) {
            Some(name) => decode(name),
            None if topics.len() == 1 => topics.swap_remove(0),
            None => {
                return Err(bad("Name one topic, as ?topic=NAME or ?match=NAME: a connection is for one."));
            }
        };
        if !is_name(&ask.name) {
            return Err(bad(&format!(
                "A channel's name has 1 to {NAME} letters, digits, dots, hyphens, underscores and tildes."
            )));
        }
        if ask.event.as_deref().is_some_and(|event| !is_name(event)) {
            return Err(bad(&format!(
                "An event's name has 1 to {NAME} letters, digits, dots, hyphens, underscores and tildes."
            )));
        }
        Ok(ask)
    }
}

fn since(id: &str) -> Since {
    match id {
        "" => Since::Now,
        "earliest" => Since::Earliest,
        // Ours are shorter.
        id => Since::Behind(id.chars().take(NAME).collect()),
    }
}

fn decode(value: &str) -> String {
    percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn bad(detail: &str) -> Problem {
    Problem::bad_request(detail).without_link_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str) -> Option<Ask> {
        Ask::of(&address.parse().unwrap(), &HeaderMap::new()).ok()
    }

    #[test]
    fn channels_are_named_in_our_words_and_in_those_of_mercure() {
        let named = |name: &str| Ask { name: name.to_owned(), ..Ask::default() };
        assert_eq!(ask("/channels/a.b-C_1~"), Some(named("a.b-C_1~")));
        assert_eq!(ask("/channels/%61?x=y&&"), Some(named("a")));
        assert_eq!(ask("/channels/a?count"), Some(Ask { count: true, ..named("a") }));
        assert_eq!(ask("/channels/a?event=up"), Some(Ask { event: Some("up".into()), ..named("a") }));
        let mercure = Ask { mercure: true, ..named("a") };
        assert_eq!(ask("/.well-known/mercure?topic=a"), Some(mercure));
        for id in ["last_event_id", "lastEventID", "Last-Event-ID"] {
            let since = ask(&format!("/.well-known/mercure?match=a&{id}=1-2")).unwrap().since;
            assert_eq!(since, Since::Behind("1-2".into()));
        }
        assert_eq!(ask("/channels/a?last_event_id=earliest").unwrap().since, Since::Earliest);
        assert_eq!(ask("/channels/a?last_event_id=").unwrap().since, Since::Now);
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", "1-7".parse().unwrap());
        let asked = Ask::of(&"/channels/a?last_event_id=1-2".parse().unwrap(), &headers).unwrap();
        assert_eq!(asked.since, Since::Behind("1-7".into()));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("/channels/{}", "a".repeat(NAME + 1));
        for address in [
            "/channels/",
            "/channels/a/b",
            "/channels/a/",
            "/channels/%2e%2e%2f",
            "/channels/%00",
            "/channels/%ff",
            &long,
            "/channels/a?event=",
            "/channels/a?event=a%0Ab",
            "/.well-known/mercure",
            "/.well-known/mercure?topic=a&topic=b",
            "/.well-known/mercure?topic=https://x/",
        ] {
            assert_eq!(ask(address), None, "{address}");
        }
        for (path, here) in
            [("/channels/a", true), ("/channels", false), ("/channelsx", false), ("/a", false)]
        {
            assert_eq!(is_here(path), here, "{path}");
        }
    }

    #[test]
    fn a_token_leaves_the_address() {
        for (address, token, rest) in [
            ("/channels/a?token=%61b", Some("ab"), "/channels/a"),
            ("/channels/a?x&token=t&y=1", Some("t"), "/channels/a?x&y=1"),
            ("/.well-known/mercure?authorization=t&topic=a", Some("t"), "/.well-known/mercure?topic=a"),
            ("/channels/a?tokens=t", None, "/channels/a?tokens=t"),
            ("/channels/a", None, "/channels/a"),
        ] {
            let mut uri: Uri = address.parse().unwrap();
            assert_eq!(take_token(&mut uri).as_deref(), token, "{address}");
            assert_eq!(uri.to_string(), rest);
        }
    }
}
