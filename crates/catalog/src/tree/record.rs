//! One file or folder of a tree.

use outflow_content::UnixTime;
use outflow_fs::EntryKind;

use crate::fingerprint::Fingerprint;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Size of a file. A folder's children: the first one's index and, in the upper half, how many.
    pub(crate) size: u64,
    pub(crate) modified: Option<UnixTime>,
    /// What the caches know a file by. A folder's too, if it has one.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) name_at: u32,
    /// The folder it lies in; [`NO_PARENT`] for what lies directly in the base.
    pub(crate) parent: u32,
    /// Up to 255 bytes for a name; more for a selected file's path.
    pub(crate) name_len: u16,
    pub(crate) kind: EntryKind,
    pub(crate) executable: bool,
}

pub(crate) const NO_PARENT: u32 = u32::MAX;

impl Record {
    /// A folder without a name and without anything in it.
    pub(crate) const FOLDER: Record = Record {
        size: 0,
        modified: None,
        fingerprint: Fingerprint([0; 3]),
        name_at: 0,
        parent: NO_PARENT,
        name_len: 0,
        kind: EntryKind::Folder,
        executable: false,
    };

    /// The indexes of what lies directly in a folder.
    pub(crate) fn children(&self) -> std::ops::Range<usize> {
        let first = (self.size & 0xffff_ffff) as usize;
        first..first + (self.size >> 32) as usize
    }

    pub(crate) fn set_children(&mut self, first: usize, count: usize) {
        self.size = (first as u64) | (count as u64) << 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_forty_bytes() {
        assert_eq!(size_of::<Record>(), 40);
    }
}
