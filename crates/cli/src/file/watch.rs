//! Notices that a file was changed: written and closed, replaced by a rename, or led elsewhere by a link on its way.
//!
//! Folders are watched, not files (inotify(7)): whoever replaces a file in one step makes a new one and renames it, which
//! a watch on the old file would never notice. What is still being written is not read: its end is the event.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::reload::{Bell, Why};

/// Room for what the kernel tells at once: one event with the longest name takes 272 bytes.
const EVENTS: usize = 8192;

/// Watches files. Begins with [`Watch::new`], so that no change is missed after that.
pub(crate) struct Watch {
    inotify: OwnedFd,
    files: Vec<PathBuf>,
    folders: HashMap<i32, PathBuf>,
    /// Which file each path led to: device and inode.
    seen: Vec<Option<(u64, u64)>>,
}

/// What one event says, so that nothing is borrowed from the reader.
struct Event {
    wd: i32,
    flags: ReadFlags,
    name: Option<Box<CStr>>,
}

impl Watch {
    pub(crate) fn new(files: &[PathBuf]) -> anyhow::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC).context("files cannot be watched (inotify)")?;
        let mut watch = Watch { inotify, files: files.to_owned(), folders: HashMap::new(), seen: Vec::new() };
        for file in files {
            watch
                .add(&folder_of(file))
                .with_context(|| format!("cannot watch the folder of {}", file.display()))?;
        }
        watch.look();
        Ok(watch)
    }

    fn add(&mut self, folder: &Path) -> Result<(), Errno> {
        let events =
            WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let wd = inotify::add_watch(&self.inotify, folder, events)?;
        self.folders.insert(wd, folder.to_owned());
        Ok(())
    }

    /// Looks which files the paths lead to, and watches the folders that these are in.
    fn look(&mut self) {
        let files = self.files.clone();
        for file in &files {
            // Either may be missing for a moment while somebody replaces it.
            let _ = self.add(&folder_of(file));
            if let Ok(real) = file.canonicalize() {
                let _ = self.add(&folder_of(&real));
            }
        }
        self.seen = files.iter().map(|file| identity(file)).collect();
    }

    /// Rings `bell` for each change, on a thread of its own. It ends with the process.
    pub(crate) fn start(mut self, bell: Arc<Bell>) -> anyhow::Result<()> {
        let work = move || {
            let error = loop {
                match self.next() {
                    Ok(()) => bell.ring(Why::Changed),
                    Err(error) => break error,
                }
            };
            tracing::error!(%error, "files are not watched any more; SIGHUP reads them again");
        };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(work)
            .context("no thread to watch files")?;
        Ok(())
    }

    /// Waits until one of the files has changed.
    fn next(&mut self) -> Result<(), Errno> {
        let mut room = [MaybeUninit::uninit(); EVENTS];
        loop {
            let events = {
                let mut reader = Reader::new(&self.inotify, &mut room);
                let mut events = Vec::new();
                // All that one call gave: what is left in the reader would be lost with it.
                loop {
                    match reader.next() {
                        Ok(event) => events.push(Event {
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
                self.look();
                return Ok(());
            }
        }
    }

    fn is_change(&self, event: &Event) -> bool {
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
        // What has just been made is still empty, but for a link. Anything else matters if a path leads elsewhere now.
        let is_made = event.flags.contains(ReadFlags::CREATE);
        if is_made && !path.is_some_and(|path| path.is_symlink()) {
            return false;
        }
        let now = self.files.iter().map(|file| identity(file));
        let is_written = event.flags.contains(ReadFlags::CLOSE_WRITE);
        now.zip(&self.seen).any(|(now, seen)| now.is_some() && now != *seen)
            || (is_written && self.leads_to(folder, name))
    }

    /// Whether one of the paths leads to that file of a folder, by a link.
    fn leads_to(&self, folder: &Path, name: Option<&Path>) -> bool {
        let Some(written) = name.and_then(|name| identity(&folder.join(name))) else { return false };
        self.seen.iter().flatten().any(|seen| *seen == written)
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
