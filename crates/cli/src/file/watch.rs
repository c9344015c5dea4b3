//! Watches files for changes: written and closed, replaced by a rename, or reached through another
//! symlink.
//!
//! The watches are on folders (inotify(7)): a program that replaces a file in one step renames a
//! new file over it, which a watch on the old file does not see. A file that is being written is
//! read when it is closed.
//!
//! inotify by rustix rather than the crate `notify`: the binary is for Linux only, and `notify`
//! would not take over the part that matters here, following each symlink on the way to a file.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use outflow_texts::console;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::reload::{ReloadReason, ReloadSignal};

/// Size of the buffer for events, in bytes: one event with the longest name takes 272.
const EVENT_BUFFER: usize = 8192;

/// Watches files. No change after [`FileWatch::new`] is missed.
pub(crate) struct FileWatch {
    inotify: OwnedFd,
    files: Vec<PathBuf>,
    folders: HashMap<i32, PathBuf>,
    /// Device and inode of the file that each path led to.
    identities: Vec<Option<(u64, u64)>>,
}

/// An event, copied out of the reader's buffer.
struct FileEvent {
    wd: i32,
    flags: ReadFlags,
    name: Option<Box<CStr>>,
}

impl FileWatch {
    pub(crate) fn new(files: &[PathBuf]) -> anyhow::Result<FileWatch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC).context(console!(cannot_watch))?;
        let mut watch =
            FileWatch { inotify, files: files.to_owned(), folders: HashMap::new(), identities: Vec::new() };
        for file in files {
            watch
                .add(&folder_of(file))
                .with_context(|| console!(cannot_watch_folder, path = %file.display()))?;
        }
        watch.resolve();
        Ok(watch)
    }

    fn add(&mut self, folder: &Path) -> Result<(), Errno> {
        let events =
            WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let wd = inotify::add_watch(&self.inotify, folder, events)?;
        self.folders.insert(wd, folder.to_owned());
        Ok(())
    }

    /// Resolves the paths, and watches the folders of the files that they lead to.
    fn resolve(&mut self) {
        let files = self.files.clone();
        for file in &files {
            // Either may be missing for a moment while it is replaced.
            let _ = self.add(&folder_of(file));
            if let Ok(real) = file.canonicalize() {
                let _ = self.add(&folder_of(&real));
            }
        }
        self.identities = files.iter().map(|file| identity(file)).collect();
    }

    /// Requests a reload for each change, from a thread of its own that ends with the process.
    pub(crate) fn start(mut self, signal: Arc<ReloadSignal>) -> anyhow::Result<()> {
        let work = move || {
            let error = loop {
                match self.next() {
                    Ok(()) => signal.request(ReloadReason::Changed),
                    Err(error) => break error,
                }
            };
            tracing::error!(%error, "files are no longer watched; send SIGHUP to reload them");
        };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(work)
            .context(console!(cannot_start_watch))?;
        Ok(())
    }

    /// Waits until a file has changed.
    fn next(&mut self) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BUFFER];
        loop {
            let events = {
                let mut reader = Reader::new(&self.inotify, &mut buffer);
                let mut events = Vec::new();
                // Drain the reader: events that are left in it would be lost.
                loop {
                    match reader.next() {
                        Ok(event) => events.push(FileEvent {
                            wd: event.wd(),
                            flags: event.events(),
                            name: event.file_name().map(Box::from),
                        }),
                        Err(Errno::INTR) => continue,
                        Err(errno) => return Err(errno),
                    }
                    if reader.is_buffer_empty() {
                        break events;
                    }
                }
            };
            let changed = events.iter().any(|event| self.is_change(event));
            if changed {
                self.resolve();
                return Ok(());
            }
        }
    }

    fn is_change(&self, event: &FileEvent) -> bool {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
        let Some(folder) = self.folders.get(&event.wd) else { return false };
        let name = event.name.as_deref().map(|name| Path::new(OsStr::from_bytes(name.to_bytes())));
        let path = name.map(|name| folder.join(name));
        let is_ours = path.as_ref().is_some_and(|path| {
            self.files.iter().any(|file| folder_of(file).join(file.file_name().unwrap_or_default()) == *path)
        });
        if is_ours && event.flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            return true;
        }
        // A new file is still empty, unless it is a symlink. Other events matter if a path leads
        // elsewhere now.
        let is_made = event.flags.contains(ReadFlags::CREATE);
        if is_made && !path.is_some_and(|path| path.is_symlink()) {
            return false;
        }
        let now = self.files.iter().map(|file| identity(file));
        let is_written = event.flags.contains(ReadFlags::CLOSE_WRITE);
        now.zip(&self.identities).any(|(now, before)| now.is_some() && now != *before)
            || (is_written && self.leads_to(folder, name))
    }

    /// Whether one of the paths leads to this file of a folder through a symlink.
    fn leads_to(&self, folder: &Path, name: Option<&Path>) -> bool {
        let Some(written) = name.and_then(|name| identity(&folder.join(name))) else { return false };
        self.identities.iter().flatten().any(|seen| *seen == written)
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
