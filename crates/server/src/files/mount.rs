//! A collection and the address where it is mounted.

use std::sync::Arc;

use http::{Response, StatusCode};
use outflow_catalog::{Collection, RelPath, Root};
use outflow_content::address_of;
use outflow_metrics::MetricRegistry;
use outflow_web::ResponseBody;
use outflow_web::reply::redirect;

use super::open_file_cache::LocalFiles;
use crate::access::narrow;
use crate::request::RequestContext;

/// A collection and the address where it is mounted.
#[derive(Clone)]
pub(crate) struct Mount {
    pub(crate) collection: Arc<dyn Collection>,
    /// Address of the top folder, percent-encoded, without the slash at its end; with the link that
    /// admitted the request.
    pub(crate) base: Arc<str>,
    /// The same without the link.
    pub(crate) home: Arc<str>,
    /// Number of the topmost folders that are outside the link's scope, so that no page links to
    /// them.
    pub(crate) hidden: usize,
    /// The collection's files, if it is a local folder.
    local: Option<Arc<LocalFiles>>,
}

impl Mount {
    /// A local folder at the top of all addresses.
    pub(crate) fn local(root: Root, registry: &MetricRegistry) -> Mount {
        let root = Arc::new(root);
        let local = Some(LocalFiles::new(Arc::clone(&root), registry));
        Mount { local, ..Mount::new(root, Arc::from("")) }
    }

    /// A collection at the address `home`.
    pub(crate) fn new(collection: Arc<dyn Collection>, home: Arc<str>) -> Mount {
        Mount { collection, base: Arc::clone(&home), home, hidden: 0, local: None }
    }

    pub(super) fn local_files(&self) -> Option<&LocalFiles> {
        self.local.as_deref()
    }

    /// The id of the transfer that it is.
    pub(crate) fn transfer(&self) -> Option<String> {
        self.collection.about().map(|about| about.id.clone())
    }

    /// The mount as the link that admitted `request` shows it.
    pub(crate) fn shown_to(mut self, request: &RequestContext) -> Mount {
        if let Some(link) = request.link() {
            self.base = format!("{}{}", request.link_prefix(), self.home).into();
            self.collection = narrow(link, self.collection, &self.home);
            self.hidden = link.levels_below(&self.home);
            // The link may not show all files of the folder.
            self.local = None;
        }
        self
    }

    /// Redirects to the address of a folder that was requested without the slash at its end.
    pub(crate) fn redirect_to_folder(
        &self,
        path: &RelPath,
        request: &RequestContext,
    ) -> Response<ResponseBody> {
        let mut to = format!("{}{}/", self.base, address_of(path));
        if let Some(query) = request.query() {
            to.push('?');
            to.push_str(query);
        }
        redirect(StatusCode::PERMANENT_REDIRECT, &to)
    }
}
