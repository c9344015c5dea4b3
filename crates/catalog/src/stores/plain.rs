//! A part of a store as plain folders, without manifests.
//!
//! A store knows no folders, only keys with slashes in them: a folder is there as long as something
//! is in it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outflow_content::{Wait, printable};
use outflow_fs::{EntryKind, OpenError, OpenErrorKind, RelPath, WalkError, WalkLimits, WalkScope};
use outflow_objects::{Object, Store, StoreErrorKind};
use quick_cache::sync::Cache;

use crate::collection::Collection;
use crate::entry::{FileTag, FolderEntry, FoundPath};
use crate::stores::opener::{ObjectOpener, found, open_error, tag_of};
use crate::tree::{NamedFile, Tree, by_components};

/// How long the state of a path is trusted.
///
/// Bound: object stores.
const FRESH: Duration = Duration::from_secs(2);
/// Maximum number of paths whose state is cached; each takes some hundred bytes.
///
/// Bound: object stores.
const PATHS: usize = 10_000;
/// Maximum number of objects in one walk; each takes some hundred bytes.
///
/// Bound: object stores.
const OBJECTS: usize = 1_000_000;
/// Maximum number of selected paths that are requested one by one; for more the whole folder is
/// listed.
///
/// Bound: object stores.
const MAX_SINGLE_REQUESTS: usize = 16;

/// All objects below a store's address, or those that are not hidden.
pub struct PlainStore {
    store: Store,
    name: Vec<u8>,
    hidden: bool,
    states: Cache<RelPath, (Instant, PathState)>,
}

#[derive(Clone)]
enum PathState {
    File(Arc<Object>),
    Folder,
    Nothing,
}

impl PlainStore {
    /// The objects in `store`; with `hidden`, names that begin with a dot, too.
    #[must_use]
    pub fn new(store: Store, hidden: bool) -> PlainStore {
        let name = store.address().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = name.as_bytes().to_vec();
        PlainStore { store, name, hidden, states: Cache::new(PATHS) }
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

    /// Requests the state of a path from the store. Blocks.
    fn request(&self, path: &RelPath) -> Result<PathState, OpenError> {
        let key = self.key(path)?;
        let fail = |kind: OpenErrorKind| OpenError::new(path, kind);
        match self.store.wait(self.store.head(key)) {
            Ok(object) => return Ok(PathState::File(Arc::new(object))),
            Err(error) if matches!(error.kind, StoreErrorKind::NotFound) => {}
            Err(error) => return Err(fail(open_error(error))),
        }
        match self.store.wait(self.store.list_folder(key, 1)) {
            Ok((folders, objects)) if folders.is_empty() && objects.is_empty() => Ok(PathState::Nothing),
            Ok(_) => Ok(PathState::Folder),
            Err(error) => match error.kind {
                StoreErrorKind::TooBig { .. } => Ok(PathState::Folder),
                StoreErrorKind::NotFound | StoreErrorKind::Unsupported(_) => Ok(PathState::Nothing),
                _ => Err(fail(open_error(error))),
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
            _ => OpenError::new(folder, open_error(error)).into(),
        })
    }

    /// The tree of everything in `folder`, or of what is directly in it.
    fn tree(&self, folder: &RelPath, flat: bool, limits: WalkLimits) -> Result<Tree, WalkError> {
        let objects = self.objects(folder, flat, limits.entries.min(OBJECTS))?;
        if objects.is_empty() && !folder.is_root() {
            return Err(OpenError::new(folder, OpenErrorKind::NotFound).into());
        }
        self.tree_of(folder, objects, limits)
    }

    fn tree_of(&self, folder: &RelPath, objects: Vec<Object>, limits: WalkLimits) -> Result<Tree, WalkError> {
        let skip = if folder.is_root() { 0 } else { folder.as_bytes().len() + 1 };
        let objects: Vec<Arc<Object>> = objects.into_iter().map(Arc::new).collect();
        let mut unreadable = Vec::new();
        let mut named: Vec<NamedFile<'_>> = Vec::with_capacity(objects.len());
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
        let opener = Arc::new(ObjectOpener::new(self.store.clone(), objects.clone()));
        let record = |slot| opener.record(slot);
        let mut tree = Tree::of_sorted(folder.clone(), &named, record, Arc::clone(&opener) as _, limits)?;
        // No address can have such a name, and an archive without it must not look complete.
        unreadable.iter().for_each(|key| tree.unreadable.add(printable(key.as_bytes())));
        Ok(tree)
    }

    /// The selected files and folders, each requested by itself.
    fn singly(&self, folder: &RelPath, paths: &[RelPath], limits: WalkLimits) -> Result<Tree, WalkError> {
        let mut objects = Vec::new();
        for below in paths {
            let Ok(path) = folder.join(below.as_bytes()) else { continue };
            match self.state_of(&path, Wait::Yes) {
                Ok(PathState::File(object)) => objects.push(Object::clone(&object)),
                Ok(PathState::Folder) => {
                    objects.extend(self.objects(&path, false, limits.entries.min(OBJECTS))?)
                }
                // It is missing from the tree then, and the error names it.
                Ok(PathState::Nothing) => {}
                Err(OpenError { kind: OpenErrorKind::NotFound, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.tree_of(folder, objects, limits)
    }

    fn state_of(&self, path: &RelPath, wait: Wait) -> Result<PathState, OpenError> {
        if let Some((at, seen)) = self.states.get(path)
            && at.elapsed() < FRESH
        {
            return Ok(seen);
        }
        self.key(path)?;
        if wait == Wait::No {
            return Err(OpenError::new(path, OpenErrorKind::WouldBlock));
        }
        let seen = self.request(path)?;
        self.states.insert(path.clone(), (Instant::now(), seen.clone()));
        Ok(seen)
    }
}

/// Stands for a folder that is not listed.
fn marker(folder: &str, name: &str) -> Object {
    let slash = if folder.is_empty() { "" } else { "/" };
    let key = format!("{folder}{slash}{name}/");
    Object { key, size: 0, etag: None, version: None, modified: None, crc32: None }
}

impl Collection for PlainStore {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn identity(&self) -> [u8; 32] {
        blake3::hash(self.store.address().as_bytes()).into()
    }

    fn find(&self, path: &RelPath, wait: Wait) -> Result<FoundPath, OpenError> {
        if path.is_root() {
            return Ok(FoundPath::Folder);
        }
        match self.state_of(path, wait)? {
            PathState::File(object) => Ok(FoundPath::File(found(&self.store, path, &object))),
            PathState::Folder => Ok(FoundPath::Folder),
            PathState::Nothing => Err(OpenError::new(path, OpenErrorKind::NotFound)),
        }
    }

    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let key = self.key(folder)?;
        let fail = |kind: OpenErrorKind| OpenError::new(folder, kind);
        let listed = self.store.wait(self.store.list_folder(key, limit));
        let (folders, objects) = listed.map_err(|error| fail(open_error(error)))?;
        if folders.is_empty() && objects.is_empty() && !folder.is_root() {
            return Err(fail(OpenErrorKind::NotFound));
        }
        let skip = if key.is_empty() { 0 } else { key.len() + 1 };
        let folders = folders.into_iter().filter(|name| self.shows(name)).map(|name| FolderEntry {
            name: name.into_bytes(),
            kind: EntryKind::Folder,
            size: 0,
            modified: None,
            tag: FileTag::None,
        });
        let files = objects.iter().filter_map(|object| {
            let name = object.key.get(skip..).filter(|name| self.shows(name))?;
            Some(FolderEntry {
                name: name.as_bytes().to_vec(),
                kind: EntryKind::File,
                size: object.size,
                modified: object.modified,
                tag: tag_of(object),
            })
        });
        let mut entries: Vec<_> = files.chain(folders).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn walk(
        self: Arc<Self>,
        folder: &RelPath,
        scope: &WalkScope,
        limits: WalkLimits,
    ) -> Result<Tree, WalkError> {
        let root = RelPath::root();
        match scope {
            WalkScope::All => self.tree(folder, false, limits),
            WalkScope::Levels(0 | 1) => self.tree(folder, true, limits),
            WalkScope::Levels(levels) => {
                let tree = self.tree(folder, false, limits)?;
                tree.part(&root, &WalkScope::Levels(*levels), limits)
            }
            WalkScope::Paths(paths) if paths.len() <= MAX_SINGLE_REQUESTS => {
                let tree = self.singly(folder, paths, limits)?;
                tree.part(&root, scope, limits)
            }
            WalkScope::Paths(_) => self.tree(folder, false, limits)?.part(&root, scope, limits),
        }
    }
}

impl fmt::Debug for PlainStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainStore").field("store", &self.store).field("hidden", &self.hidden).finish()
    }
}
