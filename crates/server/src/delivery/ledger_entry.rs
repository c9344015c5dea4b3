//! What the ledger is told of a delivery before its first byte.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method};
use outflow_catalog::FoundFile;
use outflow_ledger::{ContentInfo, ContentKey, Ledger, Opening, Part, Parts, Tracked};
use outflow_web::Problem;
use outflow_zip::Layout;

use crate::app::Place;
use crate::archives::plan::Made;
use crate::request::context::{Visit, user_agent};
use crate::request::target::address;

/// As much of an address or a name as is kept, in bytes.
const TEXT: usize = 1_000;

/// Announces the delivery that a request may become; nothing is noted until it begins. `None` if nobody keeps account: no
/// ledger, no GET, or an engine that does not say who asks, and so cannot say what arrives either.
pub(crate) fn track(
    ledger: Option<&Ledger>,
    content: impl FnOnce() -> Arc<ContentInfo>,
    method: &Method,
    headers: &HeaderMap,
    visit: &Visit,
) -> Result<Option<Tracked>, Problem> {
    let Some(ledger) = ledger.filter(|_| *method == Method::GET && visit.client.address.is_some()) else {
        return Ok(None);
    };
    let opening = Opening {
        content: content(),
        recipient: visit.recipient(headers),
        link: visit.link_use(),
        client: visit.client.address,
        user_agent: user_agent(headers),
        assurance: visit.assurance(),
    };
    ledger.track(opening).map(Some).map_err(|full| {
        tracing::warn!(%full, "no download is let in: the ledger has no room to note it");
        Problem::busy("The server cannot take note of downloads right now. Try again in a few seconds.")
    })
}

/// A file as the ledger knows it. Its tag alone would not do: it is made of size and time, which other files may share.
pub(crate) fn of_file(place: &Place, file: &FoundFile) -> Arc<ContentInfo> {
    let path = format!("{}{}", place.home, address(&file.path));
    let etag = file.etag.clone().unwrap_or_default();
    Arc::new(ContentInfo {
        key: key("file", &[path.as_bytes(), etag.as_bytes(), &file.size.to_le_bytes()]),
        etag,
        length: file.size,
        name: text(&String::from_utf8_lossy(file.path.name())),
        path: text(&path),
        transfer: place.transfer(),
        parts: None,
    })
}

/// An archive as the ledger knows it: its tag depends on every byte of it, whatever address it was asked for at.
pub(crate) fn of_archive(place: &Place, made: &Made, name: &str, path: &str) -> Arc<ContentInfo> {
    let etag = made.layout.etag();
    Arc::new(ContentInfo {
        key: key("archive", &[etag.as_bytes()]),
        etag,
        length: made.layout.len(),
        name: text(&format!("{name}.zip")),
        path: text(path),
        transfer: place.transfer(),
        parts: Some(Arc::clone(&made.files) as Arc<dyn Parts>),
    })
}

fn key(kind: &str, of: &[&[u8]]) -> ContentKey {
    let mut hash = blake3::Hasher::new();
    hash.update(kind.as_bytes());
    for bytes in of {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let mut key = [0; 16];
    hash.finalize_xof().fill(&mut key);
    ContentKey(key)
}

/// Printable, and not at any length.
pub(crate) fn text(text: &(impl Display + ?Sized)) -> String {
    let mut text: String =
        text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The files of an archive, folders left out.
#[derive(Debug)]
pub(crate) struct LayoutFiles {
    layout: Arc<Layout>,
    /// Which entries are folders, in order: few, only empty ones have an entry.
    folders: Vec<u32>,
}

impl LayoutFiles {
    /// Looks at every entry.
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

    /// How many entries from the first on fulfil `condition`, which those behind do not.
    fn first_that_does_not(&self, condition: impl Fn(Range<u64>) -> bool) -> usize {
        let (mut low, mut high) = (0, self.layout.entries());
        while low < high {
            let middle = low.midpoint(high);
            if condition(self.layout.entry_range(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// How many folders come before `entry`.
    fn folders_before(&self, entry: usize) -> usize {
        self.folders.partition_point(|folder| (*folder as usize) < entry)
    }
}

impl Parts for LayoutFiles {
    fn count(&self) -> u64 {
        (self.layout.entries() - self.folders.len()) as u64
    }

    fn within(&self, range: &Range<u64>) -> u64 {
        let first = self.first_that_does_not(|entry| entry.start < range.start);
        let end = self.first_that_does_not(|entry| entry.end <= range.end).max(first);
        (end - first - (self.folders_before(end) - self.folders_before(first))) as u64
    }

    fn part(&self, index: u64) -> Part {
        // The entry that has so many files before it.
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let entry = self.folders.iter().enumerate().fold(index, |entry, (before, folder)| {
            if *folder as usize <= index + before { index + before + 1 } else { entry }
        });
        Part {
            name: text(self.layout.name(entry)),
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
        let parts: Vec<Part> = (0..3).map(|index| files.part(index)).collect();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d"]);
        assert_eq!(parts.iter().map(|part| part.size).collect::<Vec<_>>(), [100, 0, 50]);

        let len = files.layout.len();
        // All ranges with an end at or beside a part's, against looking at each part.
        let mut edges: Vec<u64> = vec![0, 1, len];
        for part in &parts {
            for edge in [part.range.start, part.range.end] {
                edges.extend([edge.saturating_sub(1), edge, edge + 1]);
            }
        }
        for &start in &edges {
            for &end in &edges {
                let within = |part: &&Part| start <= part.range.start && part.range.end <= end;
                let expected = parts.iter().filter(within).count() as u64;
                assert_eq!(files.within(&(start..end)), expected, "{start}..{end}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_printable_and_short() {
        assert_eq!(text("a\n\u{1b}[31mb"), "a\u{fffd}\u{fffd}[31mb");
        assert!(text(&"é".repeat(10_000)).len() <= TEXT + 3);
    }
}
