//! The listing of a folder, and the selections that people make in it.
//!
//! ```text
//! listing    a folder -> a page for people, JSON for programs
//!   page       the pages
//! form       the form of a page -> the address of the archive that it selects
//! ```

mod form;
mod listing;
mod page;

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use outflow_catalog::RelPath;
use outflow_web::reply::redirect;
use outflow_web::{Problem, ResponseBody, accept};

use crate::files::Mount;
use crate::limits::{MemoryBudget, WalkPermits};
use crate::metrics::DownloadMetrics;
use crate::problem::ToProblem as _;
use crate::request::{Query, RequestContext};
use listing::Listing;
pub(crate) use page::top;

/// Answers requests for folders.
pub(crate) struct Folders {
    walks: WalkPermits,
    memory: MemoryBudget,
}

impl Folders {
    pub(crate) fn new(walks: WalkPermits, metrics: Arc<DownloadMetrics>) -> Folders {
        Folders { walks, memory: MemoryBudget::new(metrics) }
    }

    /// The listing of `folder`: JSON if the query or the client asks for it, a page otherwise.
    pub(crate) async fn list(
        &self,
        mount: &Mount,
        folder: RelPath,
        query: &Query,
        request: &RequestContext,
    ) -> Result<Response<ResponseBody>, Problem> {
        if let Some(spent) = request.spent() {
            return Err(spent.to_problem());
        }
        let json = query.json || accept::prefers_json(request.headers());
        // A page takes much more memory while it is made than afterwards.
        let permit = self.walks.acquire().await?;
        let (mount, memory, method) = (mount.clone(), self.memory.clone(), request.method().clone());
        let language = request.language;
        let listing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let listing = Listing::read(&mount, &folder).map_err(|error| error.to_problem())?;
            listing.respond(&memory, &method, language, json)
        });
        listing.await.unwrap_or_else(|_| Err(Problem::task_lost()))
    }

    /// Redirects to the archive of what the form in `body` selects in `folder`.
    pub(crate) async fn select<B>(
        &self,
        mount: &Mount,
        folder: RelPath,
        request: &RequestContext,
        body: B,
    ) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let (query, memory) = form::read(&self.memory, request.headers(), body).await?;
        let permit = self.walks.acquire().await?;
        let mount = mount.clone();
        let finding = tokio::task::spawn_blocking(move || {
            let _held = (permit, memory);
            form::archive_address(&mount, &folder, query)
        });
        let to = finding.await.unwrap_or_else(|_| Err(Problem::task_lost()))?;
        Ok(redirect(StatusCode::SEE_OTHER, &to))
    }
}
