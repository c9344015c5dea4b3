//! A store with transfers in it, and requests to their server.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use outflow_catalog::{Manifest, ManifestFile, StoreOptions, open_store};
use outflow_content::UnixTime;
use outflow_server::{DownloadOptions, DownloadService};
use tempfile::TempDir;
use tower_service::Service as _;

use crate::help::{Reply, request, settings};

pub(crate) struct Shop {
    pub(crate) temp: TempDir,
    pub(crate) service: DownloadService,
}

/// Nothing is computed behind the test's back, and no manifest is used again unasked.
fn unrested() -> DownloadOptions {
    DownloadOptions { manifest_fresh: Duration::ZERO, ..settings() }
}

/// So many seconds from now, in nanoseconds since 1970.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    UnixTime::now().nanos() + seconds * 1_000_000_000
}

/// A manifest of files whose bytes are their names.
pub(crate) fn manifest(id: &str, names: &[&str]) -> Manifest {
    let file = |name: &&str| ManifestFile {
        name: (*name).to_owned(),
        key: ManifestFile::default_key(name),
        size: name.len() as u64,
        modified: Some(1_700_000_000_000_000_000),
        crc32: Some(crc32fast::hash(name.as_bytes())),
        ..ManifestFile::default()
    };
    Manifest {
        id: id.to_owned(),
        title: None,
        message: None,
        created: 1_700_000_000_000_000_000,
        expires: None,
        files: names.iter().map(file).collect(),
    }
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `status` until it is `wanted`; before that it may be `before`, and nothing else.
pub(crate) async fn await_status(before: u16, wanted: u16, mut status: impl AsyncFnMut() -> u16) {
    let begun = std::time::Instant::now();
    loop {
        let found = status().await;
        if found == wanted {
            return;
        }
        assert_eq!(found, before);
        assert!(begun.elapsed() < PATIENCE, "still {before}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Shop {
    /// Waits until HEAD of `target` is answered with `wanted` instead of `before`.
    pub(crate) async fn await_head(&self, target: &str, before: u16, wanted: u16) {
        await_status(before, wanted, async || self.head(target).await.status.as_u16()).await;
    }

    pub(crate) fn new() -> Shop {
        Shop::with(&unrested())
    }

    pub(crate) fn with(settings: &DownloadOptions) -> Shop {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("store")).unwrap();
        let address = format!("file://{}", temp.path().join("store").display());
        let store = open_store(&address, &StoreOptions::default()).unwrap();
        Shop { temp, service: DownloadService::transfers(store, settings) }
    }

    pub(crate) fn at(&self, key: &str) -> PathBuf {
        self.temp.path().join("store").join(key)
    }

    pub(crate) fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes a manifest; and its files, with their names as bytes.
    pub(crate) fn publish(&self, manifest: &Manifest) {
        for file in &manifest.files {
            self.put(&manifest.object_key(file), &file.name);
        }
        self.put(&Manifest::key_of(&manifest.id), manifest.to_json());
    }

    pub(crate) async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let request = request(method, target, headers, Bytes::new());
        Reply::of(self.service.clone().call(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[]).await
    }

    pub(crate) async fn head(&self, target: &str) -> Reply {
        self.ask("HEAD", target, &[]).await
    }

    pub(crate) async fn page(&self, target: &str) -> Reply {
        self.ask("GET", target, &[("accept", "text/html")]).await
    }

    pub(crate) async fn post(&self, target: &str, form: &str) -> Reply {
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        let request = request("POST", target, &form_type, Bytes::copy_from_slice(form.as_bytes()));
        Reply::of(self.service.clone().call(request).await.unwrap()).await
    }
}
