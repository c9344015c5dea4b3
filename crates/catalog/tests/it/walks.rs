//! What a walk finds, in which order, and when it gives up.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use outflow_catalog::{
    Collection as _, EntryKind, Root, RootOptions, Tree, WalkError, WalkLimits, WalkScope,
};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::{path, root};

fn make(folder: &Path, files: &[&str]) {
    for file in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
}

fn listed(tree: &Tree) -> Vec<String> {
    let mut paths = Vec::new();
    let Ok(()) = tree.visit(|entry| {
        let slash = if entry.kind == EntryKind::Folder { "/" } else { "" };
        paths.push(format!("{}{slash}", String::from_utf8_lossy(entry.path)));
        let full = tree.base().join(entry.path).unwrap();
        assert_eq!(tree.path(entry.index), full);
        Ok::<(), std::convert::Infallible>(())
    });
    paths
}

fn walk(folder: &Path, base: &str, scope: &WalkScope) -> Result<Tree, WalkError> {
    crate::walk(&root(folder), base, scope, WalkLimits::default())
}

#[test]
fn siblings_are_sorted_by_bytes_and_folders_come_before_what_is_in_them() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["b", "a/z", "a/b/c", "a-x", "B", "é", "a/b-", ".hidden", "a/.git/x"]);
    std::fs::create_dir(temp.path().join("empty")).unwrap();
    let tree = walk(temp.path(), "", &WalkScope::All).unwrap();
    assert_eq!(listed(&tree), ["B", "a/", "a/b/", "a/b/c", "a/b-", "a/z", "a-x", "b", "empty/", "é"]);
    assert_eq!((tree.files(), tree.len()), (7, 10));
    assert_eq!(listed(&walk(temp.path(), "a", &WalkScope::All).unwrap()), ["b/", "b/c", "b-", "z"]);
    let options = RootOptions { hidden: true, ..RootOptions::default() };
    let shown = Arc::new(Root::new(temp.path(), options).unwrap());
    let all = shown.walk(&path("a"), &WalkScope::All, WalkLimits::default());
    assert_eq!(listed(&all.unwrap()), [".git/", ".git/x", "b/", "b/c", "b-", "z"]);
}

#[test]
fn levels_end_where_they_are_told_to() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/c/d", "x"]);
    let level = |levels| listed(&walk(temp.path(), "", &WalkScope::Levels(levels)).unwrap());
    assert_eq!(level(1), ["a/", "x"]);
    assert_eq!(level(2), ["a/", "a/b/", "x"]);
    assert_eq!(level(9), ["a/", "a/b/", "a/b/c/", "a/b/c/d", "x"]);
}

#[test]
fn a_selection_has_what_it_names_and_says_what_is_missing() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/c", "a/d", "x", "y", ".hidden"]);
    let these = |names: &[&str]| {
        walk(temp.path(), "", &WalkScope::Paths(names.iter().map(|name| path(name)).collect()))
    };
    assert_eq!(listed(&these(&["a/b", "x"]).unwrap()), ["a/b/", "a/b/c", "x"]);
    match these(&[".hidden", "a/b/c", "no", "x/no"]) {
        Err(WalkError::Missing { count: 3, first }) => assert_eq!(first, [".hidden", "no", "x/no"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_in_circles_end_and_links_out_are_left_out() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["root/a/b/c", "outside/secret"]);
    let at = |name: &str| temp.path().join("root").join(name);
    symlink("..", at("a/up")).unwrap();
    symlink("../..", at("a/b/top")).unwrap();
    symlink("a/b", at("link")).unwrap();
    symlink("../outside", at("out")).unwrap();
    symlink("../outside/secret", at("secret")).unwrap();
    symlink("gone", at("dangling")).unwrap();
    let tree = walk(&at(""), "", &WalkScope::All).unwrap();
    assert_eq!(listed(&tree), ["a/", "a/b/", "a/b/c", "a/b/top/", "a/up/", "link/", "link/c", "link/top/"]);
}

#[test]
fn bounds_are_errors_that_say_so() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), &["a/b/c/d/e", "1", "2", "3"]);
    let root = root(temp.path());
    let walk = |limits| crate::walk(&root, "", &WalkScope::All, limits).map(|tree| tree.len());
    let all = WalkLimits::default();
    assert_eq!(walk(WalkLimits { entries: 8, ..all }).unwrap(), 8);
    assert!(matches!(walk(WalkLimits { entries: 7, ..all }), Err(WalkError::TooMany { limit: 7 })));
    assert!(walk(WalkLimits { depth: 4, ..all }).is_ok());
    assert!(matches!(walk(WalkLimits { depth: 3, ..all }), Err(WalkError::TooDeep { .. })));
    assert!(
        matches!(walk(WalkLimits { path: 6, ..all }), Err(WalkError::TooDeep { path }) if path == "a/b/c/d")
    );
}

#[test]
fn a_tree_deeper_than_the_kernel_takes_in_one_path_is_walked() {
    let temp = tempfile::tempdir().unwrap();
    let long = "d".repeat(200);
    // Made step by step: no single call takes a path this long.
    let mut folder = std::fs::File::open(temp.path()).unwrap();
    for _ in 0..30 {
        mkdirat(&folder, &long, Mode::RWXU).unwrap();
        folder = openat(&folder, &long, OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    openat(&folder, "leaf", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    let tree = walk(temp.path(), "", &WalkScope::All).unwrap();
    assert_eq!((tree.files(), tree.len()), (1, 31));
}

#[test]
fn a_million_files_would_fit_a_hundred_megabytes() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..2_000 {
        std::fs::write(temp.path().join(format!("file-{number:07}.dat")), "").unwrap();
    }
    let tree = walk(temp.path(), "", &WalkScope::All).unwrap();
    let each = tree.memory() / tree.len();
    assert!(each <= 40 + 20, "{each} bytes for each file with a name of 16");
}
