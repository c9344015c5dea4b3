//! A collection of which only some files are shown.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use outflow_catalog::{
    Collection, EntryKind, FolderEntry, FoundPath, OpenError, OpenErrorKind, RelPath, TransferInfo, Tree,
    Unreadable, WalkError, WalkLimits, WalkScope,
};
use outflow_content::Wait;
use outflow_links::Link;

/// Shows some files and folders of a collection, and the folders that lead to them. Everything else
/// looks as if it did not exist.
#[derive(Debug)]
pub struct SelectedCollection {
    inner: Arc<dyn Collection>,
    /// Sorted, without overlap.
    selected: Vec<RelPath>,
    /// The same, to look up.
    set: HashSet<RelPath>,
    identity: [u8; 32],
    about: OnceLock<Option<TransferInfo>>,
}

/// As much of `collection`, whose top folder has the address `base` (percent-encoded, without a
/// slash at its end), as `link` shows.
pub(crate) fn narrow(link: &Link, collection: Arc<dyn Collection>, base: &str) -> Arc<dyn Collection> {
    match link.selected_below(base) {
        Some(selected) => Arc::new(SelectedCollection::new(collection, selected)),
        None => collection,
    }
}

/// How a path relates to the selected ones.
enum Visibility {
    /// It is selected, or in a folder that is.
    Inside,
    /// Something selected lies below it.
    Above,
    Outside,
}

impl SelectedCollection {
    /// The files and folders `selected` of `inner`: paths below its top, sorted, none of them in
    /// another one.
    #[must_use]
    pub fn new(inner: Arc<dyn Collection>, selected: Vec<RelPath>) -> SelectedCollection {
        let mut identity = blake3::Hasher::new();
        identity.update(b"selected");
        identity.update(&inner.identity());
        for path in &selected {
            identity.update(&(path.as_bytes().len() as u64).to_le_bytes());
            identity.update(path.as_bytes());
        }
        let set = selected.iter().cloned().collect();
        SelectedCollection {
            inner,
            selected,
            set,
            identity: identity.finalize().into(),
            about: OnceLock::new(),
        }
    }

    fn visibility(&self, path: &RelPath) -> Visibility {
        let bytes = path.as_bytes();
        let ends = (0..bytes.len()).filter(|at| bytes[*at] == b'/').chain([bytes.len()]);
        for end in ends {
            if RelPath::new(&bytes[..end]).is_ok_and(|above| self.set.contains(&above)) {
                return Visibility::Inside;
            }
        }
        if path.is_root() || self.below(path).next().is_some() {
            Visibility::Above
        } else {
            Visibility::Outside
        }
    }

    /// Whether the collection shows the file or folder at `path`.
    fn shows(&self, path: &RelPath, is_folder: bool) -> bool {
        match self.visibility(path) {
            Visibility::Inside => true,
            Visibility::Above => is_folder,
            Visibility::Outside => false,
        }
    }

    /// The selected paths below `folder`, relative to it.
    fn below(&self, folder: &RelPath) -> impl Iterator<Item = RelPath> {
        let folder = folder.as_bytes();
        self.selected.iter().filter_map(move |path| {
            let rest = path.as_bytes().strip_prefix(folder)?;
            let rest = if folder.is_empty() { rest } else { rest.strip_prefix(b"/")? };
            RelPath::new(rest).ok()
        })
    }

    /// The selected ones of the `wanted` paths below `folder`.
    fn intersection(&self, folder: &RelPath, wanted: &[RelPath]) -> Result<Vec<RelPath>, WalkError> {
        let (mut both, mut missing, mut first) = (Vec::new(), 0, Vec::new());
        for path in wanted {
            let whole = folder.join(path.as_bytes()).unwrap_or_else(|_| RelPath::root());
            match self.visibility(&whole) {
                Visibility::Inside => both.push(path.clone()),
                Visibility::Above => {
                    both.extend(self.below(&whole).filter_map(|rest| path.join(rest.as_bytes()).ok()));
                }
                Visibility::Outside => {
                    missing += 1;
                    if first.len() < Unreadable::NAMED {
                        first.push(path.to_string());
                    }
                }
            }
        }
        if missing > 0 {
            return Err(WalkError::Missing { count: missing, first });
        }
        both.sort_unstable();
        Ok(both)
    }
}

impl Collection for SelectedCollection {
    fn name(&self) -> &[u8] {
        self.inner.name()
    }

    fn identity(&self) -> [u8; 32] {
        self.identity
    }

    fn is_immutable(&self) -> bool {
        self.inner.is_immutable()
    }

    /// With the number and size of the selected files that exist. Blocks on the first call.
    fn about(&self) -> Option<&TransferInfo> {
        let about = self.about.get_or_init(|| {
            let mut about = self.inner.about()?.clone();
            (about.files, about.bytes) = (0, 0);
            for path in &self.selected {
                let wanted = WalkScope::Paths(vec![path.clone()]);
                let walked = Arc::clone(&self.inner).walk(&RelPath::root(), &wanted, WalkLimits::default());
                if let Ok(tree) = walked {
                    about.files += tree.files();
                    about.bytes = about.bytes.saturating_add(tree.bytes());
                }
            }
            Some(about)
        });
        about.as_ref()
    }

    fn find(&self, path: &RelPath, wait: Wait) -> Result<FoundPath, OpenError> {
        let not_found = || OpenError::new(path, OpenErrorKind::NotFound);
        match self.visibility(path) {
            Visibility::Inside => self.inner.find(path, wait),
            Visibility::Above if path.is_root() => Ok(FoundPath::Folder),
            Visibility::Above => match self.inner.find(path, wait)? {
                FoundPath::Folder => Ok(FoundPath::Folder),
                FoundPath::File(_) => Err(not_found()),
            },
            Visibility::Outside => Err(not_found()),
        }
    }

    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        match self.visibility(folder) {
            Visibility::Inside => self.inner.list(folder, limit),
            Visibility::Outside => Err(OpenError::new(folder, OpenErrorKind::NotFound)),
            Visibility::Above => {
                let mut entries = self.inner.list(folder, limit)?;
                entries.retain(|entry| {
                    folder.join(&entry.name).is_ok_and(|path| self.shows(&path, entry.is_folder()))
                });
                Ok(entries)
            }
        }
    }

    fn walk(
        self: Arc<Self>,
        folder: &RelPath,
        wanted: &WalkScope,
        bounds: WalkLimits,
    ) -> Result<Tree, WalkError> {
        let inner = Arc::clone(&self.inner);
        match self.visibility(folder) {
            Visibility::Inside => inner.walk(folder, wanted, bounds),
            Visibility::Outside => Err(OpenError::new(folder, OpenErrorKind::NotFound).into()),
            Visibility::Above => match wanted {
                WalkScope::All => inner.walk(folder, &WalkScope::Paths(self.below(folder).collect()), bounds),
                WalkScope::Paths(paths) => {
                    inner.walk(folder, &WalkScope::Paths(self.intersection(folder, paths)?), bounds)
                }
                WalkScope::Levels(_) => {
                    let tree = inner.walk(folder, wanted, bounds)?;
                    Ok(tree.retain(|path, kind| {
                        folder.join(path).is_ok_and(|path| self.shows(&path, kind == EntryKind::Folder))
                    }))
                }
            },
        }
    }
}
