//! The download server: collections, pages, archives, the HTTP interface.
#![forbid(unsafe_code)]
