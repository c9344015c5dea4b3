//! 96 bits that stand for something longer.

use outflow_fs::Identity;

/// 96 bits of a hash: what a file is known by in a tree and in the caches of facts about files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u32; 3]);

impl Fingerprint {
    /// The fingerprint of several texts, each with its length, so that no two lists of texts run
    /// into one.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Fingerprint::from_hash(&hasher.finalize())
    }

    /// The fingerprint of a local file: one word for its inode, two for the whole identity.
    #[must_use]
    pub fn of_file(identity: &Identity) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for word in [
            identity.dev,
            identity.ino,
            identity.size,
            identity.mtime.cast_unsigned(),
            identity.ctime.cast_unsigned(),
        ] {
            hasher.update(&word.to_le_bytes());
        }
        let [_, second, third] = Fingerprint::from_hash(&hasher.finalize()).0;
        Fingerprint([identity.inode_hash(), second, third])
    }

    /// The fingerprint of a local folder, whatever its times.
    pub(crate) fn of_folder(identity: &Identity) -> Fingerprint {
        Fingerprint::of_file(&Identity { size: 0, mtime: 0, ctime: 0, ..*identity })
    }

    /// The inode that the fingerprint of a local file was made of, as a
    /// [hash](Identity::inode_hash).
    #[must_use]
    pub fn inode_hash(self) -> u32 {
        self.0[0]
    }

    /// As bytes, to make it part of another hash.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (part, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *part = word.to_le_bytes();
        }
        bytes
    }

    fn from_hash(hash: &blake3::Hash) -> Fingerprint {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(hash.as_bytes().as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Fingerprint(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_part_of_the_fingerprint() {
        let base = Identity { dev: 1, ino: 2, size: 3, mtime: 4, ctime: 5 };
        let others = [
            Identity { dev: 9, ..base },
            Identity { ino: 9, ..base },
            Identity { size: 9, ..base },
            Identity { mtime: 9, ..base },
            Identity { ctime: 9, ..base },
        ];
        assert!(others.iter().all(|other| Fingerprint::of_file(other) != Fingerprint::of_file(&base)));
        assert_eq!(Fingerprint::of_file(&others[2]).inode_hash(), base.inode_hash());
        assert_ne!(Fingerprint::of_file(&others[1]).inode_hash(), base.inode_hash());
        assert_ne!(Fingerprint::of(&[b"ab", b"c"]), Fingerprint::of(&[b"a", b"bc"]));
    }
}
