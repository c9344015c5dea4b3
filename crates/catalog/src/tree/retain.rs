//! A tree without some of its entries.

use std::sync::Arc;

use outflow_fs::EntryKind;

use crate::tree::entries::Tree;
use crate::tree::record::{NO_PARENT, Record};

impl Tree {
    /// The tree without the entries for which `keep` is false, by their paths below the base. A
    /// folder goes with all its content. Unreadable files stay recorded.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(&[u8], EntryKind) -> bool) -> Tree {
        let mut kept = Tree::empty(self.base.clone(), Arc::clone(&self.opener));
        kept.unreadable = self.unreadable.clone();
        // For each new record, its index in this tree.
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

    /// Copies those of the siblings `indexes` in the folder `path` that `keep` accepts.
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
            kept.slots.extend(self.slots.get(index));
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
