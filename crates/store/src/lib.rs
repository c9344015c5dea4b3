//! Where bytes come from: local folders, and what is known about their files.
#![forbid(unsafe_code)]
