//! `outflow serve`: files, archives, transfers, channels and tunnels over HTTP.
//!
//! ```text
//! options     flags, environment, configuration file
//!   channels    the options about channels
//!   endpoints   receivers of events: webhooks, --on-event
//! server      from options to a running server, and to its end
//! ```

mod channels;
mod endpoints;
mod options;
mod server;

pub(crate) use options::ServeArgs;
pub(crate) use server::run;
