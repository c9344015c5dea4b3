//! Trees whose files are objects: made of a list of names, and cut out of a larger tree.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::path::printable;
use crate::tree::{NO_PARENT, Origin, Record};
use crate::{
    Bounds, EntryKind, FileTag, FolderEntry, Key, NO_TIME, Object, OpenError, OpenErrorKind, RelPath, Store,
    Tree, Unreadable, WalkError, Wanted,
};

/// No object belongs to a folder.
const NO_OBJECT: u32 = u32::MAX;

/// The objects behind a tree's files.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Store,
    table: Arc<Table>,
    /// For each record of the tree, which object of the table it is.
    places: Vec<u32>,
}

/// Objects, shared by all trees that were made of the same list.
#[derive(Debug)]
pub(crate) struct Table {
    objects: Vec<Arc<Object>>,
    /// Heap memory of all of them, in bytes.
    memory: usize,
}

impl Table {
    pub(crate) fn new(objects: Vec<Arc<Object>>) -> Arc<Table> {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let each = objects.iter().map(|object| {
            size_of::<Object>()
                + 3 * size_of::<usize>()
                + object.key.capacity()
                + text(&object.etag)
                + text(&object.version)
        });
        let memory = each.sum();
        Arc::new(Table { objects, memory })
    }
}

impl Objects {
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The object of the file `index`.
    pub(crate) fn of(&self, index: usize) -> &Arc<Object> {
        &self.table.objects[self.places[index] as usize]
    }

    /// Which of the table's objects the entry `index` is; far beyond them for a folder.
    pub(crate) fn place(&self, index: usize) -> usize {
        self.places[index] as usize
    }

    /// The same number for the same bytes at the same time, on every node.
    pub(crate) fn version(&self, index: usize, mtime: i64) -> u64 {
        let object = self.of(index);
        let tag = tag_of(object).text(object.size, mtime).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(tag.as_bytes());
        hasher.update(&mtime.to_le_bytes());
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(short)
    }

    /// Heap memory, in bytes; the shared table counts as a whole.
    pub(crate) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<u32>() + self.table.memory
    }
}

impl Origin {
    /// The same place, for a tree without entries.
    pub(crate) fn emptied(&self) -> Origin {
        match self {
            Origin::Local(root) => Origin::Local(Arc::clone(root)),
            Origin::Store(Objects { store, table, .. }) => {
                Origin::Store(Objects { store: store.clone(), table: Arc::clone(table), places: Vec::new() })
            }
        }
    }

    /// Says of the next entry that it is the entry `index` of a tree whose origin is `other`.
    pub(crate) fn push_from(&mut self, other: &Origin, index: usize) {
        if let (Origin::Store(objects), Origin::Store(other)) = (self, other) {
            objects.places.push(other.places[index]);
        }
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({}, in {:?})", self.table.objects.len(), self.store)
    }
}

/// What the strong tag of an object's file is made of. A weak tag of the store does not say that two objects have
/// the same bytes.
pub(crate) fn tag_of(object: &Object) -> FileTag {
    let hash = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        FileTag::Hash(u128::from_be_bytes(half))
    };
    let size = object.size.to_le_bytes();
    match (&object.etag, object.crc32, object.modified) {
        (Some(etag), ..) if !etag.starts_with("W/") => {
            hash(&[b"etag", object.key.as_bytes(), etag.as_bytes(), &size])
        }
        (_, Some(crc32), _) => hash(&[b"crc32", &crc32.to_le_bytes(), &size]),
        (_, None, Some(_)) => FileTag::Times,
        (_, None, None) => FileTag::None,
    }
}

/// By which a [`crate::CrcCache`] knows an object.
pub(crate) fn key_of(store: &Store, object: &Object) -> Key {
    let times;
    let version = match (&object.etag, object.modified) {
        (Some(etag), _) => etag.as_bytes(),
        (None, Some(modified)) => {
            times = modified.to_le_bytes();
            times.as_slice()
        }
        (None, None) => b"",
    };
    Key::of(&[
        b"object",
        store.address().as_bytes(),
        object.key.as_bytes(),
        version,
        &object.size.to_le_bytes(),
    ])
}

/// A file's path in the tree to be, and its object's place in the table. A slash at its end makes it a folder.
/// Sorted by [`by_components`].
pub(crate) type Named<'a> = (&'a [u8], u32);

/// The order of a tree: folder by folder, names by their bytes.
pub(crate) fn by_components(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

impl Tree {
    fn of_store(base: RelPath, store: Store, table: Arc<Table>) -> Tree {
        Tree::empty(base, Origin::Store(Objects { store, table, places: Vec::new() }))
    }

    /// The tree of the files `named`, which are sorted and checked to be paths, and none of which is there twice.
    pub(crate) fn of_objects(
        base: RelPath,
        named: &[Named<'_>],
        store: &Store,
        table: &Arc<Table>,
        bounds: Bounds,
    ) -> Result<Tree, WalkError> {
        let mut tree = Tree::of_store(base, store.clone(), Arc::clone(table));
        // Folders that still have to be filled: their files, where the names in them begin, and how deep they are.
        let mut open = VecDeque::from([(NO_PARENT, 0..named.len(), 0, 0)]);
        while let Some((folder, range, skip, depth)) = open.pop_front() {
            if let Some((path, _)) = named.get(range.start)
                && depth > bounds.depth
            {
                return Err(WalkError::TooDeep { path: printable(&path[..path.len().min(200)]) });
            }
            let first = tree.records.len();
            let mut at = range.start;
            while at < range.end {
                let (path, place) = named[at];
                if skip == path.len() {
                    // It has a slash at its end: this folder is there, even if it is empty.
                    at += 1;
                    continue;
                }
                let name = component(path, skip);
                if skip + name.len() == path.len() {
                    let object = Arc::clone(&table.objects[place as usize]);
                    tree.push_file(name, folder, &object, place, bounds)?;
                    at += 1;
                    continue;
                }
                let inside = |path: &[u8]| path[skip..].get(name.len()) == Some(&b'/');
                let count = named[at..range.end]
                    .partition_point(|(path, _)| component(path, skip) == name && inside(path));
                let index = tree.push_folder(name, folder, bounds)?;
                open.push_back((index, at..at + count, skip + name.len() + 1, depth + 1));
                at += count;
            }
            let count = tree.records.len() - first;
            match folder {
                NO_PARENT => tree.top = count,
                folder => tree.records[folder as usize].set_children(first, count),
            }
        }
        tree.shrink();
        Ok(tree)
    }

    /// What lies directly in the folder `path`, which is below the base. `None` if it is no folder.
    fn children(&self, path: &RelPath) -> Option<Range<usize>> {
        let mut siblings = 0..self.top;
        for name in path.components() {
            let index = self.child(siblings, name, EntryKind::Folder)?;
            siblings = self.records[index].children();
        }
        Some(siblings)
    }

    fn child(&self, siblings: Range<usize>, name: &[u8], kind: EntryKind) -> Option<usize> {
        let records = &self.records[siblings.clone()];
        let from = records.partition_point(|record| self.name(record) < name);
        // A file and a folder may have the same name.
        let mut same = records[from..].iter().take_while(|record| self.name(record) == name);
        same.position(|record| record.kind == kind).map(|at| siblings.start + from + at)
    }

    /// The index of the file or folder `path` below the base; of the file, if both have that name.
    pub(crate) fn look_up(&self, path: &RelPath) -> Option<usize> {
        let siblings = match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
            Some(slash) => self.children(&RelPath::new(&path.as_bytes()[..slash]).ok()?)?,
            None => 0..self.top,
        };
        let name = path.name();
        self.child(siblings.clone(), name, EntryKind::File)
            .or_else(|| self.child(siblings, name, EntryKind::Folder))
    }

    /// The entries directly in the folder `path`, sorted by name.
    pub(crate) fn list(&self, path: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let fail = |kind| OpenError::new(path, kind);
        let children = self.children(path).ok_or_else(|| fail(OpenErrorKind::NotFound))?;
        if children.len() > limit {
            return Err(fail(OpenErrorKind::TooBig { limit }));
        }
        let entry = |index: usize| {
            let record = &self.records[index];
            let (size, tag) = match (record.kind, &self.origin) {
                (EntryKind::Folder, _) => (0, FileTag::None),
                (EntryKind::File, Origin::Store(objects)) => (record.size, tag_of(objects.of(index))),
                (EntryKind::File, Origin::Local(_)) => (record.size, FileTag::Times),
            };
            let name = self.name(record).to_vec();
            FolderEntry { name, kind: record.kind, size, mtime: record.mtime, tag }
        };
        Ok(children.map(entry).collect())
    }

    /// The part of this tree that is `wanted` of the folder `folder` below its base. What could not be read of the
    /// whole counts as unreadable in each part.
    pub(crate) fn part(&self, folder: &RelPath, wanted: &Wanted, bounds: Bounds) -> Result<Tree, WalkError> {
        let Origin::Store(Objects { store, table, .. }) = &self.origin else {
            return Err(OpenError::new(folder, OpenErrorKind::NotFound).into());
        };
        let children =
            self.children(folder).ok_or_else(|| OpenError::new(folder, OpenErrorKind::NotFound))?;
        let base = self.base.join(folder.as_bytes()).unwrap_or_else(|_| RelPath::root());
        let mut tree = Tree::of_store(base, store.clone(), Arc::clone(table));
        tree.unreadable = self.unreadable.clone();
        // Of each new record: which one of this tree it is.
        let mut from: Vec<u32> = Vec::new();
        let mut levels = usize::MAX;
        match wanted {
            Wanted::All => self.copy(&mut tree, children, NO_PARENT, &mut from, bounds)?,
            Wanted::Levels(down) => {
                levels = *down;
                self.copy(&mut tree, children, NO_PARENT, &mut from, bounds)?;
            }
            Wanted::These(paths) => {
                let mut missing = Unreadable::default();
                for below in paths {
                    let there = folder.join(below.as_bytes()).ok().filter(|_| !below.is_root());
                    match there.and_then(|path| self.look_up(&path)) {
                        Some(index) => {
                            self.copy_as(&mut tree, below.as_bytes(), index, NO_PARENT, &mut from, bounds)?;
                        }
                        None => missing.add(below.to_string()),
                    }
                }
                if missing.count > 0 {
                    return Err(WalkError::Missing { count: missing.count, first: missing.first });
                }
            }
        }
        tree.top = tree.records.len();
        let (mut at, mut level, mut level_end) = (0, 1, tree.top);
        while at < tree.records.len() {
            if at == level_end {
                (level, level_end) = (level + 1, tree.records.len());
            }
            if tree.records[at].kind == EntryKind::Folder {
                let first = tree.records.len();
                if level < levels {
                    let children = self.records[from[at] as usize].children();
                    // There are fewer than 2^32 records: `push` sees to that.
                    self.copy(&mut tree, children, at as u32, &mut from, bounds)?;
                }
                let count = tree.records.len() - first;
                tree.records[at].set_children(first, count);
            }
            at += 1;
        }
        tree.shrink();
        Ok(tree)
    }

    fn copy(
        &self,
        to: &mut Tree,
        indexes: Range<usize>,
        parent: u32,
        from: &mut Vec<u32>,
        bounds: Bounds,
    ) -> Result<(), WalkError> {
        indexes.into_iter().try_for_each(|index| {
            self.copy_as(to, self.name(&self.records[index]), index, parent, from, bounds)
        })
    }

    fn copy_as(
        &self,
        to: &mut Tree,
        name: &[u8],
        index: usize,
        parent: u32,
        from: &mut Vec<u32>,
        bounds: Bounds,
    ) -> Result<(), WalkError> {
        // An index of this tree, which has fewer than 2^32.
        from.push(index as u32);
        match (&self.origin, self.records[index].kind) {
            (Origin::Store(objects), EntryKind::File) => {
                let record = self.records[index];
                to.push_record(name, Record { parent, ..record }, objects.places[index], bounds)?;
                to.files += 1;
                to.bytes = to.bytes.saturating_add(record.size);
            }
            _ => {
                to.push_folder(name, parent, bounds)?;
            }
        }
        Ok(())
    }

    fn push_file(
        &mut self,
        name: &[u8],
        parent: u32,
        object: &Object,
        place: u32,
        bounds: Bounds,
    ) -> Result<(), WalkError> {
        let key = match &self.origin {
            Origin::Store(objects) => key_of(&objects.store, object),
            Origin::Local(_) => Key::default(),
        };
        let mtime = object.modified.unwrap_or(NO_TIME);
        let record = Record { size: object.size, mtime, key, ..Record::folder(parent) };
        self.push_record(name, Record { kind: EntryKind::File, ..record }, place, bounds)?;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(object.size);
        Ok(())
    }

    fn push_folder(&mut self, name: &[u8], parent: u32, bounds: Bounds) -> Result<u32, WalkError> {
        self.push_record(name, Record::folder(parent), NO_OBJECT, bounds)
    }

    fn push_record(
        &mut self,
        name: &[u8],
        record: Record,
        place: u32,
        bounds: Bounds,
    ) -> Result<u32, WalkError> {
        let limit = bounds.entries;
        let index = u32::try_from(self.records.len()).map_err(|_| WalkError::TooMany { limit })?;
        let name_at = u32::try_from(self.names.len()).map_err(|_| WalkError::TooMany { limit })?;
        if self.records.len() >= limit {
            return Err(WalkError::TooMany { limit });
        }
        let name_len = u16::try_from(name.len())
            .map_err(|_| WalkError::TooDeep { path: printable(&name[..name.len().min(200)]) })?;
        self.names.extend_from_slice(name);
        self.records.push(Record { name_at, name_len, ..record });
        if let Origin::Store(objects) = &mut self.origin {
            objects.places.push(place);
        }
        Ok(index)
    }

    fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.names.shrink_to_fit();
        if let Origin::Store(objects) = &mut self.origin {
            objects.places.shrink_to_fit();
        }
    }
}

/// The component of `path` that begins at `skip`.
fn component(path: &[u8], skip: usize) -> &[u8] {
    let rest = &path[skip..];
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Root, RootOptions, StoreOptions};

    const NAMES: [&str; 9] = ["a-x", "a/b/c", "a/b-", "a/z", "b", "B", "deep/1/2/3/4", "é", "sub/x"];

    /// The same files as objects and on disk.
    fn both(folder: &Path) -> (Tree, Arc<Root>) {
        let address = format!("file://{}", folder.display());
        let store = Store::open(&address, &StoreOptions::default()).unwrap();
        let mut names = NAMES;
        names.sort_by(|a, b| by_components(a.as_bytes(), b.as_bytes()));
        let object = |name: &&str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            let key = (*name).to_owned();
            Object { key, size: name.len() as u64, etag: None, version: None, modified: None, crc32: None }
        };
        let table = Table::new(names.iter().map(|name| Arc::new(object(name))).collect());
        let named: Vec<_> = names.iter().zip(0..).map(|(name, place)| (name.as_bytes(), place)).collect();
        let tree = Tree::of_objects(RelPath::root(), &named, &store, &table, Bounds::default()).unwrap();
        (tree, Arc::new(Root::new(folder, RootOptions::default()).unwrap()))
    }

    fn entries(tree: &Tree) -> Vec<(String, EntryKind, u64)> {
        let mut entries = Vec::new();
        let Ok(()) = tree.visit(|entry| {
            let path = RelPath::new(entry.path).unwrap();
            assert_eq!(tree.path(entry.index), tree.base().join(entry.path).unwrap());
            if let (Origin::Store(objects), EntryKind::File) = (&tree.origin, entry.kind) {
                assert_eq!(objects.of(entry.index).key, tree.path(entry.index).to_string());
            }
            entries.push((path.to_string(), entry.kind, entry.size));
            Ok::<(), std::convert::Infallible>(())
        });
        entries
    }

    fn paths(names: &[&str]) -> Vec<RelPath> {
        names.iter().map(|name| RelPath::new(name.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn every_part_of_a_tree_is_what_a_walk_would_have_found() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, root) = both(temp.path());
        let wanted = [
            Wanted::All,
            Wanted::Levels(1),
            Wanted::Levels(2),
            Wanted::Levels(3),
            Wanted::These(paths(&["a/b", "b", "z"])),
            Wanted::These(paths(&["a", "deep/1/2", "é"])),
            Wanted::These(paths(&["b/c", "z"])),
            Wanted::These(paths(&["no"])),
        ];
        for base in paths(&["", "a", "deep/1", "b", "no"]) {
            for wanted in &wanted {
                let part = tree.part(&base, wanted, Bounds::default());
                let walked = root.walk(&base, wanted, Bounds::default());
                match (part, walked) {
                    (Ok(part), Ok(walked)) => {
                        assert_eq!(entries(&part), entries(&walked), "{base} {wanted:?}");
                        assert_eq!((part.files(), part.bytes()), (walked.files(), walked.bytes()));
                    }
                    (
                        Err(WalkError::Missing { count, first }),
                        Err(WalkError::Missing { count: c, first: f }),
                    ) => {
                        assert_eq!((count, first), (c, f));
                    }
                    (Err(WalkError::Open(part)), Err(WalkError::Open(walked))) => {
                        assert_eq!(part.to_string(), walked.to_string());
                    }
                    other => panic!("{base} {wanted:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn bounds_are_errors_that_say_so() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, _) = both(temp.path());
        let part = |bounds| tree.part(&RelPath::root(), &Wanted::All, bounds).map(|tree| tree.len());
        let all = Bounds::default();
        assert_eq!(part(Bounds { entries: 16, ..all }).unwrap(), 16);
        assert!(matches!(part(Bounds { entries: 15, ..all }), Err(WalkError::TooMany { limit: 15 })));
        let Origin::Store(objects) = &tree.origin else { panic!("no store") };
        let path = "d/".repeat(2_000) + "f";
        let deep = [(path.as_bytes(), 0)];
        let made = Tree::of_objects(RelPath::root(), &deep, &objects.store, &objects.table, all);
        assert!(matches!(made, Err(WalkError::TooDeep { .. })));
    }

    #[test]
    fn a_file_and_a_folder_may_share_a_name_and_a_folder_may_be_empty() {
        let temp = tempfile::tempdir().unwrap();
        let (tree, _) = both(temp.path());
        let Origin::Store(objects) = &tree.origin else { panic!("no store") };
        let named: [Named<'_>; 4] = [(b"a", 0), (b"a/b", 1), (b"a-", 2), (b"e/", NO_OBJECT)];
        let mut sorted = named;
        sorted.sort_by(|(a, _), (b, _)| by_components(a, b));
        assert_eq!(sorted, named);
        let made =
            Tree::of_objects(RelPath::root(), &named, &objects.store, &objects.table, Bounds::default());
        let made = made.unwrap();
        let kinds: Vec<_> = made.list(&RelPath::root(), 9).unwrap().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [EntryKind::File, EntryKind::Folder, EntryKind::File, EntryKind::Folder]);
        assert_eq!(made.list(&paths(&["a"])[0], 9).unwrap()[0].name, b"b");
        assert!(made.list(&paths(&["e"])[0], 9).unwrap().is_empty());
        assert!(made.list(&paths(&["e"])[0], 9).is_ok() && made.list(&paths(&["a-"])[0], 9).is_err());
        assert_eq!(made.look_up(&paths(&["a"])[0]), Some(0));
    }
}
