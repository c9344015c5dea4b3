//! Links for recipients.
//!
//! ```text
//! signed     `outflow link`, `link show`, `link keygen`, `link revoke`; links signed elsewhere
//! delivered  whom a link admits, what uses it up, what everybody else is answered
//! ```

mod delivered;
mod signed;
