//! A collection that is written outside of the crate: listed, found, walked, and its CRC-32s
//! computed.

use std::sync::Arc;

use outflow_catalog::{
    Background, Collection, CrcCache, EntryKind, FileOpener, FileRecord, FileTag, Fingerprint, FolderEntry,
    FoundPath, Memo, OpenError, OpenErrorKind, RelPath, Tree, TreeBuilder, TreeFile, WalkError, WalkLimits,
    WalkScope,
};
use outflow_content::{Source, Span, SpanError, UnixTime, Wait};
use outflow_metrics::MetricRegistry;

use crate::path;

const TEXTS: [(&str, &str); 4] =
    [("new/rain.txt", "Rain"), ("old/fog.txt", "The fog comes"), ("old/sea.txt", ""), ("top", "at the top")];

/// Texts that lie in the program itself.
#[derive(Debug)]
struct Shelf {
    tree: Tree,
}

#[derive(Debug)]
struct Text(&'static str);

impl Source for Text {
    fn span(self: Arc<Self>, offset: u64, len: u64) -> Span {
        Span::Memory(self.0.as_bytes()[offset as usize..(offset + len) as usize].into())
    }
}

#[derive(Debug)]
struct Texts(Vec<&'static str>);

impl FileOpener for Texts {
    fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source> {
        Arc::new(Text(self.0[file.slot() as usize]))
    }

    fn tag(&self, file: TreeFile<'_>) -> FileTag {
        FileTag::Hash(file.size().into())
    }
}

fn shelf() -> Arc<dyn Collection> {
    let mut builder = TreeBuilder::new();
    let mut texts = Vec::new();
    // Not in the tree's order.
    for (name, text) in TEXTS.iter().rev() {
        let record = FileRecord {
            size: text.len() as u64,
            modified: Some(UnixTime::from_nanos(1_700_000_000_000_000_000)),
            fingerprint: Fingerprint::of(&[b"shelf", name.as_bytes(), text.as_bytes()]),
            executable: false,
        };
        builder.file(name.as_bytes(), record).unwrap();
        texts.push(*text);
    }
    builder.folder(b"empty").unwrap();
    Arc::new(Shelf { tree: builder.build(Arc::new(Texts(texts)), WalkLimits::default()).unwrap() })
}

impl Collection for Shelf {
    fn name(&self) -> &[u8] {
        b"shelf"
    }

    fn identity(&self) -> [u8; 32] {
        self.tree.digest().exact
    }

    fn is_immutable(&self) -> bool {
        true
    }

    fn find(&self, path: &RelPath, _: Wait) -> Result<FoundPath, OpenError> {
        self.tree.find(path)
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

fn bytes_of(source: &Arc<dyn Source>, size: u64) -> Vec<u8> {
    let Span::Memory(bytes) = Arc::clone(source).span(0, size) else { panic!("not in memory") };
    bytes.to_vec()
}

#[test]
fn a_collection_from_elsewhere_is_listed_found_and_walked() {
    let shelf = shelf();
    let listed = shelf.list(&path("old"), 9).unwrap();
    let listed: Vec<_> = listed.iter().map(|entry| (entry.name.as_slice(), entry.size)).collect();
    assert_eq!(listed, [(&b"fog.txt"[..], 13), (b"sea.txt", 0)]);
    let names = shelf.list(&RelPath::root(), 9).unwrap();
    let names: Vec<_> = names.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect();
    assert_eq!(names, ["empty", "new", "old", "top"]);
    assert!(shelf.list(&path("empty"), 9).unwrap().is_empty());
    let too_big = shelf.list(&RelPath::root(), 3).unwrap_err();
    assert!(matches!(too_big.kind, OpenErrorKind::TooBig { limit: 3 }));

    for (name, text) in TEXTS {
        let FoundPath::File(file) = shelf.find(&path(name), Wait::No).unwrap() else { panic!("{name}") };
        assert_eq!((file.path, file.size), (path(name), text.len() as u64));
        assert_eq!(file.etag, FileTag::Hash(text.len() as u128).text(0, None));
        assert_eq!(bytes_of(&file.source, file.size), text.as_bytes());
    }
    assert!(matches!(shelf.find(&path("old"), Wait::No).unwrap(), FoundPath::Folder));
    assert!(shelf.find(&path("old/no"), Wait::No).is_err());

    let walk = |scope: &WalkScope| {
        let tree = Arc::clone(&shelf).walk(&RelPath::root(), scope, WalkLimits::default()).unwrap();
        let mut files = Vec::new();
        let Ok(()) = tree.visit(|entry| {
            if entry.kind == EntryKind::File {
                let name = String::from_utf8(entry.path.to_vec()).unwrap();
                let text = TEXTS.iter().find(|(known, _)| *known == name).unwrap().1;
                assert_eq!(bytes_of(&tree.source(entry.index), entry.size), text.as_bytes());
                files.push(name);
            }
            Ok::<(), std::convert::Infallible>(())
        });
        files
    };
    assert_eq!(walk(&WalkScope::All), TEXTS.map(|(name, _)| name));
    assert_eq!(walk(&WalkScope::Levels(1)), ["top"]);
    assert_eq!(walk(&WalkScope::Paths(vec![path("old/fog.txt"), path("top")])), ["old/fog.txt", "top"]);
}

#[tokio::test]
async fn the_crc32_of_a_file_from_elsewhere_is_computed_by_reading_it() {
    let tree = shelf().walk(&RelPath::root(), &WalkScope::All, WalkLimits::default()).unwrap();
    let cache = Arc::new(CrcCache::new(Memo::in_memory(10), &MetricRegistry::default()));
    let index = tree.index_of(&path("old/fog.txt")).unwrap();
    assert_eq!(tree.crc32(index, &cache), None);
    let computed: Result<u32, SpanError> = tree.compute_crc32(index, &cache).await;
    assert_eq!(computed.unwrap(), crc32fast::hash(b"The fog comes"));
    assert_eq!(tree.crc32(index, &cache), Some(crc32fast::hash(b"The fog comes")));
    // The background leaves files alone whose opener does not know better.
    let background = Background::start(cache).unwrap();
    assert!(background.enqueue(&Arc::new(tree)));
}
