//! An archive's plan: the files that were found, and the layouts that can be made of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use outflow_catalog::{CrcCache, EntryKind, Tree, TreeDigest};
use outflow_content::{EntityTag, Source, Span, SpanError, UnixTime, mentions_etag};
use outflow_zip::{ArchiveFile, Bodies, Form, Layout, LayoutBuilder, LayoutError};

use crate::delivery::ledger_entry::LayoutFiles;

/// What an archive is made of. It has up to two layouts, each made when first needed:
///
/// - [`Form::Stored`] once the CRC-32 of every file is known: the kernel sends the files unread.
/// - [`Form::Streamed`] until then. It stays possible afterwards, for those who began with it.
///
/// All or nothing, so that both can be made again from the files alone: a layout that depended on which
/// CRC-32s happened to be known could never be continued.
pub(crate) struct Plan {
    tree: Arc<Tree>,
    crcs: Arc<CrcCache>,
    /// Says which archive this is, whatever is known of its CRC-32s.
    pub(crate) identity: [u8; 32],
    /// The same, and which inodes: a plan may be used again only if these are the same, too.
    pub(crate) exact: [u8; 32],
    /// The tree's index for each entry of a layout.
    order: OnceLock<Vec<u32>>,
    stored: OnceLock<Made>,
    streamed: OnceLock<Made>,
    known: Known,
    background: AtomicBool,
    /// A file turned out to be another one.
    stale: AtomicBool,
}

/// A layout and its tag.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) form: Form,
    pub(crate) layout: Arc<Layout>,
    pub(crate) etag: EntityTag,
    /// The same layout as a list of files.
    pub(crate) files: Arc<LayoutFiles>,
}

/// How far it has been seen that the CRC-32s are known. Goes forward only.
struct Known {
    /// The first file, in the tree's order, that was not known.
    upto: AtomicUsize,
    /// The cache's version when that was seen.
    version: AtomicU64,
}

impl Plan {
    /// Looks at every file once. Blocks.
    pub(crate) fn new(tree: Tree, crcs: Arc<CrcCache>) -> Plan {
        let TreeDigest { content, exact } = tree.digest();
        Plan {
            tree: Arc::new(tree),
            crcs,
            identity: content,
            exact,
            order: OnceLock::new(),
            stored: OnceLock::new(),
            streamed: OnceLock::new(),
            known: Known { upto: AtomicUsize::new(0), version: AtomicU64::new(u64::MAX) },
            background: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        }
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// True the first time it is asked.
    pub(crate) fn wants_background(&self) -> bool {
        !self.background.swap(true, Ordering::Relaxed)
    }

    /// A delivery failed: the next request has to look at the folder again.
    pub(crate) fn outdate(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Where the bytes of an entry's file come from.
    pub(crate) fn source(&self, entry: usize) -> Result<Arc<dyn Source>, SpanError> {
        Ok(self.tree.source(self.must_index(entry)?))
    }

    /// Heap memory in bytes, as far as it goes with the number of files.
    pub(crate) fn memory(&self) -> usize {
        let layout = |made: Option<&Made>| made.map_or(0, |made| made.layout.memory() + made.files.memory());
        self.tree.memory()
            + self.order.get().map_or(0, |order| order.len() * size_of::<u32>())
            + layout(self.stored.get())
            + layout(self.streamed.get())
    }

    /// The layout that a condition of the request names, among those that are made already.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Option<&Made> {
        [self.stored.get(), self.streamed.get()].into_iter().flatten().find(|made| names(headers, &made.etag))
    }

    /// The layout of `form` if it is made already.
    pub(crate) fn made(&self, form: Form) -> Option<&Made> {
        self.slot(form).get()
    }

    /// True if nothing was learned since [`Plan::best`] looked.
    pub(crate) fn is_settled(&self) -> bool {
        self.stored.get().is_some() || self.known.version.load(Ordering::Acquire) == self.crcs.version()
    }

    /// The best form for what is known now. Blocks for some microseconds for each thousand files.
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

    /// Makes the layout of `form`, or returns the one that was made. [`Form::Streamed`] instead if a CRC-32
    /// was forgotten meanwhile. Blocks for up to a second for each million files.
    pub(crate) fn layout(&self, form: Form) -> Result<Made, LayoutError> {
        if let Some(made) = self.slot(form).get() {
            return Ok(made.clone());
        }
        let Some(layout) = self.build(form)? else { return self.layout(Form::Streamed) };
        // Digits and letters can be in a tag.
        let etag = EntityTag::strong(&layout.etag()).ok_or(LayoutError::TooLarge)?;
        let layout = Arc::new(layout);
        let files = Arc::new(LayoutFiles::new(Arc::clone(&layout)));
        let made = Made { form, layout, etag, files };
        Ok(self.slot(form).get_or_init(|| made).clone())
    }

    fn slot(&self, form: Form) -> &OnceLock<Made> {
        match form {
            Form::Stored => &self.stored,
            Form::Streamed => &self.streamed,
        }
    }

    /// `None` if a CRC-32 is not known after all.
    fn build(&self, form: Form) -> Result<Option<Layout>, LayoutError> {
        enum Stop {
            Unknown,
            Layout(LayoutError),
        }
        let tree = &self.tree;
        let mut builder = LayoutBuilder::with_capacity(tree.len(), tree.name_bytes());
        let mut order = Vec::with_capacity(tree.files());
        let done = tree.visit(|entry| {
            // A tree has at most 2^32 entries.
            let number = entry.index as u32;
            let modified = entry.modified.map(UnixTime::seconds);
            let name = String::from_utf8_lossy(entry.path);
            let index = match entry.kind {
                // A folder that is not empty comes into being with its files.
                EntryKind::Folder if entry.size > 0 => return Ok(()),
                EntryKind::Folder => builder.directory(&name, modified),
                EntryKind::File => {
                    let crc32 = match form {
                        _ if entry.size == 0 => Some(0),
                        Form::Stored => Some(tree.crc32(entry.index, &self.crcs).ok_or(Stop::Unknown)?),
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
            if index.map_err(Stop::Layout)? == order.len() {
                order.push(number);
            }
            Ok(())
        });
        match done {
            Ok(()) => {}
            Err(Stop::Unknown) => return Ok(None),
            Err(Stop::Layout(error)) => return Err(error),
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

/// Whether a condition of the request names `etag`: the client has this layout, whole or in part.
fn names(headers: &HeaderMap, etag: &EntityTag) -> bool {
    mentions_etag(headers, etag)
        || headers.get_all(IF_NONE_MATCH).iter().any(|line| {
            // Only to choose between layouts; the condition itself is judged elsewhere.
            line.as_bytes().windows(etag.opaque().len().max(1)).any(|window| window == etag.opaque())
        })
}

/// Whether a request names any tag at all.
pub(crate) fn has_tags(headers: &HeaderMap) -> bool {
    [IF_RANGE, IF_MATCH, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name))
}

impl Bodies for Plan {
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
