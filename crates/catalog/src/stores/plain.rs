//! A part of a store as plain folders: what lies there, as it lies there.
//!
//! A store knows no folders, only keys with slashes in them: a folder is there as long as something is in it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outflow_content::Wait;
use quick_cache::sync::Cache;

use crate::objects::{Named, Table, by_components, tag_of};
use crate::transfer::found;
use crate::{
    Bounds, Collection, EntryKind, FileTag, FolderEntry, Found, NO_TIME, Object, OpenError, OpenErrorKind,
    RelPath, Store, StoreErrorKind, Tree, WalkError, Wanted,
};

/// For how long it is believed what was found at a path, or that nothing was.
const FRESH: Duration = Duration::from_secs(2);
/// Paths whose finding is remembered; each takes some hundred bytes.
const PATHS: usize = 10_000;
/// Objects of one walk; each takes some hundred bytes, too.
const OBJECTS: usize = 1_000_000;
/// Up to this many selected paths are asked for one by one; for more all of the folder is listed.
const ASKED_SINGLY: usize = 16;

/// All that lies below a store's address, or what of it is not hidden.
pub struct Prefix {
    store: Store,
    name: Vec<u8>,
    hidden: bool,
    seen: Cache<RelPath, (Instant, Seen)>,
}

#[derive(Clone)]
enum Seen {
    File(Arc<Object>),
    Folder,
    Nothing,
}

impl Prefix {
    /// What lies in `store`; with `hidden`, names that begin with a dot, too.
    #[must_use]
    pub fn new(store: Store, hidden: bool) -> Prefix {
        let name = store.address().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.as_bytes().to_vec();
        Prefix { store, name, hidden, seen: Cache::new(PATHS) }
    }

    /// The store that it is a part of.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The path as a key, if there can be such an object.
    fn key<'a>(&self, path: &'a RelPath) -> Result<&'a str, OpenError> {
        let key = std::str::from_utf8(path.as_bytes()).ok();
        // No store takes control characters.
        let key = key.filter(|key| !key.chars().any(char::is_control));
        let key = key.filter(|_| self.hidden || !path.is_hidden());
        key.ok_or_else(|| OpenError::new(path, OpenErrorKind::NotFound))
    }

    /// Asks the store. Blocks.
    fn look(&self, path: &RelPath) -> Result<Seen, OpenError> {
        let key = self.key(path)?;
        let fail = |kind: OpenErrorKind| OpenError::new(path, kind);
        match self.store.wait(self.store.head(key)) {
            Ok(object) => return Ok(Seen::File(Arc::new(object))),
            Err(error) if matches!(error.kind, StoreErrorKind::NotFound) => {}
            Err(error) => return Err(fail(error.into())),
        }
        match self.store.wait(self.store.list_folder(key, 1)) {
            Ok((folders, objects)) if folders.is_empty() && objects.is_empty() => Ok(Seen::Nothing),
            Ok(_) => Ok(Seen::Folder),
            Err(error) => match error.kind {
                StoreErrorKind::TooBig { .. } => Ok(Seen::Folder),
                StoreErrorKind::NotFound | StoreErrorKind::Unsupported(_) => Ok(Seen::Nothing),
                _ => Err(fail(error.into())),
            },
        }
    }

    fn shows(&self, name: &str) -> bool {
        !name.is_empty() && (self.hidden || !name.starts_with('.'))
    }

    /// Everything below the folder `key`, all of it or down to the first level. Blocks.
    fn objects(&self, folder: &RelPath, flat: bool, limit: usize) -> Result<Vec<Object>, WalkError> {
        let key = self.key(folder)?;
        let listed = if flat {
            self.store.wait(self.store.list_folder(key, limit)).map(|(folders, mut objects)| {
                objects.extend(folders.into_iter().map(|name| marker(key, &name)));
                objects
            })
        } else {
            self.store.wait(self.store.list(key, limit))
        };
        listed.map_err(|error| match error.kind {
            StoreErrorKind::TooBig { limit } => WalkError::TooMany { limit },
            _ => OpenError::new(folder, error.into()).into(),
        })
    }

    /// The tree of everything in `folder`, or of what is directly in it.
    fn tree(&self, folder: &RelPath, flat: bool, bounds: Bounds) -> Result<Tree, WalkError> {
        let objects = self.objects(folder, flat, bounds.entries.min(OBJECTS))?;
        if objects.is_empty() && !folder.is_root() {
            return Err(OpenError::new(folder, OpenErrorKind::NotFound).into());
        }
        self.tree_of(folder, objects, bounds)
    }

    fn tree_of(&self, folder: &RelPath, objects: Vec<Object>, bounds: Bounds) -> Result<Tree, WalkError> {
        let skip = if folder.is_root() { 0 } else { folder.as_bytes().len() + 1 };
        let objects: Vec<Arc<Object>> = objects.into_iter().map(Arc::new).collect();
        let mut unreadable = Vec::new();
        let mut named: Vec<Named<'_>> = Vec::with_capacity(objects.len());
        for (object, place) in objects.iter().zip(0..) {
            let below = object.key.get(skip..).unwrap_or_default();
            // Consoles make folders by objects whose names end in a slash; they are no files.
            let path = below.strip_suffix('/').unwrap_or(below);
            if path.is_empty() {
                continue;
            }
            match RelPath::new(path.as_bytes()) {
                Ok(path) if self.hidden || !path.is_hidden() => named.push((below.as_bytes(), place)),
                Ok(_) => {}
                Err(_) => unreadable.push(object.key.clone()),
            }
        }
        named.sort_unstable_by(|(a, _), (b, _)| by_components(a, b));
        named.dedup_by(|(a, _), (b, _)| a == b);
        let table = Table::new(objects.clone());
        let mut tree = Tree::of_objects(folder.clone(), &named, &self.store, &table, bounds)?;
        // No address can have such a name, so an archive without it must not look complete.
        unreadable.iter().for_each(|key| tree.unreadable.add(crate::path::printable(key.as_bytes())));
        Ok(tree)
    }

    /// The selected files and folders, each asked for by itself.
    fn singly(&self, folder: &RelPath, paths: &[RelPath], bounds: Bounds) -> Result<Tree, WalkError> {
        let mut objects = Vec::new();
        for below in paths {
            let Ok(path) = folder.join(below.as_bytes()) else { continue };
            match self.find_seen(&path, Wait::Yes) {
                Ok(Seen::File(object)) => objects.push(Object::clone(&object)),
                Ok(Seen::Folder) => {
                    objects.extend(self.objects(&path, false, bounds.entries.min(OBJECTS))?)
                }
                // It is missing from the tree then, and will be named.
                Ok(Seen::Nothing) => {}
                Err(OpenError { kind: OpenErrorKind::NotFound, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.tree_of(folder, objects, bounds)
    }

    fn find_seen(&self, path: &RelPath, wait: Wait) -> Result<Seen, OpenError> {
        if let Some((at, seen)) = self.seen.get(path)
            && at.elapsed() < FRESH
        {
            return Ok(seen);
        }
        self.key(path)?;
        if wait == Wait::No {
            return Err(OpenError::new(path, OpenErrorKind::WouldBlock));
        }
        let seen = self.look(path)?;
        self.seen.insert(path.clone(), (Instant::now(), seen.clone()));
        Ok(seen)
    }
}

/// Stands for a folder that is not looked into.
fn marker(folder: &str, name: &str) -> Object {
    let slash = if folder.is_empty() { "" } else { "/" };
    let key = format!("{folder}{slash}{name}/");
    Object { key, size: 0, etag: None, version: None, modified: None, crc32: None }
}

impl Collection for Prefix {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn identity(&self) -> [u8; 32] {
        blake3::hash(self.store.address().as_bytes()).into()
    }

    fn find(&self, path: &RelPath, wait: Wait) -> Result<Found, OpenError> {
        if path.is_root() {
            return Ok(Found::Folder);
        }
        match self.find_seen(path, wait)? {
            Seen::File(object) => Ok(Found::File(found(&self.store, path, &object, None))),
            Seen::Folder => Ok(Found::Folder),
            Seen::Nothing => Err(OpenError::new(path, OpenErrorKind::NotFound)),
        }
    }

    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let key = self.key(folder)?;
        let fail = |kind: OpenErrorKind| OpenError::new(folder, kind);
        let listed = self.store.wait(self.store.list_folder(key, limit));
        let (folders, objects) = listed.map_err(|error| fail(error.into()))?;
        if folders.is_empty() && objects.is_empty() && !folder.is_root() {
            return Err(fail(OpenErrorKind::NotFound));
        }
        let skip = if key.is_empty() { 0 } else { key.len() + 1 };
        let folders = folders.into_iter().filter(|name| self.shows(name)).map(|name| FolderEntry {
            name: name.into_bytes(),
            kind: EntryKind::Folder,
            size: 0,
            mtime: NO_TIME,
            tag: FileTag::None,
        });
        let files = objects.iter().filter_map(|object| {
            let name = object.key.get(skip..).filter(|name| self.shows(name))?;
            Some(FolderEntry {
                name: name.as_bytes().to_vec(),
                kind: EntryKind::File,
                size: object.size,
                mtime: object.modified.unwrap_or(NO_TIME),
                tag: tag_of(object),
            })
        });
        let mut entries: Vec<_> = files.chain(folders).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn walk(self: Arc<Self>, folder: &RelPath, wanted: &Wanted, bounds: Bounds) -> Result<Tree, WalkError> {
        let root = RelPath::root();
        match wanted {
            Wanted::All => self.tree(folder, false, bounds),
            Wanted::Levels(0 | 1) => self.tree(folder, true, bounds),
            Wanted::Levels(levels) => {
                let tree = self.tree(folder, false, bounds)?;
                tree.part(&root, &Wanted::Levels(*levels), bounds)
            }
            Wanted::These(paths) if paths.len() <= ASKED_SINGLY => {
                let tree = self.singly(folder, paths, bounds)?;
                tree.part(&root, wanted, bounds)
            }
            Wanted::These(_) => self.tree(folder, false, bounds)?.part(&root, wanted, bounds),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefix").field("store", &self.store).field("hidden", &self.hidden).finish()
    }
}
