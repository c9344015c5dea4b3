//! The plan of an archive: the files that were found, and the layouts that can be built from them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use outflow_catalog::{CrcCache, EntryKind, Tree};
use outflow_content::{EntityTag, Source, Span, SpanError, UnixTime, mentions_etag};
use outflow_zip::{ArchiveFile, Bodies, Form, Layout, LayoutBuilder, LayoutError};

use super::layout_files::LayoutFiles;
use super::spec::{ArchiveIdentity, LayoutOptions};
use crate::delivery::DeliverySource;

/// The files of an archive. It has up to two layouts, each built when first needed:
///
/// - [`Form::Stored`] once the CRC-32 of every file is known: the kernel sends the files unread.
/// - [`Form::Streamed`] until then, and afterwards for clients that began with it.
///
/// All or nothing, so that both can be built again from the files alone: a download could not
/// resume a layout that depended on which CRC-32s happened to be known.
pub(crate) struct ArchivePlan {
    tree: Arc<Tree>,
    crcs: Arc<CrcCache>,
    identity: ArchiveIdentity,
    options: LayoutOptions,
    /// The tree's index for each entry of a layout.
    order: OnceLock<Vec<u32>>,
    stored: OnceLock<BuiltLayout>,
    streamed: OnceLock<BuiltLayout>,
    known: CrcKnowledge,
    background: AtomicBool,
    /// A file was gone or had changed.
    stale: AtomicBool,
}

/// A layout and its tag.
#[derive(Clone)]
pub(crate) struct BuiltLayout {
    pub(crate) form: Form,
    pub(crate) layout: Arc<Layout>,
    pub(crate) etag: EntityTag,
    /// The same layout as a list of files.
    pub(crate) files: Arc<LayoutFiles>,
}

/// How many CRC-32s were known when last checked. Only grows.
struct CrcKnowledge {
    /// The first file, in the tree's order, that was not known.
    upto: AtomicUsize,
    /// The cache's version then.
    version: AtomicU64,
}

impl ArchivePlan {
    /// Visits every file once. Blocks.
    pub(super) fn new(tree: Tree, crcs: Arc<CrcCache>, options: LayoutOptions) -> ArchivePlan {
        ArchivePlan {
            identity: ArchiveIdentity::new(&tree, options),
            options,
            tree: Arc::new(tree),
            crcs,
            order: OnceLock::new(),
            stored: OnceLock::new(),
            streamed: OnceLock::new(),
            known: CrcKnowledge { upto: AtomicUsize::new(0), version: AtomicU64::new(u64::MAX) },
            background: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        }
    }

    /// The key of a download of this archive that resumes.
    pub(super) fn identity(&self) -> &[u8; 32] {
        &self.identity.archive
    }

    /// Differs between plans of other inodes.
    pub(super) fn inodes(&self) -> &[u8; 32] {
        &self.identity.inodes
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// True on the first call.
    pub(crate) fn wants_background(&self) -> bool {
        !self.background.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// The source of an entry's file.
    pub(crate) fn source(&self, entry: usize) -> Result<Arc<dyn Source>, SpanError> {
        Ok(self.tree.source(self.must_index(entry)?))
    }

    /// Heap memory in bytes, as far as it goes with the number of files.
    pub(crate) fn memory(&self) -> usize {
        let layout = |built: Option<&BuiltLayout>| {
            built.map_or(0, |built| built.layout.memory() + built.files.memory())
        };
        self.tree.memory()
            + self.order.get().map_or(0, |order| order.len() * size_of::<u32>())
            + layout(self.stored.get())
            + layout(self.streamed.get())
    }

    /// The built layout whose tag a condition of the request names.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Option<&BuiltLayout> {
        [self.stored.get(), self.streamed.get()]
            .into_iter()
            .flatten()
            .find(|built| names(headers, &built.etag))
    }

    /// The layout of `form` if it is built.
    pub(crate) fn built(&self, form: Form) -> Option<&BuiltLayout> {
        self.slot(form).get()
    }

    /// Whether no CRC-32 was learned since the last call of [`ArchivePlan::best`].
    pub(crate) fn is_settled(&self) -> bool {
        self.stored.get().is_some() || self.known.version.load(Ordering::Acquire) == self.crcs.version()
    }

    /// The best form for the CRC-32s that are known. Blocks for some microseconds for each thousand
    /// files.
    pub(crate) fn best(&self) -> Form {
        if self.stored.get().is_some() || self.all_known() { Form::Stored } else { Form::Streamed }
    }

    fn all_known(&self) -> bool {
        let version = self.crcs.version();
        let from = self.known.upto.load(Ordering::Acquire);
        let mut at = 0;
        let unknown = self.tree.visit(|entry| {
            at += 1;
            let needs = entry.kind == EntryKind::File && entry.size > 0;
            if at <= from || !needs || self.tree.crc32(entry.index, &self.crcs).is_some() {
                Ok(())
            } else {
                Err(at - 1)
            }
        });
        self.known.version.store(version, Ordering::Release);
        if let Err(first) = unknown {
            self.known.upto.store(first, Ordering::Release);
        }
        unknown.is_ok()
    }

    /// Builds the layout of `form`, unless it is built. [`Form::Streamed`] instead if a CRC-32 was
    /// evicted meanwhile. Blocks for up to a second for each million files.
    pub(crate) fn layout(&self, form: Form) -> Result<BuiltLayout, LayoutError> {
        if let Some(built) = self.slot(form).get() {
            return Ok(built.clone());
        }
        let Some(layout) = self.build(form)? else { return self.layout(Form::Streamed) };
        // Digits and letters are always a tag.
        let etag = EntityTag::strong(&layout.etag()).ok_or(LayoutError::TooLarge)?;
        let layout = Arc::new(layout);
        let files = Arc::new(LayoutFiles::new(Arc::clone(&layout)));
        let built = BuiltLayout { form, layout, etag, files };
        Ok(self.slot(form).get_or_init(|| built).clone())
    }

    fn slot(&self, form: Form) -> &OnceLock<BuiltLayout> {
        match form {
            Form::Stored => &self.stored,
            Form::Streamed => &self.streamed,
        }
    }

    /// `None` if a CRC-32 is unknown after all.
    fn build(&self, form: Form) -> Result<Option<Layout>, LayoutError> {
        enum BuildStop {
            Unknown,
            Layout(LayoutError),
        }
        let LayoutOptions {} = self.options;
        let tree = &self.tree;
        let mut builder = LayoutBuilder::with_capacity(tree.len(), tree.name_bytes());
        let mut order = Vec::with_capacity(tree.files());
        let done = tree.visit(|entry| {
            // A tree has at most 2^32 entries.
            let number = entry.index as u32;
            let modified = entry.modified.map(UnixTime::seconds);
            let name = String::from_utf8_lossy(entry.path);
            let index = match entry.kind {
                // Unpacking its files creates a folder that is not empty.
                EntryKind::Folder if entry.size > 0 => return Ok(()),
                EntryKind::Folder => builder.directory(&name, modified),
                EntryKind::File => {
                    let crc32 = match form {
                        _ if entry.size == 0 => Some(0),
                        Form::Stored => Some(tree.crc32(entry.index, &self.crcs).ok_or(BuildStop::Unknown)?),
                        Form::Streamed => None,
                    };
                    builder.file(ArchiveFile {
                        name: &name,
                        size: entry.size,
                        modified,
                        crc32,
                        executable: entry.executable,
                        version: tree.version(entry.index),
                    })
                }
            };
            if index.map_err(BuildStop::Layout)? == order.len() {
                order.push(number);
            }
            Ok(())
        });
        match done {
            Ok(()) => {}
            Err(BuildStop::Unknown) => return Ok(None),
            Err(BuildStop::Layout(error)) => return Err(error),
        }
        // The same for both forms: it depends on the names only.
        self.order.get_or_init(|| order);
        builder.finish().map(Some)
    }

    /// The tree's index of a layout's entry.
    fn index(&self, entry: usize) -> Option<usize> {
        self.order.get()?.get(entry).map(|index| *index as usize)
    }

    /// The same; it is an error if there is none.
    fn must_index(&self, entry: usize) -> Result<usize, SpanError> {
        self.index(entry).ok_or_else(|| SpanError::Other {
            name: format!("entry {entry} of an archive"),
            source: "there is no such entry".into(),
        })
    }
}

/// Whether a condition of the request names `etag`, so that the client has this layout, whole or in
/// part.
fn names(headers: &HeaderMap, etag: &EntityTag) -> bool {
    mentions_etag(headers, etag)
        || headers.get_all(IF_NONE_MATCH).iter().any(|line| {
            // Only to choose between layouts; content evaluates the condition itself.
            line.as_bytes().windows(etag.opaque().len().max(1)).any(|window| window == etag.opaque())
        })
}

/// Whether a request names any tag.
pub(crate) fn has_tags(headers: &HeaderMap) -> bool {
    [IF_RANGE, IF_MATCH, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name))
}

impl DeliverySource for ArchivePlan {
    /// The next request has to walk the folder again.
    fn delivery_failed(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }
}

impl Bodies for ArchivePlan {
    fn body(&self, entry: usize, offset: u64, len: u64) -> Result<Span, SpanError> {
        Ok(self.source(entry)?.span(offset, len))
    }

    fn crc32(&self, entry: usize) -> Option<u32> {
        self.tree.crc32(self.index(entry)?, &self.crcs)
    }

    fn compute_crc32(&self, entry: usize) -> Pin<Box<dyn Future<Output = Result<u32, SpanError>> + Send>> {
        let computing = self.must_index(entry).map(|index| self.tree.compute_crc32(index, &self.crcs));
        Box::pin(async move { computing?.await })
    }

    fn learned_crc32(&self, entry: usize, crc32: u32) {
        if let Some(index) = self.index(entry) {
            self.crcs.insert(self.tree.fingerprint(index), crc32);
        }
    }
}
