//! The path of a request: see `outflow_content::address`.

pub(crate) use outflow_content::address_of as address;
pub(crate) use outflow_content::{BadUrlPath as BadTarget, UrlPath as Target};
