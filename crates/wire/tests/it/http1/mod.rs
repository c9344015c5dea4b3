//! What HTTP/1 alone knows.
//!
//! ```text
//! messages        framing by version and method, what persists and what closes
//! malformed       what is not HTTP, or ambiguous
//! oracle          the same requests to hyper
//! request_bodies  chunks, `Expect: 100-continue`, bodies that are not read
//! timeouts        heads and bodies that take their time
//! prebuilt        responses that are rendered beforehand
//! delivered       deliveries with closing responses and pipelines
//! watched         a server whose deliveries are watched
//! observers       what observers are notified of
//! upgrades        connections that stop being HTTP
//! ```

mod delivered;
mod malformed;
mod messages;
mod observers;
mod oracle;
mod prebuilt;
mod request_bodies;
mod timeouts;
mod upgrades;
mod watched;
