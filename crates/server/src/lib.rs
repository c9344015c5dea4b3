//! The download server: files, listings of folders, archives and the progress of downloads over
//! HTTP.
//!
//! ```text
//! service    finds out what a request is for, and who answers it
//! mounts     which collection is mounted at the request's address
//! request    the request, parsed once: client, link, route, query
//! access     links: which requests are admitted, and what they may begin
//! files      a mounted collection, and a file in it -> a content
//! folders    a folder -> a page or JSON; a form -> the address of an archive
//! archives   a folder or a selection -> a content
//! progress   ?events: the progress of downloads, live
//! delivery   what becomes of a response: for the access log and the ledger
//! problem    errors of collections, stores and links -> problems
//! limits     memory and walks that requests share
//! metrics    what is counted
//! options    how a service serves
//! ```
//!
//! [`DownloadService`] is a tower `Service`. It runs on `outflow_wire` and, only slower, under any
//! other HTTP server on tokio:
//!
//! ```
//! use http::Request;
//! use http_body_util::{BodyExt as _, Empty};
//! use outflow_catalog::{Root, RootOptions};
//! use outflow_server::{DownloadOptions, DownloadService};
//! use tower_service::Service as _;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("hello.txt"), "hello")?;
//!
//! let root = Root::new(folder.path(), RootOptions::default())?;
//! let mut service = DownloadService::folder(root, &DownloadOptions::default());
//!
//! let request = Request::get("/hello.txt").body(Empty::<bytes::Bytes>::new())?;
//! let response = service.call(request).await?;
//! assert_eq!(response.headers()["content-length"], "5");
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod access;
mod archives;
mod delivery;
mod files;
mod folders;
mod limits;
mod metrics;
mod mounts;
mod options;
mod problem;
mod progress;
mod request;
mod service;

pub use access::SelectedCollection;
pub use metrics::{DeliveryEnding, DownloadMetrics};
pub use options::DownloadOptions;
pub use outflow_web::ResponseBody;
pub use service::{DownloadService, ResponseFuture};
