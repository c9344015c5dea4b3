//! Finding and listing entries of a tree, and parts of it as trees of their own.

use std::ops::Range;
use std::sync::Arc;

use outflow_fs::{
    EntryKind, OpenError, OpenErrorKind, RelPath, Unreadable, WalkError, WalkLimits, WalkScope,
};

use crate::entry::{FileTag, FolderEntry, FoundFile, FoundPath};
use crate::tree::entries::Tree;
use crate::tree::record::{NO_PARENT, Record};

impl Tree {
    /// What `path` below the base is; the file, if a file and a folder have that name.
    ///
    /// # Errors
    /// [`OpenError`] if there is nothing.
    pub fn find(&self, path: &RelPath) -> Result<FoundPath, OpenError> {
        if path.is_root() {
            return Ok(FoundPath::Folder);
        }
        let index = self.index_of(path).ok_or_else(|| OpenError::new(path, OpenErrorKind::NotFound))?;
        let record = &self.records[index];
        if record.kind == EntryKind::Folder {
            return Ok(FoundPath::Folder);
        }
        let file = self.file(index);
        Ok(FoundPath::File(FoundFile {
            path: path.clone(),
            size: record.size,
            modified: record.modified,
            etag: self.opener.tag(file).text(record.size, record.modified),
            media_type: None,
            source: self.opener.source(file),
        }))
    }

    /// The index of the file or folder `path` below the base; of the file, if both have that name.
    #[must_use]
    pub fn index_of(&self, path: &RelPath) -> Option<usize> {
        let siblings = match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
            Some(slash) => self.children(&RelPath::new(&path.as_bytes()[..slash]).ok()?)?,
            None => 0..self.top,
        };
        let name = path.name();
        self.child(siblings.clone(), name, EntryKind::File)
            .or_else(|| self.child(siblings, name, EntryKind::Folder))
    }

    /// The entries directly in the folder `path` below the base, sorted by name.
    ///
    /// # Errors
    /// [`OpenError`]; `TooBig` for more than `limit` entries.
    pub fn list(&self, path: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        let fail = |kind| OpenError::new(path, kind);
        let children = self.children(path).ok_or_else(|| fail(OpenErrorKind::NotFound))?;
        if children.len() > limit {
            return Err(fail(OpenErrorKind::TooBig { limit }));
        }
        let entry = |index: usize| {
            let record = &self.records[index];
            let (size, tag) = match record.kind {
                EntryKind::Folder => (0, FileTag::None),
                EntryKind::File => (record.size, self.opener.tag(self.file(index))),
            };
            let name = self.name(record).to_vec();
            FolderEntry { name, kind: record.kind, size, modified: record.modified, tag }
        };
        Ok(children.map(entry).collect())
    }

    /// The part of this tree that is `scope` of the folder `folder` below its base. What could not
    /// be read of the whole counts as unreadable in each part.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn part(&self, folder: &RelPath, scope: &WalkScope, limits: WalkLimits) -> Result<Tree, WalkError> {
        let children =
            self.children(folder).ok_or_else(|| OpenError::new(folder, OpenErrorKind::NotFound))?;
        let base = self.base.join(folder.as_bytes()).unwrap_or_else(|_| RelPath::root());
        let mut tree = Tree::empty(base, Arc::clone(&self.opener));
        tree.unreadable = self.unreadable.clone();
        // For each new record, its index in this tree.
        let mut from: Vec<u32> = Vec::new();
        let mut levels = usize::MAX;
        match scope {
            WalkScope::All => self.copy(&mut tree, children, NO_PARENT, &mut from, limits)?,
            WalkScope::Levels(down) => {
                levels = *down;
                self.copy(&mut tree, children, NO_PARENT, &mut from, limits)?;
            }
            WalkScope::Paths(paths) => {
                let mut missing = Unreadable::default();
                for below in paths {
                    let there = folder.join(below.as_bytes()).ok().filter(|_| !below.is_root());
                    match there.and_then(|path| self.index_of(&path)) {
                        Some(index) => {
                            self.copy_as(&mut tree, below.as_bytes(), index, NO_PARENT, &mut from, limits)?;
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
                    self.copy(&mut tree, children, at as u32, &mut from, limits)?;
                }
                let count = tree.records.len() - first;
                tree.records[at].set_children(first, count);
            }
            at += 1;
        }
        tree.shrink();
        Ok(tree)
    }

    /// What lies directly in the folder `path` below the base. `None` if it is no folder.
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

    fn copy(
        &self,
        to: &mut Tree,
        indexes: Range<usize>,
        parent: u32,
        from: &mut Vec<u32>,
        limits: WalkLimits,
    ) -> Result<(), WalkError> {
        indexes.into_iter().try_for_each(|index| {
            self.copy_as(to, self.name(&self.records[index]), index, parent, from, limits)
        })
    }

    fn copy_as(
        &self,
        to: &mut Tree,
        name: &[u8],
        index: usize,
        parent: u32,
        from: &mut Vec<u32>,
        limits: WalkLimits,
    ) -> Result<(), WalkError> {
        // An index of this tree, which has fewer than 2^32.
        from.push(index as u32);
        to.push(name, Record { parent, ..self.records[index] }, self.slots.get(index).copied(), limits)?;
        Ok(())
    }
}
