//! Hashes that tell one state of a tree from another.

use std::convert::Infallible;

use outflow_fs::EntryKind;

use crate::tree::entries::{Tree, nanos_or_lowest};

/// What two trees have in common if these are the same. Archives are known by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    /// The same names in the same order, sizes, versions of the bytes, and permissions to execute.
    /// The same on every node, and whatever is known of CRC-32s.
    pub content: [u8; 32],
    /// The same content, of the same inodes or objects, with the same times.
    pub exact: [u8; 32],
}

impl Tree {
    /// Hashes everything that an archive of this tree depends on.
    #[must_use]
    pub fn digest(&self) -> TreeDigest {
        let mut content = blake3::Hasher::new();
        let mut exact = blake3::Hasher::new();
        let Ok(()) = self.visit(|entry| {
            content.update(&(entry.path.len() as u64).to_le_bytes());
            content.update(entry.path);
            // A folder is known by its name; its files say how many they are.
            let (size, version) = match entry.kind {
                EntryKind::Folder => (u64::MAX, 0),
                EntryKind::File => (entry.size, self.version(entry.index)),
            };
            content.update(&size.to_le_bytes());
            content.update(&version.to_le_bytes());
            content.update(&[u8::from(entry.executable)]);
            exact.update(&self.fingerprint(entry.index).to_bytes());
            exact.update(&nanos_or_lowest(entry.modified).to_le_bytes());
            Ok::<(), Infallible>(())
        });
        let content = content.finalize();
        exact.update(content.as_bytes());
        TreeDigest { content: content.into(), exact: exact.finalize().into() }
    }
}
