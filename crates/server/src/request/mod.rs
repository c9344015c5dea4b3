//! A request, parsed once.
//!
//! ```text
//! context      the head, the client, the link that admitted it
//!   access_log   the line that it becomes in the log
//!   facts        what of it is recorded
//!   printable    texts of it, as they are recorded
//! route        what the request is for: a file, a folder, an archive, a form, events
//!   query        the query -> its fields
//! ```

mod access_log;
mod context;
mod facts;
mod printable;
mod query;
mod route;

pub(crate) use access_log::AccessLog;
pub(crate) use context::RequestContext;
pub(crate) use facts::{PlainContext, RequestFacts};
pub(crate) use printable::printable;
pub(crate) use query::{ArchiveQuery, Query};
pub(crate) use route::{FILE_METHODS, Route};
