//! The layout of an archive that a request gets.

use std::sync::Arc;

use http::header::{RANGE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outflow_catalog::RelPath;
use outflow_content::Content;
use outflow_texts::text;
use outflow_web::Problem;
use outflow_zip::{Archive, Form};

use super::Archives;
use super::layout_memory::resumes;
use super::plan::{ArchivePlan, BuiltLayout, has_tags};
use super::prefetch::PrefetchingBodies;
use super::spec::ArchiveSpec;
use crate::files::Mount;
use crate::request::RequestContext;

/// An archive that is ready to be sent.
pub(super) struct ReadyArchive {
    pub(super) content: Content,
    pub(super) plan: Arc<ArchivePlan>,
    /// The layout that the client receives.
    pub(super) built: BuiltLayout,
    /// The folder's name, or what stands for it.
    pub(super) name: String,
}

impl Archives {
    /// Plans the archive `spec` of `folder`, and chooses the layout that `request` gets.
    pub(super) async fn prepare(
        &self,
        mount: &Mount,
        folder: &RelPath,
        spec: ArchiveSpec,
        request: &RequestContext,
    ) -> Result<ReadyArchive, Problem> {
        let (method, headers, client) = (request.method(), request.headers(), request.client.address);
        let plan = self.plans.get(&mount.collection, folder, spec, headers).await;
        let plan = plan.map_err(|problem| Problem::clone(&problem))?;
        let bare = is_bare_range(headers);
        let resumed = bare.then(|| self.layouts.resumed_form(plan.identity(), client)).flatten();
        // Other methods than GET ignore ranges (RFC 9110, section 14.2).
        let must_resume = bare && *method == Method::GET && resumes(headers);
        if must_resume && resumed.is_none() {
            return Err(unknown_layout());
        }
        let built = match layout_at_hand(&plan, headers, resumed) {
            Some(built) => built,
            None => {
                let (plan, headers) = (Arc::clone(&plan), headers.clone());
                let building = tokio::task::spawn_blocking(move || build_layout(&plan, &headers, resumed));
                building.await.map_err(|_| Problem::task_lost())??
            }
        };
        // A request with a tag may fail, and its client remembers the tag itself.
        if *method == Method::HEAD && !has_tags(headers) {
            self.layouts.record_head(plan.identity(), client, built.form);
        }
        if built.form == Form::Streamed
            && *method == Method::GET
            && let Some(background) = &self.background
            && plan.wants_background()
        {
            background.enqueue(plan.tree());
        }
        // The stored layout cannot be built if CRC-32s were evicted.
        if must_resume && resumed != Some(built.form) {
            return Err(unknown_layout());
        }
        if *method == Method::GET && bare {
            self.layouts.record_range(plan.identity(), client, built.form);
        }
        let name = match if folder.is_root() { mount.collection.name() } else { folder.name() } {
            b"" => "files".to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        // No Last-Modified: both layouts of an archive would share it, and `If-Range` with a date
        // would join the head of one with the tail of the other.
        let bodies = PrefetchingBodies::new(Arc::clone(&plan), Arc::clone(&built.layout));
        let content = Content::new(Arc::new(Archive::new(Arc::clone(&built.layout), Arc::new(bodies))))
            .etag(built.etag.clone())
            .media_type(HeaderValue::from_static("application/zip"))
            .attachment(&format!("{name}.zip"))
            .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(ReadyArchive { content, plan, built, name })
    }
}

/// 428 (RFC 6585, section 3): a bare `Range` resumes in a layout that is unknown, or that cannot be
/// built any more.
///
/// A part of another layout would be joined to what the client has: a file of the right length, and
/// damaged. The whole archive is no answer either, though RFC 9110, section 14.2, lets a server
/// ignore `Range`: wget 1 skips as many bytes of it as it has, and appends the rest. At an error
/// all clients keep what they have.
///
/// Nothing is remembered of it: what the client has stays unknown.
fn unknown_layout() -> Problem {
    Problem::new(StatusCode::PRECONDITION_REQUIRED, text!(archive_cannot_resume))
}

/// Whether a request has a range, and no tag of what it is a range of.
fn is_bare_range(headers: &HeaderMap) -> bool {
    headers.contains_key(RANGE) && !has_tags(headers)
}

/// The layout to send, if it is known without blocking.
fn layout_at_hand(plan: &ArchivePlan, headers: &HeaderMap, resumed: Option<Form>) -> Option<BuiltLayout> {
    if let Some(form) = resumed {
        return plan.built(form).cloned();
    }
    if let Some(built) = plan.named(headers) {
        return Some(built.clone());
    }
    if has_tags(headers) || !plan.is_settled() {
        return None;
    }
    plan.built(Form::Stored).or_else(|| plan.built(Form::Streamed)).cloned()
}

/// The layout to send: the resumed one, if it can be built. Blocks.
fn build_layout(
    plan: &ArchivePlan,
    headers: &HeaderMap,
    resumed: Option<Form>,
) -> Result<BuiltLayout, Problem> {
    let built = |form| {
        plan.layout(form).map_err(|error| {
            tracing::warn!(%error, "cannot make an archive of a folder");
            Problem::new(StatusCode::FORBIDDEN, text!(archive_impossible, %error))
        })
    };
    if let Some(form) = resumed {
        return built(form);
    }
    let best = built(plan.best())?;
    if best.form == Form::Stored && has_tags(headers) && plan.named(headers).is_none() {
        // The tag may be that of the layout from before all CRC-32s were known.
        built(Form::Streamed)?;
    }
    Ok(plan.named(headers).cloned().unwrap_or(best))
}
