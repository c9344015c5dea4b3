//! A transfer: objects in a store, under the names that its manifest gives them.
//!
//! It is built once from a manifest and never changes: another manifest is another transfer. So a
//! download ends with the files that it began with, and no call blocks.

use std::fmt;
use std::sync::Arc;

use outflow_content::{UnixTime, Wait};
use outflow_fs::{OpenError, RelPath, WalkError, WalkLimits, WalkScope};
use outflow_objects::{Object, Store};

use crate::collection::{Collection, TransferInfo};
use crate::entry::{FolderEntry, FoundPath};
use crate::manifest::Manifest;
use crate::stores::opener::ObjectOpener;
use crate::tree::{NamedFile, Tree, by_components};

/// A published collection.
pub struct Transfer {
    identity: [u8; 32],
    name: Vec<u8>,
    about: TransferInfo,
    /// All of it; walks return parts of it.
    tree: Tree,
    /// Media types by the files' slots; empty if the manifest gives none.
    media_types: Box<[Option<Arc<str>>]>,
}

impl Transfer {
    /// Builds the transfer of `manifest`, which was parsed or checked, from objects in `store`.
    /// `state` tells this manifest from others of the same transfer.
    ///
    /// # Errors
    /// [`WalkError`] if it is too deeply nested.
    pub fn new(store: &Store, mut manifest: Manifest, state: &[u8]) -> Result<Transfer, WalkError> {
        let (mut names, mut objects, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for file in std::mem::take(&mut manifest.files) {
            let key = manifest.object_key(&file);
            names.push(file.name);
            types.push(file.media_type.map(Arc::<str>::from));
            objects.push(Arc::new(Object {
                key,
                size: file.size,
                etag: file.etag,
                version: None,
                modified: file.modified.map(UnixTime::from_nanos),
                crc32: file.crc32,
            }));
        }
        // A manifest has fewer than 2^32.
        let mut named: Vec<NamedFile<'_>> =
            names.iter().zip(0..).map(|(name, place)| (name.as_bytes(), place)).collect();
        named.sort_unstable_by(|(a, _), (b, _)| by_components(a, b));
        let opener = Arc::new(ObjectOpener::new(store.clone(), objects));
        let record = |slot| opener.record(slot);
        let limits = WalkLimits::default();
        let tree = Tree::of_sorted(RelPath::root(), &named, record, Arc::clone(&opener) as _, limits)?;
        let media_types = if types.iter().any(Option::is_some) { types.into() } else { Box::default() };
        let mut identity = blake3::Hasher::new();
        for part in [store.address().as_bytes(), manifest.id.as_bytes(), state] {
            identity.update(&(part.len() as u64).to_le_bytes());
            identity.update(part);
        }
        let title = manifest.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        let name = title.unwrap_or(&manifest.id).as_bytes().to_vec();
        let about = TransferInfo {
            id: manifest.id,
            title: manifest.title,
            message: manifest.message,
            created: manifest.created,
            expires: manifest.expires,
            files: tree.files(),
            bytes: tree.bytes(),
        };
        let identity = identity.finalize().into();
        Ok(Transfer { identity, name, about, tree, media_types })
    }

    /// The manifest's description of it.
    #[must_use]
    pub fn about(&self) -> &TransferInfo {
        &self.about
    }

    /// Heap memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let types = self.media_types.iter().flatten().map(|text| text.len() + 2 * size_of::<usize>());
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.tree.memory()
            + size_of_val::<[Option<Arc<str>>]>(&self.media_types)
            + types.sum::<usize>()
            + text(&self.about.title)
            + text(&self.about.message)
    }
}

impl Collection for Transfer {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn identity(&self) -> [u8; 32] {
        self.identity
    }

    fn is_immutable(&self) -> bool {
        true
    }

    fn about(&self) -> Option<&TransferInfo> {
        Some(&self.about)
    }

    fn find(&self, path: &RelPath, _: Wait) -> Result<FoundPath, OpenError> {
        let mut found = self.tree.find(path)?;
        if let FoundPath::File(file) = &mut found
            && let Some(index) = self.tree.index_of(path)
        {
            let slot = self.tree.file(index).slot() as usize;
            file.media_type = self.media_types.get(slot).cloned().flatten();
        }
        Ok(found)
    }

    fn list(&self, folder: &RelPath, limit: usize) -> Result<Vec<FolderEntry>, OpenError> {
        self.tree.list(folder, limit)
    }

    fn walk(
        self: Arc<Self>,
        folder: &RelPath,
        scope: &WalkScope,
        limits: WalkLimits,
    ) -> Result<Tree, WalkError> {
        self.tree.part(folder, scope, limits)
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("id", &self.about.id).field("files", &self.about.files).finish()
    }
}
