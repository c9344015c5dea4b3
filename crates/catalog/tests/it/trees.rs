//! Trees: parts of them, and trees without some entries, have what a walk would have found, and the
//! right bytes.

use std::path::Path;
use std::sync::Arc;

use outflow_catalog::{
    Collection, EntryKind, FileOpener, FileRecord, Fingerprint, PlainStore, RelPath, Root, RootOptions,
    StoreOptions, Tree, TreeBuilder, TreeFile, WalkError, WalkLimits, WalkScope, open_store,
};
use outflow_content::{Source, Span, Wait};

use crate::path;

/// Opens files by their slots.
#[derive(Debug)]
struct Slots(Arc<Root>, Vec<RelPath>);

impl FileOpener for Slots {
    fn source(&self, file: TreeFile<'_>) -> Arc<dyn Source> {
        let path = &self.1[file.slot() as usize];
        let outflow_catalog::Opened::File(open) = self.0.open(path, Wait::Yes).unwrap() else {
            panic!("{path}")
        };
        Arc::new(open)
    }
}

/// All bytes behind an entry.
fn bytes_of(tree: &Tree, index: usize) -> Vec<u8> {
    let Span::File(span) = tree.source(index).span(0, 1) else { panic!("not on disk") };
    let file = span.file.open(Wait::Yes).unwrap();
    let mut bytes = vec![0; 1000];
    let read = rustix::io::pread(file.fd(), &mut bytes, 0).unwrap();
    bytes.truncate(read);
    bytes
}

/// Checks that each file still has its own bytes: its whole path.
fn entries(tree: &Tree) -> Vec<(String, EntryKind, u64)> {
    let mut entries = Vec::new();
    let Ok(()) = tree.visit(|entry| {
        let path = RelPath::new(entry.path).unwrap();
        let whole = tree.path(entry.index);
        assert_eq!(whole, tree.base().join(entry.path).unwrap());
        if entry.kind == EntryKind::File {
            assert_eq!(bytes_of(tree, entry.index), whole.as_bytes());
        }
        entries.push((path.to_string(), entry.kind, entry.size));
        Ok::<(), std::convert::Infallible>(())
    });
    entries
}

fn names(tree: &Tree) -> Vec<String> {
    entries(tree).into_iter().map(|(path, ..)| path).collect()
}

fn write(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
}

/// The same files in a tree that was built, and on disk.
fn both(folder: &Path) -> (Tree, Arc<Root>) {
    const NAMES: [&str; 9] = ["a-x", "a/b/c", "a/b-", "a/z", "b", "B", "deep/1/2/3/4", "é", "sub/x"];
    write(folder, &NAMES);
    let root = crate::root(folder);
    let mut builder = TreeBuilder::new();
    for name in NAMES {
        let fingerprint = Fingerprint::of(&[name.as_bytes()]);
        let size = name.len() as u64;
        let record = FileRecord { size, modified: None, fingerprint, executable: false };
        builder.file(name.as_bytes(), record).unwrap();
    }
    let opener = Slots(Arc::clone(&root), NAMES.map(path).to_vec());
    (builder.build(Arc::new(opener), WalkLimits::default()).unwrap(), root)
}

fn paths(names: &[&str]) -> Vec<RelPath> {
    names.iter().map(|name| path(name)).collect()
}

#[test]
fn every_part_of_a_tree_is_what_a_walk_would_have_found() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, root) = both(temp.path());
    let scopes = [
        WalkScope::All,
        WalkScope::Levels(1),
        WalkScope::Levels(2),
        WalkScope::Levels(3),
        WalkScope::Paths(paths(&["a/b", "b", "z"])),
        WalkScope::Paths(paths(&["a", "deep/1/2", "é"])),
        WalkScope::Paths(paths(&["b/c", "z"])),
        WalkScope::Paths(paths(&["no"])),
    ];
    for base in paths(&["", "a", "deep/1", "b", "no"]) {
        for scope in &scopes {
            let limits = WalkLimits::default();
            let walked = Arc::clone(&root).walk(&base, scope, limits);
            // A part of what was built, and a part of what was walked.
            let all = Arc::clone(&root).walk(&RelPath::root(), &WalkScope::All, limits).unwrap();
            for part in [tree.part(&base, scope, limits), all.part(&base, scope, limits)] {
                match (part, &walked) {
                    (Ok(part), Ok(walked)) => {
                        assert_eq!(entries(&part), entries(walked), "{base} {scope:?}");
                        assert_eq!((part.files(), part.bytes()), (walked.files(), walked.bytes()));
                    }
                    (
                        Err(WalkError::Missing { count, first }),
                        Err(WalkError::Missing { count: c, first: f }),
                    ) => {
                        assert_eq!((&count, &first), (c, f));
                    }
                    (Err(WalkError::Open(part)), Err(WalkError::Open(walked))) => {
                        assert_eq!(part.to_string(), walked.to_string());
                    }
                    other => panic!("{base} {scope:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn bounds_are_errors_that_say_so() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, _) = both(temp.path());
    let part = |limits| tree.part(&RelPath::root(), &WalkScope::All, limits).map(|tree| tree.len());
    let all = WalkLimits::default();
    assert_eq!(part(WalkLimits { entries: 16, ..all }).unwrap(), 16);
    assert!(matches!(part(WalkLimits { entries: 15, ..all }), Err(WalkError::TooMany { limit: 15 })));
    let mut builder = TreeBuilder::new();
    let fingerprint = Fingerprint::default();
    let record = FileRecord { size: 0, modified: None, fingerprint, executable: false };
    builder.file(("d/".repeat(2_000) + "f").as_bytes(), record).unwrap();
    let made = builder.build(Arc::clone(tree.opener()), all);
    assert!(matches!(made, Err(WalkError::TooDeep { .. })));
}

#[test]
fn a_file_and_a_folder_may_share_a_name_and_a_folder_may_be_empty() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, _) = both(temp.path());
    let mut builder = TreeBuilder::new();
    // In the order that a tree has, and in another one.
    for name in ["a-", "a/b", "a"] {
        let fingerprint = Fingerprint::of(&[name.as_bytes()]);
        let record = FileRecord { size: 1, modified: None, fingerprint, executable: false };
        builder.file(name.as_bytes(), record).unwrap();
    }
    builder.folder(b"e").unwrap();
    for wrong in ["", "/x", "x/", "a//b", "../x"] {
        assert!(builder.folder(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let made = builder.build(Arc::clone(tree.opener()), WalkLimits::default()).unwrap();
    let kinds: Vec<_> = made.list(&RelPath::root(), 9).unwrap().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::File, EntryKind::Folder, EntryKind::File, EntryKind::Folder]);
    assert_eq!(made.list(&path("a"), 9).unwrap()[0].name, b"b");
    assert!(made.list(&path("e"), 9).unwrap().is_empty());
    assert!(made.list(&path("e"), 9).is_ok() && made.list(&path("a-"), 9).is_err());
    assert_eq!(made.index_of(&path("a")), Some(0));
    // Each file knows the number that the builder gave it.
    let slot = |name: &str| made.file(made.index_of(&path(name)).unwrap()).slot();
    assert_eq!([slot("a-"), slot("a/b"), slot("a")], [0, 1, 2]);
}

#[test]
fn what_is_not_wanted_goes_with_all_that_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), &["a", "b/c", "b/d/e", "b/d/f", "b-", "g/h/i/j", "g/k", "é"]);
    let address = format!("file://{}", temp.path().display());
    let store = open_store(&address, &StoreOptions::default()).unwrap();
    let collections: [Arc<dyn Collection>; 2] = [
        Arc::new(Root::new(temp.path(), RootOptions::default()).unwrap()),
        Arc::new(PlainStore::new(store, false)),
    ];
    for collection in collections {
        let walk = |folder: &str| {
            Arc::clone(&collection).walk(&path(folder), &WalkScope::All, WalkLimits::default()).unwrap()
        };
        let tree = walk("");
        assert_eq!(names(&tree.retain(|_, _| true)), names(&tree));
        assert!(tree.retain(|_, _| false).is_empty());
        let kept = tree.retain(|path, _| !path.starts_with(b"b/d") && path != b"g");
        assert_eq!(names(&kept), ["a", "b", "b/c", "b-", "é"]);
        assert_eq!((kept.files(), kept.bytes()), (4, 8));
        let kept = tree.retain(|_, kind| kind == EntryKind::Folder);
        assert_eq!(names(&kept), ["b", "b/d", "g", "g/h", "g/h/i"]);
        assert_eq!(names(&walk("b").retain(|path, _| path != b"d/e")), ["c", "d", "d/f"]);
    }
}
