//! Fetching objects' bytes while they leave.
//!
//! ```text
//! source     an object's bytes as a source of spans
//!   reader     one recipient's bytes: from memory, or straight from the store's socket
//!     pace       how far ahead is fetched
//!     splicing   segments that the kernel moves
//!   engine     what recipients share: memory, requests, objects that several of them read
//!   shared     pieces and segments that the recipients of one object share
//!   memory     the budget for all of them
//!   requests   requests for segments: how many, by which way, and a second one when late
//!     plain      addresses for plain sockets
//!     direct     over plain sockets
//!     through    by `object_store`
//!     retry      what becomes of a request that failed
//! ```

mod direct;
mod engine;
mod memory;
mod pace;
mod plain;
mod reader;
mod requests;
mod retry;
mod shared;
mod source;
mod splicing;
#[cfg(test)]
mod tests;
mod through;

pub(crate) use engine::Engine;
pub(crate) use plain::{PlainAddresses, PlainUrl, VALID, has_proxy};
pub(crate) use reader::ObjectReader;
pub(crate) use requests::StoreFacts;
pub(crate) use retry::FetchFailure;
pub(crate) use source::ObjectSource;
