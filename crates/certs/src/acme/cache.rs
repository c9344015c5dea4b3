//! The account and the certificates on disk.
//!
//! Each authority has a folder of its own, so that a test with another one loses nothing. A file is
//! written under a temporary name and renamed, so it is complete or absent. Key and certificate are
//! one file, so they always match.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;

const ACCOUNT: &str = "account.json";

/// The folder of one authority, with mode 0700; its files have mode 0600.
#[derive(Clone, Debug)]
pub(super) struct AcmeCache {
    folder: PathBuf,
}

/// An account, and the contacts that the authority has for it.
#[derive(Deserialize, Serialize)]
pub(super) struct StoredAccount {
    pub(super) contacts: Vec<String>,
    pub(super) credentials: AccountCredentials,
}

impl AcmeCache {
    /// Creates the authority's folder in `parent` if it does not exist.
    pub(super) fn open(parent: &Path, directory: &str) -> io::Result<AcmeCache> {
        let host = directory
            .strip_prefix("https://")
            .unwrap_or(directory)
            .split(['/', ':'])
            .next()
            .unwrap_or_default();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        let hash = blake3::hash(directory.as_bytes()).to_hex();
        let folder = parent.join(format!("{host}-{}", &hash[..8]));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(AcmeCache { folder })
    }

    pub(super) fn account(&self) -> io::Result<Option<StoredAccount>> {
        let Some(text) = self.read(ACCOUNT)? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&text)?))
    }

    pub(super) fn store_account(&self, account: &StoredAccount) -> io::Result<()> {
        self.write(ACCOUNT, &serde_json::to_vec_pretty(account)?)
    }

    /// For an account that the authority no longer knows.
    pub(super) fn remove_account(&self) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(ACCOUNT))
    }

    pub(super) fn certificate(&self, domain: &str) -> io::Result<Option<Certificate>> {
        let Some(text) = self.read(&file_name(domain))? else { return Ok(None) };
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}"));
        Certificate::from_pem(&text, &text).map(Some).map_err(invalid)
    }

    pub(super) fn store_certificate(&self, domain: &str, key: &str, chain: &str) -> io::Result<()> {
        self.write(&file_name(domain), format!("{key}{chain}").as_bytes())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!(".{name}.{}", std::process::id()));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

fn file_name(domain: &str) -> String {
    format!("{domain}.pem")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn each_authority_has_a_folder_that_nobody_else_can_read() {
        let above = TempDir::new().unwrap();
        let one = AcmeCache::open(&above.path().join("acme"), "https://ca.test/directory").unwrap();
        let other =
            AcmeCache::open(&above.path().join("acme"), "https://ca.test/other/../../directory").unwrap();
        assert_ne!(one.folder, other.folder);
        assert_eq!(one.folder.parent(), other.folder.parent());
        assert!(one.folder.file_name().unwrap().to_str().unwrap().starts_with("ca.test-"));
        let mode = std::fs::metadata(&one.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_for_nobody_else_to_read() {
        let above = TempDir::new().unwrap();
        let cache = AcmeCache::open(above.path(), "https://ca.test/directory").unwrap();
        assert!(cache.certificate("a.test").unwrap().is_none());
        let key = KeyPair::generate().unwrap();
        let chain = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        cache.store_certificate("a.test", &key.serialize_pem(), &chain.pem()).unwrap();
        let kept = cache.certificate("a.test").unwrap().unwrap();
        assert_eq!(kept.key.end_entity_cert().unwrap(), chain.der());
        let files: Vec<_> = std::fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(files[0].path(), "cut off").unwrap();
        assert!(cache.certificate("a.test").is_err());
    }
}
