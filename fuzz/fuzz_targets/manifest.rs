//! Any bytes as a transfer's manifest: one that is accepted stays the same when it is written and
//! read again, and its sizes can be added up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outflow_catalog::{Manifest, RelPath};

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse(data, "t") else { return };
    let written = manifest.to_json();
    let again = Manifest::parse(&written, "t").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, manifest);
    assert_eq!(again.to_json(), written);
    assert!(i64::try_from(manifest.bytes()).is_ok());
    let mut names: Vec<&str> = manifest.files.iter().map(|file| &*file.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "names are unique");
    for file in &manifest.files {
        for path in [&file.name, &file.key] {
            assert!(RelPath::new(path.as_bytes()).is_ok_and(|path| !path.is_root()), "{path:?}");
        }
    }
});
