//! The download server: collections, pages, archives, the HTTP interface.
//!
//! ```text
//! service    one collection at the top of all addresses
//! store_service   all transfers of a store, each at an address of its own
//!   transfers  their manifests, kept for a while
//!   expiries   when they end
//! shared     what collections share; one request's way: method, address, answer
//!   target     the request's address -> a path below the root, and what is asked of it
//!   file       a file -> a content
//!   listing    a folder -> a page for people, JSON for programs
//!   archive    a folder or a selection -> a content
//!     plans      which archives are planned already
//!     plan       a tree and its layouts
//!     ahead      a delivery that fetches the next files while one leaves
//!     resume     which layout a client began with
//!     pick       a selection in a short address
//!     form       a selection from a page
//!   visit      one request: who makes it, by which link
//!     gate       what its link allows
//!     link       signed addresses: who may have what, until when
//!   track      what the ledger is told of a delivery before its first byte
//!   delivery   what becomes of it: for the log and the ledger
//!   stream     the progress of downloads, to whoever listens
//!     live       who listens, and what they hear
//!   room       memory for large pages and forms
//!   problem    errors of collections, stores and links -> problems
//!   log        one line for each delivery
//! ```
//!
//! [`FolderService`] and [`StoreService`] are tower `Service`s: they run on `outflow_wire`, and as well, only slower, under any
//! other HTTP server on tokio.

mod access;
mod app;
mod archives;
mod catalogue;
mod delivery;
mod files;
mod folders;
mod limits;
pub mod link;
mod problem;
mod progress;
mod request;
mod service;

pub use app::Settings;
pub use catalogue::transfers::StoreService;
pub use outflow_web::ResponseBody;
pub use service::{Answer, FolderService};
