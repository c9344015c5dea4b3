//! `outflow serve`: files, archives, transfers, channels and tunnels over HTTP.
//!
//! ```text
//! options     its options
//!   channels    the options about channels
//!   endpoints   receivers of events: webhooks, --on-event
//! server      from options to a running server, and to its end
//! ```

mod channels;
mod endpoints;
mod options;
mod server;

#[cfg(test)]
pub(crate) use endpoints::WebhookArgs;
pub(crate) use options::{ServeArgs, store_address};
pub(crate) use server::{check, run};
