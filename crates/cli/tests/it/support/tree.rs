//! Folders with files to serve.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// A folder named `tree`, and room beside it for what must never be served.
pub(crate) struct Tree {
    dir: TempDir,
}

/// Files by their path below a folder; folders end in a slash and are there only if they are empty.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

impl Tree {
    pub(crate) fn new() -> Tree {
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Tree { dir }
    }

    /// The served folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// A path below the served folder.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    /// A path beside the served folder.
    pub(crate) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn folder(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A symbolic link at `path` that says `target`.
    pub(crate) fn link(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.at(path)).unwrap();
    }

    /// A file of `len` bytes that takes no room, with `end` as its last bytes.
    pub(crate) fn sparse(&self, path: impl AsRef<Path>, len: u64, end: &[u8]) {
        let file = File::create(self.at(path)).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(end, len - end.len() as u64).unwrap();
    }

    pub(crate) fn modified(&self, path: impl AsRef<Path>, seconds: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(self.at(path)).unwrap().set_modified(time).unwrap();
    }

    pub(crate) fn mode(&self, path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    /// A copy of a folder's files, as they are on disk.
    pub(crate) fn read(folder: &Path) -> Files {
        let mut files = Files::new();
        collect(folder, String::new(), &mut files);
        files
    }

    /// The modified time of a path in seconds.
    pub(crate) fn mtime(path: &Path) -> u64 {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }
}

fn collect(folder: &Path, prefix: String, files: &mut Files) {
    let mut names: Vec<OsString> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    if names.is_empty() && !prefix.is_empty() {
        files.insert(prefix.clone(), Vec::new());
    }
    for name in names {
        let path = folder.join(&name);
        let below = format!("{prefix}{}", name.to_str().unwrap());
        if path.is_dir() {
            collect(&path, below + "/", files);
        } else {
            files.insert(below, fs::read(path).unwrap());
        }
    }
}

/// Numbers without a pattern, the same each time (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Bytes that nothing compresses, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
