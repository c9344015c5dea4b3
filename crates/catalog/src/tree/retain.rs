//! A tree of which only some entries are kept.

use crate::tree::{NO_PARENT, Record};
use crate::{EntryKind, Tree};

impl Tree {
    /// The tree without the entries that `keep` does not want, by their paths below the base. What is in a folder goes
    /// with it. What could not be read stays known: whether it would be kept, nobody can say.
    #[must_use]
    pub fn only(&self, mut keep: impl FnMut(&[u8], EntryKind) -> bool) -> Tree {
        let mut kept = Tree::empty(self.base.clone(), self.origin.emptied());
        kept.unreadable = self.unreadable.clone();
        // Of each new record: which one of this tree it is.
        let mut from = Vec::new();
        let mut path = Vec::new();
        self.keep_of(&mut kept, 0..self.top, NO_PARENT, &mut path, &mut from, &mut keep);
        kept.top = kept.records.len();
        let mut at = 0;
        while at < kept.records.len() {
            if kept.records[at].kind == EntryKind::Folder {
                let first = kept.records.len();
                let children = self.records[from[at]].children();
                kept.path_below(at, &mut path);
                // There are no more of them than this tree has, which are fewer than 2^32.
                self.keep_of(&mut kept, children, at as u32, &mut path, &mut from, &mut keep);
                let count = kept.records.len() - first;
                kept.records[at].set_children(first, count);
            }
            at += 1;
        }
        kept
    }

    /// Copies what is wanted of the siblings `indexes`, all of which lie in the folder `path`.
    fn keep_of(
        &self,
        kept: &mut Tree,
        indexes: std::ops::Range<usize>,
        parent: u32,
        path: &mut Vec<u8>,
        from: &mut Vec<usize>,
        keep: &mut impl FnMut(&[u8], EntryKind) -> bool,
    ) {
        if !path.is_empty() {
            path.push(b'/');
        }
        let folder = path.len();
        for index in indexes {
            let record = self.records[index];
            let name = self.name(&record);
            path.truncate(folder);
            path.extend_from_slice(name);
            if !keep(path, record.kind) {
                continue;
            }
            from.push(index);
            // All names together are no longer than this tree's.
            let name_at = kept.names.len() as u32;
            kept.names.extend_from_slice(name);
            kept.records.push(Record { name_at, parent, ..record });
            kept.origin.push_from(&self.origin, index);
            if record.kind == EntryKind::File {
                kept.files += 1;
                kept.bytes = kept.bytes.saturating_add(record.size);
            }
        }
    }

    /// Path of an entry below the base.
    fn path_below(&self, index: usize, path: &mut Vec<u8>) {
        let whole = self.path(index);
        let skip = if self.base.is_root() { 0 } else { self.base.as_bytes().len() + 1 };
        path.clear();
        path.extend_from_slice(whole.as_bytes().get(skip..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::{Bounds, Collection, Prefix, RelPath, Root, RootOptions, Store, StoreOptions, Wanted};

    const NAMES: [&str; 8] = ["a", "b/c", "b/d/e", "b/d/f", "b-", "g/h/i/j", "g/k", "é"];

    fn paths(tree: &Tree) -> Vec<String> {
        let mut paths = Vec::new();
        let Ok(()) = tree.visit(|entry| {
            let path = RelPath::new(entry.path).unwrap();
            assert_eq!(tree.path(entry.index), tree.base().join(entry.path).unwrap());
            // The bytes behind it are still its own.
            if entry.kind == EntryKind::File
                && let crate::TreeFile::Remote { object, .. } = tree.file(entry.index)
            {
                assert_eq!(object.key, tree.path(entry.index).to_string());
            }
            paths.push(path.to_string());
            Ok::<(), std::convert::Infallible>(())
        });
        paths
    }

    #[test]
    fn what_is_not_wanted_goes_with_all_that_is_in_it() {
        let temp = tempfile::tempdir().unwrap();
        for name in NAMES {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let address = format!("file://{}", temp.path().display());
        let store = Store::open(&address, &StoreOptions::default()).unwrap();
        let collections: [Arc<dyn Collection>; 2] = [
            Arc::new(Root::new(temp.path(), RootOptions::default()).unwrap()),
            Arc::new(Prefix::new(store, false)),
        ];
        for collection in collections {
            let walk = |folder: &str| {
                let folder = RelPath::new(folder.as_bytes()).unwrap();
                Arc::clone(&collection).walk(&folder, &Wanted::All, Bounds::default()).unwrap()
            };
            let tree = walk("");
            assert_eq!(paths(&tree.only(|_, _| true)), paths(&tree));
            assert!(tree.only(|_, _| false).is_empty());
            let kept = tree.only(|path, _| !path.starts_with(b"b/d") && path != b"g");
            assert_eq!(paths(&kept), ["a", "b", "b/c", "b-", "é"]);
            assert_eq!((kept.files(), kept.bytes()), (4, 8));
            let kept = tree.only(|_, kind| kind == EntryKind::Folder);
            assert_eq!(paths(&kept), ["b", "b/d", "g", "g/h", "g/h/i"]);
            assert_eq!(paths(&walk("b").only(|path, _| path != b"d/e")), ["c", "d", "d/f"]);
        }
    }
}
