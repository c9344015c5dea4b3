//! Names that open everywhere: made safe, and unique without comparing each with all others.
//!
//! Safe: `/` between parts, nothing absolute, no drive, no `.` or `..`, none of the characters that
//! Windows cannot store. Unique: not even a file and a folder may share a name, because macOS stops
//! there with "error -21". A later name gets a number: `a (1).txt`; a folder in the way of a file
//! moves with all that is in it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use crate::LayoutError;
use crate::table::{NameTable, TakenBy, TakenName};

/// Maximum length of a name, in bytes. The format allows 65,535 (APPNOTE 4.4.10), file systems
/// 4,096.
///
/// Bound: archives.
pub(crate) const MAX_NAME: usize = 4096;
/// Maximum length of a part between two slashes, in bytes, as most file systems have it.
const MAX_PART: usize = 255;
/// Maximum length of an extension that is kept when a part is shortened or numbered, in bytes.
const MAX_EXTENSION: usize = 32;
/// Maximum length of a number in a part: ` (4294967295)`.
const NUMBER: usize = 13;
/// Maximum length of all names of an archive together, in bytes. The index of an entry has 32 bits
/// for it.
///
/// Bound: archives.
const MAX_ALL_NAMES: u64 = u32::MAX as u64;
/// Replaces a part that becomes empty.
const NAMELESS: &str = "_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedKind {
    File,
    Directory,
}

/// All names of an archive while it is being built: [`NameSet::place`] finds the place for a name,
/// and [`NameSet::commit`] takes it.
#[derive(Debug)]
pub(crate) struct NameSet {
    /// All committed names, one after the other.
    all: String,
    table: NameTable,
    /// Random keys, so that names cannot be made to collide. They affect speed, never names.
    keys: RandomState,
    /// The next number to try for names that were taken. Without it, 40,000 files of one name take
    /// minutes (zip_tricks PR #14). The keys are hashes, for a fixed size.
    next: HashMap<[u8; 16], u64>,
    /// For folders that a file's name displaces: the whole path, and the new name of its last part.
    moved: HashMap<String, String>,
    /// The folder of the last name: most names share it with the one before.
    parent: Parent,
    found: NameLookup,
    /// A buffer, kept to be reused.
    wished: String,
}

/// A folder as requested and as in the archive, and the state of the hasher after its parts.
#[derive(Debug)]
struct Parent {
    wished: String,
    placed: String,
    hasher: DefaultHasher,
}

/// The safe and unique name that was found.
#[derive(Debug)]
struct NameLookup {
    placed: String,
    hash: u64,
    kind: NamedKind,
    /// Folders that it creates: the length of each as a prefix of `placed`, and its hash.
    parents: Vec<(u16, u64)>,
    /// Not committed: [`NameSet::parent`] may be a folder that is not in the table.
    open: bool,
}

/// The result of [`NameSet::place`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NamePlacement {
    /// The name is free; [`NameSet::commit`] takes it.
    Free,
    /// The folder has an entry already; its name begins here in all names.
    Known(u32),
}

impl NameSet {
    pub(crate) fn with_capacity(entries: usize, bytes: usize) -> NameSet {
        let keys = RandomState::new();
        NameSet {
            all: String::with_capacity(bytes),
            table: NameTable::with_capacity(entries),
            next: HashMap::new(),
            moved: HashMap::new(),
            parent: Parent::root(&keys),
            keys,
            found: NameLookup {
                placed: String::new(),
                hash: 0,
                kind: NamedKind::File,
                parents: Vec::new(),
                open: false,
            },
            wished: String::new(),
        }
    }

    /// Finds the safe and unique name for `name`; [`NameSet::placed`] returns it.
    pub(crate) fn place(&mut self, name: &str, kind: NamedKind) -> Result<NamePlacement, LayoutError> {
        if std::mem::take(&mut self.found.open) {
            self.parent = Parent::root(&self.keys);
        }
        self.found.parents.clear();
        let mut wished = std::mem::take(&mut self.wished);
        wished.clear();
        let place = match make_safe(name, &mut wished) {
            true => self.place_safe(&wished, kind),
            false => None,
        };
        self.wished = wished;
        let place = place.ok_or_else(|| LayoutError::name_too_long(name))?;
        if place == NamePlacement::Free && self.placed_end() > MAX_ALL_NAMES {
            return Err(LayoutError::NamesTooLong);
        }
        Ok(place)
    }

    /// The name that was found.
    pub(crate) fn placed(&self) -> &str {
        &self.found.placed
    }

    /// Where the name that was found will end in all names.
    pub(crate) fn placed_end(&self) -> u64 {
        self.all.len() as u64 + self.found.placed.len() as u64
    }

    /// Takes the name that was found.
    pub(crate) fn commit(&mut self) {
        let NameSet { all, table, keys, found, .. } = self;
        // `place` has checked that all names end within 32 bits, and this one within 16.
        let start = all.len() as u32;
        let len = found.placed.trim_end_matches('/').len() as u16;
        all.push_str(&found.placed);
        for (len, hash) in found.parents.drain(..) {
            table.put(hash, TakenName { start, len, by: TakenBy::Parent }, all, |taken| {
                hash_of(keys, all, taken)
            });
        }
        let by = if found.kind == NamedKind::File { TakenBy::File } else { TakenBy::Directory };
        table.put(found.hash, TakenName { start, len, by }, all, |taken| hash_of(keys, all, taken));
        found.open = false;
    }

    /// Returns all names and frees the table.
    pub(crate) fn into_all(self) -> String {
        let NameSet { mut all, table, .. } = self;
        drop(table);
        all.shrink_to_fit();
        all
    }

    /// `None` when the name becomes too long.
    fn place_safe(&mut self, wished: &str, kind: NamedKind) -> Option<NamePlacement> {
        let folder_len = match kind {
            NamedKind::File => wished.rfind('/').unwrap_or(0),
            NamedKind::Directory => wished.len(),
        };
        let folder = &wished[..folder_len];
        self.found.open = true;
        if folder != self.parent.wished {
            self.enter(folder);
        }
        self.found.kind = kind;
        self.found.placed.clone_from(&self.parent.placed);
        match kind {
            NamedKind::Directory => {
                self.found.hash = self.parent.hasher.finish();
                match self.find(&self.found.placed, self.found.hash) {
                    Some(TakenName { by: TakenBy::Directory, start, .. }) => {
                        self.found.open = false;
                        return Some(NamePlacement::Known(start));
                    }
                    Some(_) => {}
                    // The last folder to create is the entry itself.
                    None => drop(self.found.parents.pop()),
                }
                self.found.placed.push('/');
            }
            NamedKind::File => {
                let part = wished[folder_len..].trim_start_matches('/');
                push_part(&mut self.found.placed, part);
                self.found.hash = with_part(&self.parent.hasher, part).finish();
                if self.find(&self.found.placed, self.found.hash).is_some() {
                    let hasher = self.parent.hasher.clone();
                    let placed = self.parent.placed.clone();
                    let part = self.numbered(&placed, &hasher, split_extension(part));
                    self.found.placed = placed;
                    push_part(&mut self.found.placed, &part);
                    self.found.hash = with_part(&hasher, &part).finish();
                }
            }
        }
        (self.found.placed.len() <= MAX_NAME).then_some(NamePlacement::Free)
    }

    /// Makes `folder` the current one, renamed where a file has its name.
    fn enter(&mut self, folder: &str) {
        let mut placed = String::with_capacity(folder.len());
        let mut hasher = self.keys.build_hasher();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            let base = placed.len();
            let mut part = Cow::Borrowed(part);
            hasher = loop {
                placed.truncate(base);
                push_part(&mut placed, &part);
                let after = with_part(&hasher, &part);
                match self.find(&placed, after.finish()) {
                    Some(TakenName { by: TakenBy::File, .. }) => {
                        part = Cow::Owned(self.renamed_folder(&placed, base, &hasher, &part))
                    }
                    Some(_) => break after,
                    None => {
                        // Longer than 16 bits is longer than MAX_NAME, so this is never committed.
                        let len = u16::try_from(placed.len()).unwrap_or(u16::MAX);
                        self.found.parents.push((len, after.finish()));
                        break after;
                    }
                }
            };
        }
        self.parent = Parent { wished: folder.to_owned(), placed, hasher };
    }

    /// The new name of the last part of the folder `path` (after `base` bytes), whose name a file
    /// has.
    fn renamed_folder(&mut self, path: &str, base: usize, hasher: &DefaultHasher, part: &str) -> String {
        if let Some(other) = self.moved.get(path) {
            return other.clone();
        }
        let other = self.numbered(&path[..base], hasher, (part, ""));
        self.moved.insert(path.to_owned(), other.clone());
        other
    }

    /// A part that is free in `folder`: the stem, a number, the extension.
    fn numbered(&mut self, folder: &str, hasher: &DefaultHasher, (stem, extension): (&str, &str)) -> String {
        // Shortened before the lookup: two long names that become equal share their numbers.
        let stem = cut(stem, MAX_PART - NUMBER - extension.len());
        let mut key = blake3::Hasher::new();
        // A safe name contains no NUL.
        for text in [folder, "\0", stem, "\0", extension] {
            key.update(text.as_bytes());
        }
        let mut short = [0; 16];
        key.finalize_xof().fill(&mut short);

        let mut number = self.next.get(&short).copied().unwrap_or(1);
        let mut part = String::new();
        loop {
            part.clear();
            // Writing to a String cannot fail.
            let _ = write!(part, "{stem} ({number}){extension}");
            number += 1;
            let mut path = String::with_capacity(folder.len() + 1 + part.len());
            path.push_str(folder);
            push_part(&mut path, &part);
            if self.find(&path, with_part(hasher, &part).finish()).is_none() {
                self.next.insert(short, number);
                return part;
            }
        }
    }

    fn find(&self, path: &str, hash: u64) -> Option<TakenName> {
        self.table.get(hash, path, &self.all)
    }
}

impl Parent {
    fn root(keys: &RandomState) -> Parent {
        Parent { wished: String::new(), placed: String::new(), hasher: keys.build_hasher() }
    }
}

fn hash_of(keys: &RandomState, all: &str, taken: TakenName) -> u64 {
    let parts = all[taken.range()].split('/');
    parts.fold(keys.build_hasher(), |hasher, part| with_part(&hasher, part)).finish()
}

/// Names are hashed part by part, so that the hasher of a folder continues with its contents.
fn with_part(hasher: &DefaultHasher, part: &str) -> DefaultHasher {
    let mut hasher = hasher.clone();
    hasher.write(part.as_bytes());
    hasher.write_u8(b'/');
    hasher
}

fn push_part(path: &mut String, part: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(part);
}

/// Writes the safe form of `name` to `safe`, which is empty. Returns false when it is too long.
fn make_safe(name: &str, safe: &mut String) -> bool {
    for part in name.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        if !safe.is_empty() {
            safe.push('/');
        }
        let start = safe.len();
        if part.bytes().all(|byte| PLAIN[usize::from(byte)]) {
            safe.push_str(part); // the usual case, several times faster
        } else {
            safe.extend(part.chars().map(|c| if is_safe(c) { c } else { '_' }));
        }
        if safe.len() - start > MAX_PART {
            let long = safe.split_off(start);
            let (stem, extension) = split_extension(&long);
            safe.push_str(cut(stem, MAX_PART - extension.len()));
            safe.push_str(extension);
        }
        if safe.len() > MAX_NAME {
            return false;
        }
    }
    if safe.is_empty() {
        safe.push_str(NAMELESS);
    }
    true
}

fn is_safe(c: char) -> bool {
    !c.is_control() && !is_special(c)
}

/// Characters that Windows cannot store. The colon marks drives and alternate streams; some readers
/// take the backslash for a slash.
const fn is_special(c: char) -> bool {
    matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// ASCII bytes that are safe.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        plain[byte as usize] = !is_special(byte as char);
        byte += 1;
    }
    plain
};

/// `a.txt` is `a` and `.txt`, `a.tar.gz` is `a` and `.tar.gz`; `.bashrc` and `Dr. No` have no
/// extension.
fn split_extension(part: &str) -> (&str, &str) {
    let is_extension =
        |dot: &usize| *dot > 0 && part.len() - dot <= MAX_EXTENSION && !part[*dot..].contains(' ');
    let Some(dot) = part.rfind('.').filter(is_extension) else {
        return (part, "");
    };
    let pair = part[..dot].strip_suffix(".tar").map(str::len).filter(|len| *len > 0);
    part.split_at(pair.unwrap_or(dot))
}

/// At most the first `max` bytes, in whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
