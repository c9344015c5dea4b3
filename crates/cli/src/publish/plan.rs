//! Which files are published, and under which names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use outflow_catalog::{
    Collection, EntryKind, ExpectedFile, Manifest, ManifestFile, RelPath, Root, RootOptions, Unreadable,
    WalkLimits, WalkScope,
};
use outflow_texts::console;

/// Maximum length of a key below a transfer, in bytes: S3 has 1,024, minus the store's prefix.
///
/// Bound: transfers.
const MAX_KEY: usize = 700;

/// A file that will be published.
pub(crate) struct PlannedFile {
    pub(crate) name: String,
    pub(crate) file: ExpectedFile,
    pub(crate) size: u64,
    pub(crate) modified: i64,
}

impl PlannedFile {
    /// Its entry in the manifest of the transfer `id`, before the upload.
    pub(crate) fn listed(&self, id: &str) -> ManifestFile {
        ManifestFile {
            name: self.name.clone(),
            key: key_of(id, &self.name),
            size: self.size,
            modified: Some(self.modified),
            ..ManifestFile::default()
        }
    }
}

/// The object's key below the transfer. A name that a store may refuse becomes a hash of the name.
fn key_of(id: &str, name: &str) -> String {
    let key = ManifestFile::default_key(name);
    // Local stores reserve '#' with digits at the end for temporary files.
    if id.len() + key.len() <= MAX_KEY && !name.contains('#') {
        return key;
    }
    format!("named/{}", &blake3::hash(name.as_bytes()).to_hex()[..32])
}

/// Lists all files of `paths`, sorted by name. Blocks.
pub(crate) fn plan(paths: &[PathBuf], hidden: bool) -> anyhow::Result<Vec<PlannedFile>> {
    let mut files = Vec::new();
    for path in paths {
        let options = RootOptions { hidden, follow_symlinks: false };
        let root = Root::new(path, options)
            .with_context(|| console!(publish_cannot_open, path = %path.display()))?;
        let is_folder = path.is_dir();
        let above = if paths.len() > 1 && is_folder { folder_name(&root, path)? } else { String::new() };
        add(&Arc::new(root), path, &above, &mut files)?;
    }
    if files.is_empty() {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!(console!(publish_no_files, paths = paths.join(", ")));
    }
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
        bail!(console!(publish_same_name, name = format!("{:?}", pair[0].name)));
    }
    Ok(files)
}

fn folder_name(root: &Root, path: &Path) -> anyhow::Result<String> {
    let name = String::from_utf8(root.name().to_vec()).ok().filter(|name| !name.is_empty());
    name.with_context(|| console!(publish_folder_name, path = %path.display()))
}

fn add(root: &Arc<Root>, path: &Path, above: &str, files: &mut Vec<PlannedFile>) -> anyhow::Result<()> {
    let limits = WalkLimits { entries: 4 * Manifest::MAX_FILES, ..WalkLimits::default() };
    let tree = Arc::clone(root)
        .walk(&RelPath::root(), &WalkScope::All, limits)
        .with_context(|| console!(publish_cannot_list, path = %path.display()))?;
    let Unreadable { count, first } = tree.unreadable();
    if *count > 0 {
        let names = first.join(", ");
        bail!(console!(publish_unreadable, count = *count, path = %path.display(), names));
    }
    tree.visit(|entry| {
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        let below = std::str::from_utf8(entry.path).map_err(|_| {
            let name = String::from_utf8_lossy(entry.path);
            anyhow::anyhow!(console!(publish_file_name, %name, path = %path.display()))
        })?;
        let name = if above.is_empty() { below.to_owned() } else { format!("{above}/{below}") };
        let Some(modified) = entry.modified else { bail!(console!(publish_no_modified_time, name)) };
        let path = tree.path(entry.index);
        let inode = tree.fingerprint(entry.index).inode_hash();
        let file = ExpectedFile::new(Arc::clone(root), path, entry.size, modified, inode);
        files.push(PlannedFile { name, file, size: entry.size, modified: modified.nanos() });
        Ok(())
    })
}
