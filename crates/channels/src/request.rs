//! The address and query of a request for a channel, in our form or Mercure's.
//!
//! | address | meaning |
//! |---|---|
//! | `/channels/NAME` | the channel of that name |
//! | `/channels/NAME?count` | the number of its subscribers |
//! | `/.well-known/mercure?topic=NAME`, `?match=NAME` | the same channel, for subscribing |
//!
//! | field | meaning |
//! |---|---|
//! | `last_event_id`, `lastEventID`, `Last-Event-ID` | the last event received |
//! | `token`, `authorization` | a token, for clients that cannot set header fields |
//! | `event` | the name of the published event |

use http::{HeaderMap, Uri};
use outflow_texts::{Text, text};
use outflow_web::Problem;
use percent_encoding::percent_decode_str;

use crate::channel::log::StartFrom;

/// What the paths of channels begin with.
const CHANNELS: &str = "/channels/";
/// The path of all channels in Mercure's form (draft-dunglas-mercure).
const MERCURE: &str = "/.well-known/mercure";
/// Length of the name of a channel or an event, in bytes.
///
/// Bound: channels.
const MAX_NAME: usize = 100;

/// What a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ChannelRequest {
    pub(super) name: String,
    pub(super) count: bool,
    pub(super) event: Option<String>,
    pub(super) from: StartFrom,
    /// Whether the request is in Mercure's form.
    pub(super) mercure: bool,
}

/// Whether a path is that of a channel.
pub(super) fn is_channel_path(path: &str) -> bool {
    path.starts_with(CHANNELS) || path == MERCURE
}

/// Whether a channel or an event can have this name.
pub(super) fn is_valid_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// Removes the token from a query, so that the rest can be logged.
pub(super) fn take_token(uri: &mut Uri) -> Option<String> {
    let query = uri.query()?;
    let is_token = |field: &&str| matches!(field.split('=').next(), Some("token" | "authorization"));
    let token = query.split('&').find(is_token)?;
    let (_, token) = token.split_once('=').unwrap_or_default();
    let token = decode(token);
    let rest: Vec<&str> = query.split('&').filter(|field| !is_token(field)).collect();
    let (path, mark) = (uri.path(), if rest.is_empty() { "" } else { "?" });
    // Cannot fail: these are parts of a valid address.
    *uri = format!("{path}{mark}{}", rest.join("&")).parse().unwrap_or_default();
    Some(token)
}

impl ChannelRequest {
    pub(super) fn parse(uri: &Uri, headers: &HeaderMap) -> Result<ChannelRequest, Problem> {
        let mut request = ChannelRequest { mercure: uri.path() == MERCURE, ..ChannelRequest::default() };
        let mut topics = Vec::new();
        for field in uri.query().unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            match name {
                "count" => request.count = true,
                "event" => request.event = Some(decode(value)),
                "last_event_id" | "lastEventID" | "Last-Event-ID" => {
                    request.from = start_from(&decode(value))
                }
                "topic" | "match" if request.mercure => topics.push(decode(value)),
                _ => {}
            }
        }
        if let Some(id) = headers.get("last-event-id") {
            request.from = start_from(&String::from_utf8_lossy(id.as_bytes()));
        }
        request.name = match uri.path().strip_prefix(CHANNELS) {
            Some(name) => decode(name),
            None if topics.len() == 1 => topics.swap_remove(0),
            None => {
                return Err(bad(text!(channel_one_topic)));
            }
        };
        if !is_valid_name(&request.name) {
            return Err(bad(text!(channel_bad_name, limit = MAX_NAME)));
        }
        if request.event.as_deref().is_some_and(|event| !is_valid_name(event)) {
            return Err(bad(text!(event_bad_name, limit = MAX_NAME)));
        }
        Ok(request)
    }
}

fn start_from(id: &str) -> StartFrom {
    match id {
        "" => StartFrom::Now,
        "earliest" => StartFrom::Earliest,
        // Event ids are shorter.
        id => StartFrom::After(id.chars().take(MAX_NAME).collect()),
    }
}

fn decode(value: &str) -> String {
    percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn bad(detail: Text) -> Problem {
    Problem::bad_request(detail).without_link_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Option<ChannelRequest> {
        ChannelRequest::parse(&address.parse().unwrap(), &HeaderMap::new()).ok()
    }

    #[test]
    fn channels_are_named_in_our_words_and_in_those_of_mercure() {
        let named = |name: &str| ChannelRequest { name: name.to_owned(), ..ChannelRequest::default() };
        assert_eq!(parse("/channels/a.b-C_1~"), Some(named("a.b-C_1~")));
        assert_eq!(parse("/channels/%61?x=y&&"), Some(named("a")));
        assert_eq!(parse("/channels/a?count"), Some(ChannelRequest { count: true, ..named("a") }));
        assert_eq!(
            parse("/channels/a?event=up"),
            Some(ChannelRequest { event: Some("up".into()), ..named("a") })
        );
        let mercure = ChannelRequest { mercure: true, ..named("a") };
        assert_eq!(parse("/.well-known/mercure?topic=a"), Some(mercure));
        for id in ["last_event_id", "lastEventID", "Last-Event-ID"] {
            let from = parse(&format!("/.well-known/mercure?match=a&{id}=1-2")).unwrap().from;
            assert_eq!(from, StartFrom::After("1-2".into()));
        }
        assert_eq!(parse("/channels/a?last_event_id=earliest").unwrap().from, StartFrom::Earliest);
        assert_eq!(parse("/channels/a?last_event_id=").unwrap().from, StartFrom::Now);
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", "1-7".parse().unwrap());
        let request =
            ChannelRequest::parse(&"/channels/a?last_event_id=1-2".parse().unwrap(), &headers).unwrap();
        assert_eq!(request.from, StartFrom::After("1-7".into()));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("/channels/{}", "a".repeat(MAX_NAME + 1));
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
            assert_eq!(parse(address), None, "{address}");
        }
        for (path, here) in
            [("/channels/a", true), ("/channels", false), ("/channelsx", false), ("/a", false)]
        {
            assert_eq!(is_channel_path(path), here, "{path}");
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
