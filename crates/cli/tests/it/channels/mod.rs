//! Channels: publish and subscribe.
//!
//! ```text
//! delivery  what is published reaches its subscribers, and nobody else
//! clients   curl, Chromium, and clients with TLS or HTTP/2
//! frames    WebSocket frames in both directions, valid and invalid
//! many      thousands of subscribers
//! ```

mod clients;
mod delivery;
mod frames;
mod many;
