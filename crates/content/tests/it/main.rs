//! The crate, used from outside: one file for each topic.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, in helpers as well")]
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are compared")]

mod body;
mod conditions;
mod disposition;
mod double;
mod etag;
mod hostile;
mod outgoing;
mod properties;
mod ranges;
mod respond;
mod under_hyper;
