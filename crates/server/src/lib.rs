//! The download server: collections, pages, archives, the HTTP interface.
//!
//! ```text
//! service    one request's way: method, address, answer
//!   target     the request's address -> a path below the root, and what is asked of it
//!   file       a file -> a content
//!   listing    a folder -> a page for people, JSON for programs
//!   archive    a folder or a selection -> a content
//!     plans      which archives are planned already
//!     plan       a tree and its layouts
//!     resume     which layout a client began with
//!     pick       a selection in a short address
//!     form       a selection from a page
//!   room       memory for large pages and forms
//!   problem    what went wrong -> problem details, or a page
//!   log        one line for each delivery
//! ```
//!
//! [`FolderService`] is a tower `Service`: it runs on `outflow_wire`, and as well, only slower, under any
//! other HTTP server on tokio.
#![forbid(unsafe_code)]

mod accept;
mod archive;
mod body;
mod file;
mod form;
mod hot;
mod listing;
mod log;
mod page;
mod pick;
mod plan;
mod plans;
mod problem;
mod query;
mod resume;
mod rice;
mod room;
mod service;
mod target;

pub use body::{Page, ServerBody};
pub use service::{Answer, FolderService, Settings};
