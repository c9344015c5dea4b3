//! One content from memory, at every address or at one: the smallest HTTP server.
//!
//! ```text
//! service          the HTTP service: methods, address, replacing the content
//! representations  the content and its compressed forms; which one a request gets
//!   coding           content codings: what Accept-Encoding accepts, and compressing
//!   sealed           bytes in memory that can no longer change
//!   sys              system calls
//! ```
//!
//! ```
//! use http::{Request, header::ETAG};
//! use outflow_single::{ContentDescription, Representations, SealedBytesBuilder, SingleService};
//! use tower_service::Service as _;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = SealedBytesBuilder::new()?;
//! builder.push(b"version: STSv1\n")?;
//! let content = Representations::new(builder.seal()?, &ContentDescription::default());
//! let mut service = SingleService::new(content, Some("/.well-known/mta-sts.txt"));
//!
//! let response = service.call(Request::get("/.well-known/mta-sts.txt").body(())?).await?;
//! assert_eq!(response.status(), 200);
//! assert!(response.headers().contains_key(ETAG));
//! # Ok(())
//! # }
//! ```

// `sys` is the only module that allows it.
#![deny(unsafe_code)]

mod coding;
mod representations;
mod sealed;
mod service;
#[allow(unsafe_code)]
mod sys;

pub use representations::{ContentDescription, Representations};
pub use sealed::{SealedBytes, SealedBytesBuilder};
pub use service::{OnWire, SingleService};
