//! The listing of a folder: a page for people, JSON for programs.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, VARY};
use http::{HeaderValue, Method, Response, StatusCode};
use outflow_catalog::{FolderEntry, OpenError, RelPath, TransferInfo};
use outflow_content::UnixTime;
use outflow_content::address::encode;
use outflow_content::address_of;
use outflow_texts::Language;
use outflow_web::page::{HTML, POLICY};
use outflow_web::reply::small;
use outflow_web::{Problem, ResponseBody};
use serde::Serialize;

use super::page;
use crate::files::Mount;
use crate::limits::MemoryBudget;

/// Maximum number of entries of a listing. Each takes some hundred bytes while the page is made.
///
/// Bound: pages and forms.
const MAX_ENTRIES: usize = 1_000_000;

/// A folder and its entries.
pub(super) struct Listing {
    /// The folder's name.
    pub(super) name: String,
    root_name: String,
    path: RelPath,
    /// Address of the folder.
    address: String,
    /// Number of the topmost folders that the page does not show.
    hidden: usize,
    /// The description of the collection, in its top folder.
    pub(super) about: Option<TransferInfo>,
    /// Sorted by name.
    pub(super) entries: Vec<FolderEntry>,
}

#[derive(Serialize)]
struct ListingJson<'a> {
    name: &'a str,
    /// Address of the folder.
    path: &'a str,
    /// Address of its archive.
    archive: String,
    #[serde(flatten)]
    about: Option<AboutJson<'a>>,
    entries: Vec<EntryJson>,
}

#[derive(Serialize)]
struct AboutJson<'a> {
    id: &'a str,
    title: Option<&'a str>,
    message: Option<&'a str>,
    created: Option<String>,
    expires: Option<String>,
    files: usize,
    bytes: u64,
}

impl AboutJson<'_> {
    fn of(about: &TransferInfo) -> AboutJson<'_> {
        AboutJson {
            id: &about.id,
            title: about.title.as_deref(),
            message: about.message.as_deref(),
            created: rfc3339(UnixTime::from_nanos(about.created)),
            expires: about.expires.map(UnixTime::from_nanos).and_then(rfc3339),
            files: about.files,
            bytes: about.bytes,
        }
    }
}

#[derive(Serialize)]
struct EntryJson {
    name: String,
    /// Relative to the folder's address; null for a name that no address can have.
    href: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl Listing {
    /// Reads a folder. Blocks.
    pub(super) fn read(mount: &Mount, folder: &RelPath) -> Result<Listing, OpenError> {
        let collection = &mount.collection;
        let entries = collection.list(folder, MAX_ENTRIES)?;
        let root_name = match String::from_utf8_lossy(collection.name()) {
            name if name.is_empty() => "/".to_owned(),
            name => name.into_owned(),
        };
        let name = if folder.is_root() {
            root_name.clone()
        } else {
            String::from_utf8_lossy(folder.name()).into_owned()
        };
        let address = format!("{}{}/", mount.base, address_of(folder));
        let about = collection.about().filter(|_| folder.is_root()).cloned();
        Ok(Listing { name, root_name, path: folder.clone(), address, hidden: mount.hidden, about, entries })
    }

    /// The folders from the top down to this one, and their relative addresses; this one's is
    /// empty.
    pub(super) fn crumbs(&self) -> Vec<(String, String)> {
        let mut crumbs = Vec::new();
        let names: Vec<&[u8]> = self.path.components().collect();
        let up = |levels: usize| if levels == 0 { String::new() } else { "../".repeat(levels) };
        crumbs.push((self.root_name.clone(), up(names.len())));
        for (at, name) in names.iter().enumerate() {
            crumbs.push((String::from_utf8_lossy(name).into_owned(), up(names.len() - at - 1)));
        }
        crumbs.drain(..self.hidden.min(names.len()));
        crumbs
    }

    fn json(&self) -> Vec<u8> {
        let entries = self.entries.iter().map(|entry| EntryJson {
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            href: href(entry),
            kind: if entry.is_folder() { "folder" } else { "file" },
            size: (!entry.is_folder()).then_some(entry.size),
            modified: entry.modified.and_then(rfc3339),
            etag: entry.etag().map(|etag| format!("\"{etag}\"")),
        });
        let json = ListingJson {
            name: &self.name,
            path: &self.address,
            archive: format!("{}?zip", self.address),
            about: self.about.as_ref().map(AboutJson::of),
            entries: entries.collect(),
        };
        // Strings and numbers are always JSON.
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// The response, JSON or a page; a large one takes memory from the budget.
    pub(super) fn respond(
        &self,
        budget: &MemoryBudget,
        method: &Method,
        language: Language,
        json: bool,
    ) -> Result<Response<ResponseBody>, Problem> {
        let (media_type, bytes) = if json {
            (HeaderValue::from_static("application/json"), self.json())
        } else {
            (HTML, page::folder(language, self).into_bytes())
        };
        let memory = if *method == Method::HEAD { None } else { budget.take(bytes.len())? };
        let mut response = small(method, StatusCode::OK, media_type, bytes);
        if let Some(memory) = memory {
            response.body_mut().hold(memory);
        }
        let fields = response.headers_mut();
        if !json {
            fields.insert(CONTENT_SECURITY_POLICY, POLICY);
        }
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        fields.insert(VARY, HeaderValue::from_static("Accept"));
        Ok(response)
    }
}

/// The address of an entry relative to its folder. `None` for a name with a backslash, which no
/// address may have.
pub(super) fn href(entry: &FolderEntry) -> Option<String> {
    if entry.name.contains(&b'\\') {
        return None;
    }
    let slash = if entry.is_folder() { "/" } else { "" };
    Some(format!("{}{slash}", encode(&entry.name)))
}

fn rfc3339(time: UnixTime) -> Option<String> {
    let time = jiff::Timestamp::from_second(time.seconds()).ok()?;
    Some(time.to_string())
}
