//! What is kept on the disk: the account at the authority, and for each domain its key and its certificate.
//!
//! A folder for each authority, so that trying another one loses nothing. A file is written beside its place and moved there,
//! so it is there as a whole or not at all; key and certificate are one file, so they cannot disagree.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;

const ACCOUNT: &str = "account.json";

/// The folder of one authority.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// An account, and what the authority was told of its owner.
#[derive(Deserialize, Serialize)]
pub(super) struct Account {
    pub(super) contacts: Vec<String>,
    pub(super) credentials: AccountCredentials,
}

impl Cache {
    /// Makes the folder, if it is not there.
    pub(super) fn open(above: &Path, directory: &str) -> io::Result<Cache> {
        let host = directory
            .strip_prefix("https://")
            .unwrap_or(directory)
            .split(['/', ':'])
            .next()
            .unwrap_or_default();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        let hash = blake3::hash(directory.as_bytes()).to_hex();
        let folder = above.join(format!("{host}-{}", &hash[..8]));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Cache { folder })
    }

    pub(super) fn account(&self) -> io::Result<Option<Account>> {
        let Some(text) = self.read(ACCOUNT)? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&text)?))
    }

    pub(super) fn keep_account(&self, account: &Account) -> io::Result<()> {
        self.write(ACCOUNT, &serde_json::to_vec_pretty(account)?)
    }

    /// Forgets the account: the authority does not know it any more.
    pub(super) fn drop_account(&self) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(ACCOUNT))
    }

    pub(super) fn certificate(&self, domain: &str) -> io::Result<Option<Certificate>> {
        let Some(text) = self.read(&name_of(domain))? else { return Ok(None) };
        let wrong = |wrong| io::Error::new(io::ErrorKind::InvalidData, format!("{wrong:?}"));
        Certificate::from_pem(&text, &text).map(Some).map_err(wrong)
    }

    pub(super) fn keep_certificate(&self, domain: &str, key: &str, chain: &str) -> io::Result<()> {
        self.write(&name_of(domain), format!("{key}{chain}").as_bytes())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.folder.join(format!(".{name}.{}", std::process::id()));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&beside, self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }
}

fn name_of(domain: &str) -> String {
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
        let one = Cache::open(&above.path().join("acme"), "https://ca.test/directory").unwrap();
        let other = Cache::open(&above.path().join("acme"), "https://ca.test/other/../../directory").unwrap();
        assert_ne!(one.folder, other.folder);
        assert_eq!(one.folder.parent(), other.folder.parent());
        assert!(one.folder.file_name().unwrap().to_str().unwrap().starts_with("ca.test-"));
        let mode = std::fs::metadata(&one.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_for_nobody_else_to_read() {
        let above = TempDir::new().unwrap();
        let cache = Cache::open(above.path(), "https://ca.test/directory").unwrap();
        assert!(cache.certificate("a.test").unwrap().is_none());
        let key = KeyPair::generate().unwrap();
        let chain = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        cache.keep_certificate("a.test", &key.serialize_pem(), &chain.pem()).unwrap();
        let kept = cache.certificate("a.test").unwrap().unwrap();
        assert_eq!(kept.key.end_entity_cert().unwrap(), chain.der());
        let files: Vec<_> = std::fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(files[0].path(), "cut off").unwrap();
        assert!(cache.certificate("a.test").is_err());
    }
}
