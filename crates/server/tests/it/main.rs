//! The service as its clients see it, without a network: requests in, answers and their bytes out.
#![allow(clippy::unwrap_used)]

mod archives;
mod files;
mod help;
mod languages;
mod listings;
mod origin;
mod paths;
mod plain;
mod prebuilt;
mod selected;
mod selections;
mod shop;
mod store_bytes;
mod transfers;
