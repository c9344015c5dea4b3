//! Names that open everywhere: made safe, and unique without ever comparing one with all others.
//!
//! Safe: `/` between parts, nothing absolute, no drive, no `.` or `..`, none of the characters that Windows
//! cannot store. Unique: not even a file and a folder may share a name, because macOS stops there with
//! "error -21". Who comes later gets a number: `a (1).txt`; a folder in the way of a file moves with all that
//! is in it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use crate::LayoutError;
use crate::table::{By, Table, Taken};

/// Longest name in bytes. The format has room for 65,535 (APPNOTE 4.4.10), file systems for 4,096 at the most.
pub(crate) const MAX_NAME: usize = 4096;
/// Longest part of a name between two slashes, in bytes. What most file systems take.
const MAX_PART: usize = 255;
/// Longest extension that is kept when a part is shortened or numbered.
const MAX_EXTENSION: usize = 32;
/// Room for a number in a part: ` (4294967295)`.
const NUMBER: usize = 13;
/// What a name becomes when nothing of it can stay.
const NAMELESS: &str = "_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// All names of an archive while it is being built: [`Names::place`] finds the place for a name, and
/// [`Names::commit`] takes it.
#[derive(Debug)]
pub(crate) struct Names {
    /// All committed names, one after the other.
    all: String,
    table: Table,
    /// Random keys, so that nobody can make names collide. They decide about speed, never about names.
    keys: RandomState,
    /// For names that were taken: the next number to try. Without it, 40,000 files of one name would take
    /// minutes (zip_tricks PR #14). The key is a hash, to be of one size.
    next: HashMap<[u8; 16], u64>,
    /// For folders in the way of a file: the whole path, and what its last part is called instead.
    moved: HashMap<String, String>,
    /// The folder of the last name: most names are in the same as the one before.
    parent: Parent,
    found: Found,
    /// Kept for its memory only.
    wished: String,
}

/// A folder as it was asked for, as it is in the archive, and the hasher as it is after its parts.
#[derive(Debug)]
struct Parent {
    wished: String,
    placed: String,
    hasher: DefaultHasher,
}

/// The place that was found for a name.
#[derive(Debug)]
struct Found {
    placed: String,
    hash: u64,
    kind: Kind,
    /// Folders that come into being with it: each one's length as a part of `placed`, and its hash.
    parents: Vec<(u16, u64)>,
    /// Not committed, so that [`Names::parent`] may be a folder that is not in the table.
    open: bool,
}

/// What has become of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has a place, and waits for [`Names::commit`].
    Free,
    /// The folder has an entry already; its name begins here in all names.
    Known(u32),
}

impl Names {
    pub(crate) fn with_capacity(entries: usize, bytes: usize) -> Names {
        let keys = RandomState::new();
        Names {
            all: String::with_capacity(bytes),
            table: Table::with_capacity(entries),
            next: HashMap::new(),
            moved: HashMap::new(),
            parent: Parent::root(&keys),
            keys,
            found: Found {
                placed: String::new(),
                hash: 0,
                kind: Kind::File,
                parents: Vec::new(),
                open: false,
            },
            wished: String::new(),
        }
    }

    /// Finds the safe and unique name for `name`; [`Names::placed`] tells it.
    pub(crate) fn place(&mut self, name: &str, kind: Kind) -> Result<Place, LayoutError> {
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
        if place == Place::Free && u32::try_from(self.placed_end()).is_err() {
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
        let Names { all, table, keys, found, .. } = self;
        // `place` has checked that all names end within 32 bits, and this one within 16.
        let start = all.len() as u32;
        let len = found.placed.trim_end_matches('/').len() as u16;
        all.push_str(&found.placed);
        for (len, hash) in found.parents.drain(..) {
            table.put(hash, Taken { start, len, by: By::Parent }, all, |taken| hash_of(keys, all, taken));
        }
        let by = if found.kind == Kind::File { By::File } else { By::Directory };
        table.put(found.hash, Taken { start, len, by }, all, |taken| hash_of(keys, all, taken));
        found.open = false;
    }

    /// All names, without what was needed to find them.
    pub(crate) fn into_all(self) -> String {
        let Names { mut all, table, .. } = self;
        drop(table);
        all.shrink_to_fit();
        all
    }

    /// `None` when the name becomes too long.
    fn place_safe(&mut self, wished: &str, kind: Kind) -> Option<Place> {
        let folder_len = match kind {
            Kind::File => wished.rfind('/').unwrap_or(0),
            Kind::Directory => wished.len(),
        };
        let folder = &wished[..folder_len];
        self.found.open = true;
        if folder != self.parent.wished {
            self.enter(folder);
        }
        self.found.kind = kind;
        self.found.placed.clone_from(&self.parent.placed);
        match kind {
            Kind::Directory => {
                self.found.hash = self.parent.hasher.finish();
                match self.find(&self.found.placed, self.found.hash) {
                    Some(Taken { by: By::Directory, start, .. }) => {
                        self.found.open = false;
                        return Some(Place::Known(start));
                    }
                    Some(_) => {}
                    // The last of the folders that come into being is this one.
                    None => drop(self.found.parents.pop()),
                }
                self.found.placed.push('/');
            }
            Kind::File => {
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
        (self.found.placed.len() <= MAX_NAME).then_some(Place::Free)
    }

    /// Makes `folder` the current one, past files that are in its way.
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
                    Some(Taken { by: By::File, .. }) => {
                        part = Cow::Owned(self.detour(&placed, base, &hasher, &part))
                    }
                    Some(_) => break after,
                    None => {
                        // Too long for 16 bits is too long for a name: nothing of it will be committed.
                        let len = u16::try_from(placed.len()).unwrap_or(u16::MAX);
                        self.found.parents.push((len, after.finish()));
                        break after;
                    }
                }
            };
        }
        self.parent = Parent { wished: folder.to_owned(), placed, hasher };
    }

    /// What to call the last part of the folder `path` (after `base` bytes), because a file has its name.
    fn detour(&mut self, path: &str, base: usize, hasher: &DefaultHasher, part: &str) -> String {
        if let Some(other) = self.moved.get(path) {
            return other.clone();
        }
        let other = self.numbered(&path[..base], hasher, (part, ""));
        self.moved.insert(path.to_owned(), other.clone());
        other
    }

    /// A part that is free in `folder`: the stem, a number, the extension.
    fn numbered(&mut self, folder: &str, hasher: &DefaultHasher, (stem, extension): (&str, &str)) -> String {
        // Shortened before the number is looked up: two long names that become one are numbered as one.
        let stem = cut(stem, MAX_PART - NUMBER - extension.len());
        let mut key = blake3::Hasher::new();
        // No safe name has a NUL in it.
        for text in [folder, "\0", stem, "\0", extension] {
            key.update(text.as_bytes());
        }
        let mut short = [0; 16];
        key.finalize_xof().fill(&mut short);

        let mut number = self.next.get(&short).copied().unwrap_or(1);
        let mut part = String::new();
        loop {
            part.clear();
            // Writing to a string cannot fail.
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

    fn find(&self, path: &str, hash: u64) -> Option<Taken> {
        self.table.get(hash, path, &self.all)
    }
}

impl Parent {
    fn root(keys: &RandomState) -> Parent {
        Parent { wished: String::new(), placed: String::new(), hasher: keys.build_hasher() }
    }
}

fn hash_of(keys: &RandomState, all: &str, taken: Taken) -> u64 {
    let parts = all[taken.range()].split('/');
    parts.fold(keys.build_hasher(), |hasher, part| with_part(&hasher, part)).finish()
}

/// Names are hashed part by part, so that a folder's hasher goes on to what is in it.
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

/// Writes the safe form of `name` to `safe`, which is empty. False when that is too long for an archive.
fn make_safe(name: &str, safe: &mut String) -> bool {
    for part in name.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        if !safe.is_empty() {
            safe.push('/');
        }
        let start = safe.len();
        if part.bytes().all(|byte| PLAIN[usize::from(byte)]) {
            safe.push_str(part); // nearly always, and several times faster
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

/// What Windows cannot store. The colon goes with its drives and alternate streams, the backslash because some
/// readers take it for a slash.
const fn is_special(c: char) -> bool {
    matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// The bytes of ASCII that are safe.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        plain[byte as usize] = !is_special(byte as char);
        byte += 1;
    }
    plain
};

/// `a.txt` is `a` and `.txt`, `a.tar.gz` is `a` and `.tar.gz`; `.bashrc` and `Dr. No` have no extension.
fn split_extension(part: &str) -> (&str, &str) {
    let is_extension =
        |dot: &usize| *dot > 0 && part.len() - dot <= MAX_EXTENSION && !part[*dot..].contains(' ');
    let Some(dot) = part.rfind('.').filter(is_extension) else {
        return (part, "");
    };
    let pair = part[..dot].strip_suffix(".tar").map(str::len).filter(|len| *len > 0);
    part.split_at(pair.unwrap_or(dot))
}

/// The first `max` bytes at the most, in whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
