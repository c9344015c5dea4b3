//! What a link with `files` lets be seen of a collection, against the collection itself.

use std::sync::Arc;

use bytes::Bytes;
use outflow_catalog::{
    Collection, EntryKind, FoundPath, OpenErrorKind, PlainStore, RelPath, Root, RootOptions, StoreOptions,
    Transfer, Tree, WalkError, WalkLimits, WalkScope, open_store,
};
use outflow_content::Wait;
use outflow_server::DownloadService;
use outflow_server::SelectedCollection;
use tower_service::Service as _;

use crate::help::{Reply, request, settings};
use crate::selections::names;
use crate::shop::manifest;

const NAMES: [&str; 9] =
    ["a.txt", "b/c", "b/d/e", "b/d/f", "b-", "g/h/i/j", "g/h/k", "secret.txt", "secret/plan"];
const SELECTED: [&str; 4] = ["a.txt", "b/d", "g/h/i", "gone"];

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

/// A folder, a plain store and a transfer of the same files.
struct Three {
    _temp: tempfile::TempDir,
    all: [Arc<dyn Collection>; 3],
}

fn three() -> Three {
    let temp = tempfile::tempdir().unwrap();
    let manifest = manifest("abc", &NAMES);
    for (name, file) in NAMES.iter().zip(&manifest.files) {
        for at in
            [temp.path().join("plain").join(name), temp.path().join("store").join(manifest.object_key(file))]
        {
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(at, name).unwrap();
        }
    }
    let open = |folder: &str| {
        let address = format!("file://{}", temp.path().join(folder).display());
        open_store(&address, &StoreOptions::default()).unwrap()
    };
    let all: [Arc<dyn Collection>; 3] = [
        Arc::new(Root::new(&temp.path().join("plain"), RootOptions::default()).unwrap()),
        Arc::new(PlainStore::new(open("plain"), false)),
        Arc::new(Transfer::new(&open("store"), manifest, b"1").unwrap()),
    ];
    Three { _temp: temp, all }
}

fn selected(inner: &Arc<dyn Collection>, paths: &[&str]) -> Arc<SelectedCollection> {
    Arc::new(SelectedCollection::new(Arc::clone(inner), paths.iter().map(|text| path(text)).collect()))
}

fn entries(tree: &Tree) -> Vec<(String, u64)> {
    let mut entries = Vec::new();
    let Ok(()) = tree.visit(|entry| {
        if entry.kind == EntryKind::File {
            entries.push((tree.path(entry.index).to_string(), entry.size));
        }
        Ok::<(), std::convert::Infallible>(())
    });
    entries
}

#[test]
fn only_what_is_selected_is_found_and_listed() {
    for inner in three().all {
        let shown = selected(&inner, &SELECTED);
        let kind = |path: &RelPath| match shown.find(path, Wait::Yes) {
            Ok(FoundPath::File(_)) => "file",
            Ok(FoundPath::Folder) => "folder",
            Err(_) => "nothing",
        };
        for (name, expected) in [
            ("", "folder"),
            ("a.txt", "file"),
            ("b", "folder"),
            ("b/c", "nothing"),
            ("b-", "nothing"),
            ("b/d", "folder"),
            ("b/d/e", "file"),
            ("b/d/x", "nothing"),
            ("b/", "folder"),
            ("g", "folder"),
            ("g/h", "folder"),
            ("g/h/i/j", "file"),
            ("g/h/k", "nothing"),
            ("gone", "nothing"),
            ("secret", "nothing"),
            ("secret.txt", "nothing"),
            ("secret/plan", "nothing"),
            ("a.txt/x", "nothing"),
        ] {
            assert_eq!(kind(&path(name.trim_end_matches('/'))), expected, "{name} in {inner:?}");
        }
        let list = |folder: &str| {
            let listed = shown.list(&path(folder), 100).ok()?;
            Some(listed.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(list("").unwrap(), ["a.txt", "b", "g"]);
        assert_eq!(list("b").unwrap(), ["d"]);
        assert_eq!(list("b/d").unwrap(), ["e", "f"]);
        assert_eq!(list("g/h").unwrap(), ["i"]);
        assert_eq!(list("secret"), None);
        assert_eq!(list("gone"), None);
        // An entry says the same as without the link.
        let of = |collection: &dyn Collection| collection.list(&path("b/d"), 100).unwrap();
        assert_eq!(of(&*shown), of(&*inner));
    }
}

#[test]
fn a_walk_finds_the_selected_part_of_what_is_wanted() {
    for inner in three().all {
        let shown = selected(&inner, &["a.txt", "b/d", "g/h/i"]);
        let walk = |folder: &str, wanted: &WalkScope| {
            Arc::clone(&shown).walk(&path(folder), wanted, WalkLimits::default()).map(|tree| entries(&tree))
        };
        let files = |folder: &str, wanted: &WalkScope| {
            walk(folder, wanted)
                .unwrap()
                .into_iter()
                .map(|(name, size)| {
                    assert_eq!(size, name.len() as u64);
                    name
                })
                .collect::<Vec<_>>()
        };
        let these = |paths: &[&str]| WalkScope::Paths(paths.iter().map(|text| path(text)).collect());
        assert_eq!(files("", &WalkScope::All), ["a.txt", "b/d/e", "b/d/f", "g/h/i/j"]);
        assert_eq!(files("b", &WalkScope::All), ["b/d/e", "b/d/f"]);
        assert_eq!(files("b/d", &WalkScope::All), ["b/d/e", "b/d/f"]);
        assert_eq!(files("", &these(&["b", "g/h/i/j"])), ["b/d/e", "b/d/f", "g/h/i/j"]);
        assert_eq!(files("b", &these(&["d/f"])), ["b/d/f"]);
        assert_eq!(files("", &WalkScope::Levels(1)), ["a.txt"]);
        assert_eq!(files("", &WalkScope::Levels(3)), ["a.txt", "b/d/e", "b/d/f"]);
        match walk("", &these(&["a.txt", "b/c", "no", "secret"])) {
            Err(WalkError::Missing { count, first }) => {
                assert_eq!((count, first.as_slice()), (3, &["b/c", "no", "secret"].map(str::to_owned)[..]));
            }
            other => panic!("{other:?}"),
        }
        // What is not selected is as if it were not there.
        for folder in ["no", "secret"] {
            let refused = walk(folder, &WalkScope::All).unwrap_err();
            assert!(
                matches!(&refused, WalkError::Open(error) if matches!(error.kind, OpenErrorKind::NotFound)),
                "{folder}: {refused}"
            );
        }
        // Folders on the way are entries of the levels, as they are in a listing.
        let tree = Arc::clone(&shown).walk(&path(""), &WalkScope::Levels(2), WalkLimits::default()).unwrap();
        let mut all = Vec::new();
        let Ok(()) = tree.visit(|entry| {
            all.push(String::from_utf8_lossy(entry.path).into_owned());
            Ok::<(), std::convert::Infallible>(())
        });
        assert_eq!(all, ["a.txt", "b", "b/d", "g", "g/h"]);
        // Something that has gone is missed, not passed over.
        let with_gone = selected(&inner, &SELECTED);
        let missing = with_gone.walk(&path(""), &WalkScope::All, WalkLimits::default()).unwrap_err();
        assert!(matches!(missing, WalkError::Missing { count: 1, .. }), "{missing}");
    }
}

#[test]
fn it_is_another_collection_that_says_the_same_of_itself() {
    let [folder, _, transfer] = three().all;
    let shown = selected(&transfer, &SELECTED);
    assert_eq!((shown.name(), shown.is_immutable()), (transfer.name(), true));
    let about = shown.about().unwrap();
    assert_eq!((about.files, about.bytes), (4, 5 + 5 + 5 + 7));
    assert_eq!(about.id, "abc");
    let identities = [
        transfer.identity(),
        shown.identity(),
        selected(&transfer, &["a.txt"]).identity(),
        selected(&transfer, &["a.tx", "t"]).identity(),
        selected(&folder, &["a.txt"]).identity(),
    ];
    for (at, one) in identities.iter().enumerate() {
        assert!(!identities[..at].contains(one), "{at}");
    }
    assert_eq!(selected(&transfer, &["a.txt"]).identity(), identities[2]);
    let nothing = selected(&folder, &[]);
    assert!(nothing.list(&path(""), 9).unwrap().is_empty());
    assert!(nothing.about().is_none());
    assert!(nothing.walk(&path(""), &WalkScope::All, WalkLimits::default()).unwrap().is_empty());
}

#[tokio::test]
async fn pages_forms_and_archives_show_nothing_else() {
    for inner in three().all {
        let mut service =
            DownloadService::collection(selected(&inner, &["a.txt", "b/d", "g/h/i"]), &settings());
        let mut ask = async |method: &str, target: &str, body: &str| {
            let form = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
            let request = request(method, target, &form, Bytes::copy_from_slice(body.as_bytes()));
            Reply::of(service.call(request).await.unwrap()).await
        };
        for target in ["/", "/?json", "/b/", "/g/h/"] {
            let page = ask("GET", target, "").await;
            assert_eq!(page.status, 200, "{target}");
            assert!(
                !page.text().contains("secret") && !page.text().contains("href=\"c\""),
                "{}",
                page.text()
            );
        }
        for target in
            ["/secret.txt", "/secret/", "/secret/plan", "/b/c", "/?zip&file=secret.txt", "/secret/?zip"]
        {
            assert_eq!(ask("GET", target, "").await.status, 404, "{target}");
        }
        assert_eq!(names(&ask("GET", "/?zip", "").await), ["a.txt", "b/d/e", "b/d/f", "g/h/i/j"]);
        // All that is shown is everything.
        let to = ask("POST", "/?zip", "file=a.txt&file=b/&file=g/").await;
        assert_eq!((to.status.as_u16(), to.header("location")), (303, "/?zip"));
        let to = ask("POST", "/?zip", "file=b/").await;
        assert_eq!((to.status.as_u16(), to.header("location")), (303, "/?zip&file=b/"));
        assert_eq!(names(&ask("GET", "/?zip&file=b/", "").await), ["b/d/e", "b/d/f"]);
        // What is there and what is not are told alike.
        let answers =
            [ask("POST", "/?zip", "file=secret.txt").await, ask("POST", "/?zip", "file=nothing.txt").await];
        assert_eq!(answers[0].status, 404);
        assert_eq!(answers[0].text().replace("secret", "nothing"), answers[1].text());
    }
}
