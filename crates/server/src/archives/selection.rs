//! A selection in a short address: a token that stands for a set of a folder's files. The server
//! stores nothing.
//!
//! The token holds a short hash of each selected path, so its length does not depend on the names:
//! 10,000 files are about 36,000 characters. Each file that appears later is taken for a selected
//! one with a chance below one in a million; files that are there when the token is made never are,
//! since it is salted until none collides.
//!
//! ```text
//! 1   version, 1
//! 1   salt
//! 1   bits: lower bits of the Rice code, at least 20
//! n   levels: components of the deepest selected path, LEB128
//! n   count, LEB128
//! …   the hashes, scaled to 0 .. count << bits, sorted, Rice-coded
//! ```
//! in base64url without padding.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outflow_catalog::{EntryKind, RelPath, Tree, TreeEntry};

use super::rice;

const VERSION: u8 = 1;
/// A later file is taken for a selected one with a chance of one in 2^20.
const BITS: u32 = 20;
/// Maximum number of files in a token, more than fit into the head of a request.
///
/// Bound: archives.
const MAX_FILES: usize = 1 << 20;

/// A decoded token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectionToken {
    salt: u8,
    bits: u32,
    /// Levels of the folder that have to be walked.
    pub(super) levels: usize,
    numbers: Vec<u64>,
}

/// What a token stands for in a folder in its current state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResolvedSelection {
    /// All files are there.
    All(Vec<RelPath>),
    /// Some files are not.
    Gone { gone: usize, selected: usize },
}

/// Why there is no token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// Selected paths that the tree does not have.
    Missing(Vec<RelPath>),
    /// More paths than a token can hold.
    TooMany,
}

impl SelectionToken {
    /// The token for the `selected` paths of `tree`, which was walked as deep as the deepest of
    /// them.
    pub(crate) fn new(tree: &Tree, selected: &[RelPath], levels: usize) -> Result<SelectionToken, NoToken> {
        if selected.len() > MAX_FILES {
            return Err(NoToken::TooMany);
        }
        let mut wanted: HashSet<&[u8]> = selected.iter().map(RelPath::as_bytes).collect();
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        each(tree, |entry| {
            let side = if wanted.remove(entry.path) { &mut inside } else { &mut outside };
            side.push(hash(entry));
        });
        if !wanted.is_empty() {
            let missing = selected.iter().filter(|path| wanted.contains(path.as_bytes()));
            return Err(NoToken::Missing(missing.cloned().collect()));
        }
        // With this many bits a salt without a collision is found at once, however many files there
        // are.
        let crowd = usize::BITS - (outside.len() * 16).leading_zeros();
        for bits in BITS.max(crowd)..=rice::MAX_BITS {
            for salt in 0..=u8::MAX {
                let pick = SelectionToken::salted(&inside, salt, bits, levels);
                if pick.numbers.len() == inside.len()
                    && !outside.iter().any(|hash| pick.position(*hash).is_some())
                {
                    return Ok(pick);
                }
            }
        }
        Err(NoToken::TooMany)
    }

    fn salted(hashes: &[u64], salt: u8, bits: u32, levels: usize) -> SelectionToken {
        let mut numbers: Vec<u64> =
            hashes.iter().map(|hash| scale(*hash, salt, hashes.len(), bits)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        SelectionToken { salt, bits, levels, numbers }
    }

    /// The index of a hash among the numbers, if it is one of them.
    fn position(&self, hash: u64) -> Option<usize> {
        self.numbers.binary_search(&scale(hash, self.salt, self.numbers.len(), self.bits)).ok()
    }

    /// Finds the selected paths in a tree that was walked [`SelectionToken::levels`] deep.
    pub(super) fn resolve(&self, tree: &Tree) -> ResolvedSelection {
        let mut found = vec![false; self.numbers.len()];
        let mut paths = Vec::new();
        each(tree, |entry| {
            if let Some(at) = self.position(hash(entry)) {
                found[at] = true;
                paths.extend(RelPath::new(entry.path));
            }
        });
        let gone = found.iter().filter(|found| !**found).count();
        if gone > 0 {
            return ResolvedSelection::Gone { gone, selected: found.len() };
        }
        paths.sort_unstable();
        ResolvedSelection::All(paths)
    }

    /// The token as it stands in an address.
    pub(crate) fn encode(&self) -> String {
        // The bits are at most 36.
        let mut bytes = vec![VERSION, self.salt, self.bits as u8];
        leb128(&mut bytes, self.levels as u64);
        leb128(&mut bytes, self.numbers.len() as u64);
        bytes.extend(rice::encode(&self.numbers, self.bits));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses a token. `None` if this server cannot have made it.
    pub(super) fn parse(token: &str) -> Option<SelectionToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let [VERSION, salt, bits, rest @ ..] = bytes.as_slice() else { return None };
        let (levels, rest) = read_leb128(rest)?;
        let (count, rest) = read_leb128(rest)?;
        let (levels, count) = (usize::try_from(levels).ok()?, usize::try_from(count).ok()?);
        if levels == 0 || count == 0 || count > MAX_FILES || u32::from(*bits) < BITS {
            return None;
        }
        let numbers = rice::decode(rest, count, u32::from(*bits))?;
        Some(SelectionToken { salt: *salt, bits: u32::from(*bits), levels, numbers })
    }
}

fn each(tree: &Tree, mut visit: impl FnMut(TreeEntry<'_>)) {
    let _ = tree.visit(|entry| {
        visit(entry);
        Ok::<(), std::convert::Infallible>(())
    });
}

/// 64 bits that stand for a file, or for a folder with all that is in it.
fn hash(entry: TreeEntry<'_>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(entry.path);
    if entry.kind == EntryKind::Folder {
        hasher.update(b"/");
    }
    let mut short = [0; 8];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(short)
}

/// A hash under a salt, as a number below `count << bits`.
fn scale(hash: u64, salt: u8, count: usize, bits: u32) -> u64 {
    // The finaliser of SplitMix64: other salts give numbers that have nothing to do with each
    // other.
    let mut mixed = hash ^ u64::from(salt).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let range = u128::from(count as u64) << bits;
    // Below the range, which has at most 20 + 36 bits.
    ((u128::from(mixed) * range) >> 64) as u64
}

fn leb128(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// `None` also for a number in more bytes than it needs: a selection has one token.
fn read_leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte == 0 && at > 0 {
            return None;
        }
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outflow_catalog::{Collection as _, Root, RootOptions, WalkLimits, WalkScope};
    use proptest::prelude::*;

    use super::*;

    fn tree(folder: &Path, levels: usize) -> Tree {
        let root = std::sync::Arc::new(Root::new(folder, RootOptions::default()).unwrap());
        root.walk(&RelPath::root(), &WalkScope::Levels(levels), WalkLimits::default()).unwrap()
    }

    fn paths(names: &[&str]) -> Vec<RelPath> {
        names.iter().map(|name| RelPath::new(name.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn a_token_survives_new_files_and_reports_removed_ones() {
        let temp = tempfile::tempdir().unwrap();
        for number in 0..300 {
            std::fs::write(temp.path().join(format!("{number}")), "").unwrap();
        }
        std::fs::create_dir_all(temp.path().join("sub/deep")).unwrap();
        std::fs::write(temp.path().join("sub/deep/x"), "").unwrap();
        let selected = paths(&["17", "255", "sub/deep"]);
        let pick = SelectionToken::new(&tree(temp.path(), 2), &selected, 2).unwrap();
        let token = pick.encode();
        let again = SelectionToken::parse(&token).unwrap();
        assert_eq!(again, pick);
        for number in 300..3000 {
            std::fs::write(temp.path().join(format!("{number}")), "").unwrap();
        }
        assert_eq!(again.resolve(&tree(temp.path(), 2)), ResolvedSelection::All(selected));
        std::fs::remove_file(temp.path().join("255")).unwrap();
        assert_eq!(again.resolve(&tree(temp.path(), 2)), ResolvedSelection::Gone { gone: 1, selected: 3 });
        // A file in the place of a folder is another thing.
        std::fs::remove_dir_all(temp.path().join("sub/deep")).unwrap();
        std::fs::write(temp.path().join("sub/deep"), "").unwrap();
        assert_eq!(again.resolve(&tree(temp.path(), 2)), ResolvedSelection::Gone { gone: 2, selected: 3 });
    }

    #[test]
    fn missing_paths_are_named() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "").unwrap();
        let selected = paths(&["a", "b"]);
        assert_eq!(
            SelectionToken::new(&tree(temp.path(), 1), &selected, 1),
            Err(NoToken::Missing(paths(&["b"])))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic_and_within_memory(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Some(bits) = bytes.get_mut(2) {
                *bits = 20 + *bits % 20;
            }
            let token = URL_SAFE_NO_PAD.encode(&bytes);
            if let Some(pick) = SelectionToken::parse(&token) {
                prop_assert!(pick.numbers.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_number_in_more_bytes_than_it_needs_is_no_token() {
        let numbers = rice::encode(&[5], BITS);
        let token = |head: &[u8]| URL_SAFE_NO_PAD.encode([head, &numbers].concat());
        let parsed = SelectionToken::parse(&token(&[VERSION, 0, 20, 1, 1])).unwrap();
        assert_eq!(parsed.encode(), token(&[VERSION, 0, 20, 1, 1]));
        for head in [&[VERSION, 0, 20, 0x81, 0, 1][..], &[VERSION, 0, 20, 1, 0x81, 0x80, 0]] {
            assert_eq!(SelectionToken::parse(&token(head)), None, "{head:?}");
        }
    }

    #[test]
    fn other_text_is_no_token() {
        for token in ["", "A", "AAAA", "!", "AQAUAQEA=", "AgAUAQEAAAA"] {
            assert_eq!(SelectionToken::parse(token), None, "{token}");
        }
    }
}
