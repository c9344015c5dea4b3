//! Links: signed addresses for recipients.
//!
//! ```text
//! make       `outflow link`
//!   address    the URL, path or transfer that a link is for
//!   password   a password from the terminal, a file or standard input
//! show       `outflow link-show`
//! revoke     `outflow link-revoke`
//! keys       the file of keys, and `outflow link-key`
//! terms      a link's terms and token, as commands print and read them
//! ```

mod address;
mod keys;
mod make;
mod password;
mod revoke;
mod show;
mod terms;

pub(crate) use keys::{LinkKeyArgs, print_new_key};
pub(crate) use make::{LinkArgs, make};
pub(crate) use revoke::{LinkRevokeArgs, revoke};
pub(crate) use show::{LinkShowArgs, show};
