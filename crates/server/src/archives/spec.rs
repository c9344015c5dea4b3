//! Which archive is meant: the one identity that the key of a plan, the key of a resumed download
//! and the ETag come from.
//!
//! ```text
//! ArchiveSpec    what a request decides     -> plan key, with the collection and the folder
//! LayoutOptions    what of it changes bytes -> resume key, with the files that were found
//!                                           -> ETag, by the layout
//! ```
//!
//! Every struct is destructured where it is hashed, so that a new field cannot be forgotten.

use outflow_catalog::{RelPath, Tree, TreeDigest};
use outflow_texts::text;
use outflow_web::Problem;

use super::selection::SelectionToken;
use crate::request::ArchiveQuery;

/// Everything that a request decides about the archive of a folder.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveSpec {
    pub(super) selection: ArchiveSelection,
    pub(super) layout: LayoutOptions,
}

/// The files of a folder that become an archive.
#[derive(Clone, Debug)]
pub(super) enum ArchiveSelection {
    /// All of them.
    All,
    /// These paths below the folder, sorted.
    Paths(Vec<RelPath>),
    /// What the token stands for.
    Token(Box<SelectionToken>, String),
}

/// Options that change the bytes of an archive besides its files. There are none yet;
/// `?store=false` would be one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LayoutOptions {}

impl ArchiveSpec {
    pub(crate) fn new(query: ArchiveQuery) -> Result<ArchiveSpec, Problem> {
        let ArchiveQuery { pick, files } = query;
        let selection = match pick {
            Some(token) => match SelectionToken::parse(&token) {
                Some(parsed) => ArchiveSelection::Token(Box::new(parsed), token),
                None => {
                    return Err(Problem::bad_request(text!(unknown_selection)));
                }
            },
            None if files.is_empty() => ArchiveSelection::All,
            None => ArchiveSelection::Paths(files),
        };
        Ok(ArchiveSpec { selection, layout: LayoutOptions {} })
    }

    /// The key of the archive's plan: a hash, however long the selection is.
    pub(super) fn plan_key(&self, collection: &[u8; 32], folder: &RelPath) -> [u8; 32] {
        let ArchiveSpec { selection, layout: LayoutOptions {} } = self;
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(collection);
        part(folder.as_bytes());
        match selection {
            ArchiveSelection::All => part(b"all"),
            ArchiveSelection::Paths(paths) => {
                part(b"these");
                paths.iter().for_each(|path| part(path.as_bytes()));
            }
            ArchiveSelection::Token(_, token) => {
                part(b"pick");
                part(token.as_bytes());
            }
        }
        hasher.finalize().into()
    }
}

/// The identity of an archive whose files were found.
pub(super) struct ArchiveIdentity {
    /// The same archive, whatever is known of its CRC-32s: the key of a download that resumes.
    pub(super) archive: [u8; 32],
    /// The same archive of the very same inodes: only then a plan can be reused.
    pub(super) inodes: [u8; 32],
}

impl ArchiveIdentity {
    /// The identity of the archive of `tree`, which has the selected files. Visits every file.
    pub(super) fn new(tree: &Tree, options: LayoutOptions) -> ArchiveIdentity {
        let LayoutOptions {} = options;
        let TreeDigest { content, exact } = tree.digest();
        ArchiveIdentity { archive: content, inodes: exact }
    }
}
