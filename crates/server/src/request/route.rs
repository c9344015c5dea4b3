//! What a request is for, as far as its method, path and query tell.

use http::{Method, Uri};
use outflow_content::{BadUrlPath, RelPath, UrlPath};
use outflow_texts::text;
use outflow_web::Problem;

use super::query::Query;
use crate::problem::malformed_address;

/// The methods that files and folders allow.
pub(crate) const FILE_METHODS: &str = "GET, HEAD, OPTIONS";
/// The methods that archives allow; POST makes an address of a form.
const ARCHIVE_METHODS: &str = "GET, HEAD, OPTIONS, POST";

/// What a request is for.
#[derive(Debug)]
pub(crate) enum Route {
    /// The methods that the address allows.
    Options(&'static str),
    /// A file, or a redirect to a folder.
    File(RelPath, Query),
    /// The listing of a folder.
    Folder(RelPath, Query),
    /// An archive of a folder.
    Archive(RelPath, Query),
    /// The address of the archive that a form selects in a folder.
    Form(RelPath),
    /// The progress of downloads.
    Events(UrlPath, Query),
}

impl Route {
    /// Parses `path`, which begins with the slash that stands for the top of a mount, and the query
    /// of `uri`.
    pub(crate) fn parse(method: &Method, path: &str, uri: &Uri) -> Result<Route, Problem> {
        if *method == Method::OPTIONS && uri.path() == "*" {
            return Ok(Route::Options(ARCHIVE_METHODS));
        }
        let UrlPath { path, folder } = UrlPath::parse(path).map_err(|bad| match bad {
            BadUrlPath::Malformed(why) => malformed_address(why),
            BadUrlPath::NotFound => Problem::not_found(),
        })?;
        let query = match uri.query() {
            Some(query) => {
                Query::parse(query.as_bytes()).map_err(|why| Problem::bad_request(text!(bad_query, why)))?
            }
            None => Query::default(),
        };
        let is_archive = query.zip && folder;
        let allow = if is_archive { ARCHIVE_METHODS } else { FILE_METHODS };
        match *method {
            Method::OPTIONS => Ok(Route::Options(allow)),
            Method::GET | Method::HEAD if query.events => Ok(Route::Events(UrlPath { path, folder }, query)),
            Method::GET | Method::HEAD if is_archive => Ok(Route::Archive(path, query)),
            Method::GET | Method::HEAD if folder => Ok(Route::Folder(path, query)),
            Method::GET | Method::HEAD => Ok(Route::File(path, query)),
            Method::POST if is_archive => Ok(Route::Form(path)),
            _ => Err(Problem::method_not_allowed(allow)),
        }
    }
}
