//! Any bytes as the query of an address, or a form, and as the token of a selection: the selected
//! paths come back from an address that names them, and from a token.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use outflow_catalog::{
    FileOpener, FileRecord, Fingerprint, RelPath, Tree, TreeBuilder, TreeFile, WalkLimits,
};
use outflow_content::Source;
use outflow_content::address::encode;

// The crate's own files: all of it would bring the engines of the ledger, which take minutes to
// compile.
#[path = "../../crates/server/src/archives"]
#[allow(dead_code, reason = "not all of the crate's files is in use here")]
mod archives {
    mod rice;
    mod selection;

    use outflow_catalog::{RelPath, Tree};
    use selection::{ResolvedSelection, SelectionToken};

    /// A token that is accepted is the only one for its selection.
    pub(crate) fn parse(token: &str) {
        if let Some(parsed) = SelectionToken::parse(token) {
            assert_eq!(parsed.encode(), token);
        }
    }

    /// The token of some files of a tree stands for just these.
    pub(crate) fn make(tree: &Tree, files: &[RelPath], levels: usize) {
        let made = SelectionToken::new(tree, files, levels).expect("the tree has these files");
        let parsed = SelectionToken::parse(&made.encode()).expect("a token");
        assert_eq!(parsed, made);
        assert_eq!(parsed.resolve(tree), ResolvedSelection::All(files.to_vec()));
    }
}

#[path = "../../crates/server/src/request/query.rs"]
#[allow(dead_code, unreachable_pub, reason = "not all of the crate's file is in use here")]
mod query;

/// Only names matter.
#[derive(Debug)]
struct UnopenedFiles;

impl FileOpener for UnopenedFiles {
    fn source(&self, _: TreeFile<'_>) -> Arc<dyn Source> {
        panic!("nothing is opened")
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = std::str::from_utf8(data) {
        archives::parse(token);
    }
    archives::parse(&base64(data));

    let Ok(parsed) = query::Query::parse(data) else { return };
    let files = parsed.archive.files;
    assert!(files.windows(2).all(|pair| pair[0] < pair[1] && !is_inside(&pair[1], &pair[0])));
    if files.is_empty() {
        return;
    }
    let address: Vec<String> = files.iter().map(|path| format!("file={}", encode(path.as_bytes()))).collect();
    let again = query::Query::parse(address.join("&").as_bytes()).map(|query| query.archive.files);
    assert_eq!(again.ok().as_ref(), Some(&files));

    let levels = files.iter().map(|path| path.components().count()).max().unwrap_or(1);
    if let Some(tree) = tree(&files) {
        archives::make(&tree, &files, levels);
    }
});

fn is_inside(path: &RelPath, folder: &RelPath) -> bool {
    path.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The files among others that are not selected.
fn tree(files: &[RelPath]) -> Option<Tree> {
    let mut builder = TreeBuilder::new();
    let record = FileRecord {
        size: 0,
        modified: None,
        fingerprint: Fingerprint::of(&[b"selection"]),
        executable: false,
    };
    for path in files {
        builder.file(path.as_bytes(), record).ok()?;
        builder.file(&[path.as_bytes(), b"~"].concat(), record).ok()?;
    }
    // Another file's name may be that of a folder on the way to a selected one.
    builder.build(Arc::new(UnopenedFiles), WalkLimits::default()).ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
