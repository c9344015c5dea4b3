//! A local folder as a collection.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outflow_content::{OpenFile as _, Source, SpanError, UnixTime, Wait};
use outflow_fs::{
    EntryKind, ExpectedFile, LocalFile, OpenError, OpenErrorKind, Opened, RelPath, Root, WalkEntry,
    WalkError, WalkLimits, WalkScope, WalkVisitor,
};

use crate::collection::Collection;
use crate::entry::{FileTag, FolderEntry, FoundFile, FoundPath};
use crate::fingerprint::Fingerprint;
use crate::tree::{
    FileCrc32, FileOpener, FileRecord, LearnedCrc32, LevelBuilder, OpenerFuture, Tree, TreeFile,
};

impl Collection for Root {
    fn name(&self) -> &[u8] {
        Root::name(self)
    }

    fn identity(&self) -> [u8; 32] {
        blake3::hash(self.path().as_os_str().as_bytes()).into()
    }

    fn find(&self, path: &RelPath, wait: Wait) -> Result<FoundPath, OpenError> {
        Ok(match self.open(path, wait)? {
            Opened::File(file) => FoundPath::File(FoundFile::from(file)),
            Opened::Folder(_) => FoundPath::Folder,
        })
    }

    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let entries = match self.open(folder, Wait::Yes)? {
            Opened::Folder(open) => self.entries(&open, limit)?,
            Opened::File(_) => return Err(OpenError::new(folder, OpenErrorKind::NotFound)),
        };
        let entries = entries.into_iter().map(|entry| FolderEntry {
            name: entry.name,
            kind: entry.kind,
            size: if entry.kind == EntryKind::Folder { 0 } else { entry.identity.size },
            modified: Some(entry.identity.modified()),
            tag: FileTag::Times,
        });
        Ok(entries.collect())
    }

    fn walk(
        self: Arc<Self>,
        folder: &RelPath,
        scope: &WalkScope,
        limits: WalkLimits,
    ) -> Result<Tree, WalkError> {
        let opener = Arc::new(LocalOpener { root: Arc::clone(&self) });
        let mut builder = LevelBuilder::new(folder.clone(), opener, limits);
        self.visit(folder, scope, limits, &mut TreeVisitor(&mut builder))?;
        Ok(builder.build())
    }
}

impl From<LocalFile> for FoundFile {
    fn from(file: LocalFile) -> FoundFile {
        let identity = file.identity();
        let modified = Some(identity.modified());
        FoundFile {
            path: file.path().clone(),
            size: identity.size,
            modified,
            etag: FileTag::Times.text(identity.size, modified),
            media_type: None,
            source: Arc::new(file),
        }
    }
}

struct TreeVisitor<'a>(&'a mut LevelBuilder);

impl WalkVisitor for TreeVisitor<'_> {
    fn entry(&mut self, entry: WalkEntry<'_>) -> Result<(), WalkError> {
        let identity = &entry.identity;
        let (size, fingerprint) = match entry.kind {
            EntryKind::File => (identity.size, Fingerprint::of_file(identity)),
            EntryKind::Folder => (0, Fingerprint::of_folder(identity)),
        };
        let modified = Some(identity.modified());
        let record = FileRecord { size, modified, fingerprint, executable: entry.executable };
        self.0.entry(entry.name, entry.kind, record)
    }

    fn next_folder(&mut self) {
        self.0.next_folder();
    }

    fn unreadable(&mut self, path: String) {
        self.0.unreadable(path);
    }
}

/// Opens files below a root, and refuses those that are not the ones that the walk saw.
struct LocalOpener {
    root: Arc<Root>,
}

impl LocalOpener {
    fn expected(&self, file: TreeFile<'_>) -> ExpectedFile {
        let (root, path) = (Arc::clone(&self.root), file.path());
        // A file on a disk has a time.
        let modified = file.modified().unwrap_or(UnixTime::from_nanos(0));
        ExpectedFile::new(root, path, file.size(), modified, file.fingerprint().inode_hash())
    }
}

impl FileOpener for LocalOpener {
    fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source> {
        Arc::new(self.expected(file))
    }

    fn compute_crc32(&self, file: TreeFile<'_>) -> OpenerFuture {
        let file = self.expected(file);
        Box::pin(async move {
            let name = file.path().to_string();
            let wanted = Wanted::default();
            let go_on = Arc::clone(&wanted.0);
            let reading = tokio::task::spawn_blocking(move || {
                let file = file.open_local(Wait::Yes)?;
                read_crc32(&file, &mut || go_on.load(Ordering::Relaxed))
            });
            reading.await.map_err(|gone| SpanError::Other { name, source: gone.into() })?
        })
    }

    fn learn_crc32(&self, file: TreeFile<'_>, rest: &mut dyn FnMut() -> bool) -> LearnedCrc32 {
        // What cannot be read now will say so when it is sent.
        let Ok(open) = self.expected(file).open_local(Wait::Yes) else { return LearnedCrc32::Nothing };
        read_crc32(&open, rest).map_or(LearnedCrc32::Nothing, LearnedCrc32::Known)
    }
}

impl fmt::Debug for LocalOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalOpener").field(&self.root).finish()
    }
}

/// False as soon as it is dropped.
struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How much is read at once, in bytes.
const CHUNK: usize = 128 * 1024;

/// Reads a whole file, and makes sure that it was one and the same all the while. Blocks.
fn read_crc32(file: &LocalFile, go_on: &mut dyn FnMut() -> bool) -> Result<FileCrc32, SpanError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; usize::try_from(file.size()).unwrap_or(CHUNK).clamp(1, CHUNK)];
    let mut offset = 0;
    while offset < file.size() {
        if !go_on() {
            let source = std::io::Error::new(std::io::ErrorKind::Interrupted, "reading was given up");
            return Err(SpanError::Read { name: file.name(), offset, source });
        }
        let left = usize::try_from(file.size() - offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(&mut buffer[..left], offset)?;
        if read == 0 {
            return Err(file.truncated(offset, file.size() - offset));
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    file.verify()?;
    Ok(FileCrc32 { crc32: hasher.finalize(), fingerprint: Fingerprint::of_file(&file.identity()) })
}
