//! Folders of files to serve.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// A folder named `tree`, with a place beside it for files that must never be served.
pub struct FileTree {
    dir: TempDir,
}

/// Files by their path below a folder; folders end in a slash and are there only if they are empty.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Default for FileTree {
    fn default() -> FileTree {
        FileTree::new()
    }
}

impl FileTree {
    /// An empty folder.
    #[must_use]
    pub fn new() -> FileTree {
        let dir = TempDir::new().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        FileTree { dir }
    }

    /// The served folder.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// A path below the served folder.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    /// A path beside the served folder.
    pub fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file, and the folders above it.
    pub fn file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Makes a folder, and those above it.
    pub fn folder(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Makes a symbolic link at `path` to `target`.
    pub fn link(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.at(path)).unwrap();
    }

    /// Makes a sparse file of `len` bytes, with `end` as its last bytes.
    pub fn sparse(&self, path: impl AsRef<Path>, len: u64, end: &[u8]) {
        let file = File::create(self.at(path)).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(end, len - end.len() as u64).unwrap();
    }

    /// Sets the modified time, in seconds since 1970.
    pub fn modified(&self, path: impl AsRef<Path>, seconds: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(self.at(path)).unwrap().set_modified(time).unwrap();
    }

    /// Sets the permissions.
    pub fn mode(&self, path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    /// Reads all files below a folder.
    #[must_use]
    pub fn read(folder: &Path) -> Files {
        let mut files = Files::new();
        collect(folder, String::new(), &mut files);
        files
    }

    /// The modified time of a path, in seconds since 1970.
    #[must_use]
    pub fn mtime(path: &Path) -> u64 {
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
