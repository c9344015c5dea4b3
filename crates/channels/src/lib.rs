//! Channels: publish and subscribe over HTTP. All subscribers of a channel receive what is
//! published at its address, as server-sent events or WebSocket messages.
//!
//! ```text
//! service    the HTTP interface: POST, GET, DELETE /channels/NAME
//!   request    address and query of a request, in our form or Mercure's
//!   tokens     who may publish and subscribe
//!   settings   permissions and limits
//! metrics    what is counted
//! hub        the channels by name; publishing
//! channel/   a channel's events and its subscribers' permits
//! deliver/   sending events to subscribers
//! ```
//!
//! An event is encoded once and shared by all subscribers. A subscriber is little more than a
//! position: the number of the next event to send. One that falls so far behind that its next event
//! has been dropped is disconnected; it can reconnect and name the last event it received.
//!
//! Another service asks [`Channels::claim`] whether a request is for a channel, and lets
//! [`Channels::answer`] answer it:
//!
//! ```
//! use http::Request;
//! use outflow_channels::{ChannelSettings, Channels, SubscribePolicy};
//! use outflow_texts::Language;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let open = SubscribePolicy::Open;
//! let settings = ChannelSettings { subscribe: open, ..ChannelSettings::default() };
//! let channels = Channels::start(settings)?;
//!
//! let mut request = Request::get("/channels/news?count").body(String::new())?;
//! assert!(channels.claim(&mut request));
//! let response = channels.answer(request, None, Language::default()).await;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod channel;
mod deliver;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hub;
mod metrics;
mod request;
mod service;
mod settings;
mod tokens;

pub use metrics::{ChannelLimit, ChannelMetrics};
pub use service::Channels;
pub use settings::{ChannelSettings, SubscribePolicy};
pub use tokens::{ChannelTokens, ChannelTokensError};
