//! The files of an archive, as the ledger counts them.

use std::ops::Range;
use std::sync::Arc;

use outflow_ledger::{ArchivePart, ArchiveParts};
use outflow_zip::Layout;

use crate::request::printable;

/// The files of an archive, folders left out.
#[derive(Debug)]
pub(crate) struct LayoutFiles {
    layout: Arc<Layout>,
    /// Which entries are folders, in order: few, only empty ones have an entry.
    folders: Vec<u32>,
}

impl LayoutFiles {
    /// Visits every entry.
    pub(crate) fn new(layout: Arc<Layout>) -> LayoutFiles {
        // A tree has at most 2^32 entries.
        let folders =
            (0..layout.entries()).filter(|entry| layout.is_directory(*entry)).map(|entry| entry as u32);
        LayoutFiles { folders: folders.collect(), layout }
    }

    /// Heap memory in bytes, without the layout's.
    pub(crate) fn memory(&self) -> usize {
        self.folders.capacity() * size_of::<u32>()
    }

    /// Number of entries from the first on that fulfil `condition`; those behind do not.
    fn first_that_does_not(&self, condition: impl Fn(Range<u64>) -> bool) -> usize {
        let (mut low, mut high) = (0, self.layout.entries());
        while low < high {
            let middle = low.midpoint(high);
            if condition(self.layout.entry_range(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Number of folders before `entry`.
    fn folders_before(&self, entry: usize) -> usize {
        self.folders.partition_point(|folder| (*folder as usize) < entry)
    }
}

impl ArchiveParts for LayoutFiles {
    fn count(&self) -> u64 {
        (self.layout.entries() - self.folders.len()) as u64
    }

    fn within(&self, range: &Range<u64>) -> u64 {
        let first = self.first_that_does_not(|entry| entry.start < range.start);
        let end = self.first_that_does_not(|entry| entry.end <= range.end).max(first);
        (end - first - (self.folders_before(end) - self.folders_before(first))) as u64
    }

    fn part(&self, index: u64) -> ArchivePart {
        // The entry with `index` files before it.
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let entry = self.folders.iter().enumerate().fold(index, |entry, (before, folder)| {
            if *folder as usize <= index + before { index + before + 1 } else { entry }
        });
        ArchivePart {
            name: printable(self.layout.name(entry)),
            size: self.layout.size(entry),
            range: self.layout.entry_range(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use outflow_zip::{ArchiveFile, LayoutBuilder};

    use super::*;

    fn files() -> LayoutFiles {
        let mut builder = LayoutBuilder::with_capacity(5, 10);
        builder.directory("0", None).unwrap();
        for (name, size) in [("a", 100), ("b", 0), ("d", 50)] {
            if name == "d" {
                builder.directory("c", None).unwrap();
            }
            let crc32 = Some(7);
            builder
                .file(ArchiveFile { name, size, modified: None, crc32, executable: false, version: 0 })
                .unwrap();
        }
        LayoutFiles::new(Arc::new(builder.finish().unwrap()))
    }

    #[test]
    fn files_are_counted_without_the_folders() {
        let files = files();
        assert_eq!(files.count(), 3);
        let parts: Vec<ArchivePart> = (0..3).map(|index| files.part(index)).collect();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d"]);
        assert_eq!(parts.iter().map(|part| part.size).collect::<Vec<_>>(), [100, 0, 50]);

        let len = files.layout.len();
        // All ranges with an end at or beside a part's, compared with a visit of each part.
        let mut edges: Vec<u64> = vec![0, 1, len];
        for part in &parts {
            for edge in [part.range.start, part.range.end] {
                edges.extend([edge.saturating_sub(1), edge, edge + 1]);
            }
        }
        for &start in &edges {
            for &end in &edges {
                let within = |part: &&ArchivePart| start <= part.range.start && part.range.end <= end;
                let expected = parts.iter().filter(within).count() as u64;
                assert_eq!(files.within(&(start..end)), expected, "{start}..{end}");
            }
        }
    }
}
