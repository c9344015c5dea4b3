//! Keys as folders: what lies below one, and the empty objects that some tools put in the place of
//! folders.

use std::collections::HashSet;

use object_store::path::Path;

use crate::object::Object;

/// Whether `path` lies below `folder`, and is not it.
pub(crate) fn is_below(folder: &Path, path: &Path) -> bool {
    match path.as_ref().strip_prefix(folder.as_ref()) {
        Some(rest) if folder.is_root() => !rest.is_empty(),
        Some(rest) => rest.len() > 1 && rest.starts_with('/'),
        None => false,
    }
}

/// Removes empty objects that others lie below: they are markers of folders.
pub(crate) fn drop_markers(objects: &mut Vec<Object>) {
    if objects.iter().all(|object| object.size > 0) {
        return;
    }
    let mut folders = HashSet::new();
    for object in objects.iter() {
        let mut rest = object.key.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            if !folders.insert(folder) {
                break;
            }
            rest = folder;
        }
    }
    let is_marker: Vec<bool> =
        objects.iter().map(|object| object.size == 0 && folders.contains(object.key.as_str())).collect();
    let mut is_marker = is_marker.into_iter();
    objects.retain(|_| !is_marker.next().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_not_beside() {
        for (folder, path, below) in [
            ("", "a", true),
            ("", "", false),
            ("a", "a/b", true),
            ("a", "a", false),
            ("a", "ab", false),
            ("a/b", "a/c", false),
        ] {
            assert_eq!(is_below(&Path::from(folder), &Path::from(path)), below, "{folder} {path}");
        }
    }

    #[test]
    fn only_empty_objects_with_others_below_are_markers() {
        let object = |key: &str, size| Object {
            key: key.to_owned(),
            size,
            etag: None,
            version: None,
            modified: None,
            crc32: None,
        };
        let mut objects = vec![
            object("a", 0),
            object("a-b", 0),
            object("a/b", 0),
            object("a/b/c", 1),
            object("d", 5),
            object("d/e", 0),
        ];
        drop_markers(&mut objects);
        let keys: Vec<_> = objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a-b", "a/b/c", "d", "d/e"]);
    }
}
