//! Certificates from PEM files, reloaded when the files change or on request.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outflow_wire::rustls;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::{Certificate, CertificatePemError};
use crate::error::{CertificateDefect, CertificateError};

/// Size of a certificate file or key file, in bytes.
///
/// Bound: TLS and certificates.
const MAX_FILE: u64 = 1 << 20;

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How often the log warns of a certificate that expires soon.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate expires soon when less than this is left, or less than a quarter of its lifetime
/// if that is shorter.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The files of a certificate with its chain and of its private key. Both may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// PEM: the server's certificate, followed by the intermediate certificates.
    pub certificate: PathBuf,
    /// PEM: one private key in PKCS #8, PKCS #1 or SEC 1 form.
    pub key: PathBuf,
}

/// Certificates from files. The server name that a client sends (SNI) selects one of them; the
/// first is the default.
#[derive(Debug)]
pub struct CertificateFiles {
    pairs: Vec<CertificatePaths>,
    loaded: RwLock<Arc<[Certificate]>>,
    /// The files' metadata when they were last read. Locked while they are read.
    stamps: Mutex<Vec<FileStamp>>,
}

/// Device, inode, size, mtime and ctime, which differ when a file is replaced or written to. `None`
/// for a missing file.
type FileStamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl CertificateFiles {
    /// Reads one certificate and its key.
    ///
    /// # Errors
    /// When a file cannot be read or used: which one, why, and what to do.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<CertificateFiles>, CertificateError> {
        CertificateFiles::open_all(vec![CertificatePaths {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }])
    }

    /// Reads several certificates, of which the first is the default. Without any, every handshake
    /// fails.
    ///
    /// # Errors
    /// As for [`CertificateFiles::open`].
    pub fn open_all(pairs: Vec<CertificatePaths>) -> Result<Arc<CertificateFiles>, CertificateError> {
        let stamps = stat_all(&pairs);
        let loaded = read_all(&pairs)?;
        for (pair, certificate) in pairs.iter().zip(&*loaded) {
            log_loaded(pair, certificate, "certificate loaded");
        }
        Ok(Arc::new(CertificateFiles { pairs, loaded: RwLock::new(loaded), stamps: Mutex::new(stamps) }))
    }

    /// Reads the files again. The new certificates take effect together; if one of them cannot be
    /// used, the old ones stay in use and the log says why.
    ///
    /// # Errors
    /// What the log says, too.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.read_again(&mut self.stamps.lock(), stat_all(&self.pairs))
    }

    /// Watches the files on a thread of its own until the last other reference is dropped: reloads
    /// them within a few seconds of a change, and warns of certificates that expire soon.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn watch(self: &Arc<CertificateFiles>) -> io::Result<()> {
        let files = Arc::downgrade(self);
        std::thread::Builder::new().name("certificates".to_owned()).spawn(move || watch(&files)).map(drop)
    }

    fn read_again(&self, stamps: &mut Vec<FileStamp>, now: Vec<FileStamp>) -> Result<(), CertificateError> {
        // Taken before the files are read: a change in between is noticed by the next check.
        *stamps = now;
        let loaded = read_all(&self.pairs).inspect_err(|error| {
            tracing::error!(%error, "cannot load the new certificates; the old ones stay in use");
        })?;
        *self.loaded.write() = Arc::clone(&loaded);
        // The line promises it.
        for (pair, certificate) in self.pairs.iter().zip(&*loaded) {
            log_loaded(pair, certificate, "certificate reloaded");
        }
        Ok(())
    }

    fn reload_if_changed(&self) {
        let mut stamps = self.stamps.lock();
        let now = stat_all(&self.pairs);
        if now != *stamps {
            // `read_again` has logged the error.
            let _ = self.read_again(&mut stamps, now);
        }
    }

    fn loaded(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.loaded.read())
    }

    /// The certificate for `host`, or else the first one.
    fn choose(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.loaded();
        let matching = || {
            let host = ServerName::try_from(host?).ok()?;
            loaded.iter().find(|certificate| certificate.names(&host))
        };
        let chosen = if loaded.len() > 1 { matching() } else { None };
        chosen.or(loaded.first()).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl ResolvesServerCert for CertificateFiles {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

fn watch(files: &Weak<CertificateFiles>) {
    let mut warned = Instant::now();
    loop {
        std::thread::sleep(CHECK_INTERVAL);
        let Some(files) = files.upgrade() else { return };
        files.reload_if_changed();
        if warned.elapsed() >= WARN_INTERVAL {
            warned = Instant::now();
            for (pair, certificate) in files.pairs.iter().zip(&*files.loaded()) {
                warn_of_expiry(pair, certificate);
            }
        }
    }
}

fn stat_all(pairs: &[CertificatePaths]) -> Vec<FileStamp> {
    let paths = pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    let stamps = paths.map(|path| {
        let now = std::fs::metadata(path).ok()?;
        Some((now.dev(), now.ino(), now.size(), now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()))
    });
    stamps.collect()
}

fn read_all(pairs: &[CertificatePaths]) -> Result<Arc<[Certificate]>, CertificateError> {
    pairs.iter().map(read_pair).collect()
}

fn read_pair(pair: &CertificatePaths) -> Result<Certificate, CertificateError> {
    let (chain, key) = (read_file(&pair.certificate)?, read_file(&pair.key)?);
    let certificate = Certificate::from_pem(&chain, &key).map_err(|error| match error {
        CertificatePemError::Chain(defect) => defect.in_file(&pair.certificate),
        CertificatePemError::Key(defect) => defect.in_file(&pair.key),
        CertificatePemError::Mismatch => {
            CertificateDefect::Mismatch { certificate: pair.certificate.clone() }.in_file(&pair.key)
        }
    })?;
    if certificate.not_after <= Timestamp::now() {
        return Err(CertificateDefect::Expired { since: certificate.not_after }.in_file(&pair.certificate));
    }
    Ok(certificate)
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error| CertificateDefect::Unreadable(error).in_file(path);
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CertificateDefect::TooLarge.in_file(path));
    }
    Ok(bytes)
}

fn log_loaded(pair: &CertificatePaths, certificate: &Certificate, message: &'static str) {
    tracing::info!(path = %pair.certificate.display(), until = %certificate.not_after, "{message}");
    warn_of_expiry(pair, certificate);
}

/// Warns of a certificate that is not valid now, or will expire soon.
fn warn_of_expiry(pair: &CertificatePaths, certificate: &Certificate) {
    let path = pair.certificate.display();
    let (from, until, now) = (certificate.not_before, certificate.not_after, Timestamp::now());
    if until <= now {
        tracing::error!(%path, %until, "the certificate has expired and clients reject it; renew it");
    } else if from > now {
        tracing::warn!(%path, %from, "the certificate is not valid yet and clients reject it until then; check the clock");
    } else if now.duration_until(until).unsigned_abs() < warning_period(from, until) {
        tracing::warn!(%path, %until, "the certificate expires soon; renew it");
    }
}

/// How long before its end a certificate counts as expiring soon.
fn warning_period(from: Timestamp, until: Timestamp) -> Duration {
    SOON.min(from.duration_until(until).unsigned_abs() / 4)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir, name: &str, expired: bool) -> CertificatePaths {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2001, 2, 3);
            params.not_before = date_time_ymd(2001, 2, 2);
        }
        let pair = CertificatePaths {
            certificate: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn shown(files: &CertificateFiles, host: Option<&str>) -> Vec<u8> {
        files.choose(host).unwrap().end_entity_cert().unwrap().to_vec()
    }

    #[test]
    fn the_name_chooses_and_the_first_is_for_everybody_else() {
        let folder = TempDir::new().unwrap();
        let files = CertificateFiles::open_all(vec![
            write(&folder, "a.test", false),
            write(&folder, "b.test", false),
        ])
        .unwrap();
        let (a, b) = (shown(&files, Some("a.test")), shown(&files, Some("b.test")));
        assert_ne!(a, b);
        for other in [None, Some("c.test"), Some("127.0.0.1"), Some("no name")] {
            assert_eq!(shown(&files, other), a, "{other:?}");
        }
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
        let folder = TempDir::new().unwrap();
        let pair = write(&folder, "a.test", false);
        let files = CertificateFiles::open(&pair.certificate, &pair.key).unwrap();
        let first = shown(&files, None);
        write(&folder, "a.test", false);
        assert_eq!(shown(&files, None), first);
        files.reload().unwrap();
        let second = shown(&files, None);
        assert_ne!(first, second);
        // The new certificate is in place, its key is not yet.
        std::fs::write(
            &pair.certificate,
            std::fs::read(write(&folder, "b.test", false).certificate).unwrap(),
        )
        .unwrap();
        assert!(matches!(files.reload().unwrap_err().defect, CertificateDefect::Mismatch { .. }));
        assert_eq!(shown(&files, None), second);
        std::fs::copy(folder.path().join("b.test.key"), &pair.key).unwrap();
        files.reload_if_changed();
        assert_ne!(shown(&files, None), second);
        write(&folder, "a.test", true);
        assert!(matches!(files.reload().unwrap_err().defect, CertificateDefect::Expired { .. }));
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let folder = TempDir::new().unwrap();
        let pair = write(&folder, "a.test", false);
        let files = CertificateFiles::open(&pair.certificate, &pair.key).unwrap();
        let before = files.loaded();
        files.reload_if_changed();
        assert!(Arc::ptr_eq(&before, &files.loaded()));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let folder = TempDir::new().unwrap();
        let (good, other) = (write(&folder, "a.test", false), write(&folder, "b.test", false));
        let expired = write(&folder, "old.test", true);
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b'\n'; (1 << 20) + 1]).unwrap();
        for (certificate, key, name, advice) in [
            (&folder.path().join("none"), &good.key, "none", "check the path"),
            (&folder.path().to_owned(), &good.key, "", "name a file in this folder"),
            (&large, &good.key, "large", "name a PEM file of a certificate or key"),
            (&good.certificate, &good.certificate, "a.test.pem", "expected \"-----BEGIN PRIVATE KEY-----\""),
            (&good.key, &good.key, "a.test.key", "expected \"-----BEGIN CERTIFICATE-----\""),
            (&good.certificate, &other.key, "b.test.key", "a.test.pem; name a certificate and its own key"),
            (&expired.certificate, &expired.key, "old.test.pem", "expired at 2001-02-03T00:00:00Z; renew it"),
        ] {
            let error = CertificateFiles::open(certificate, key).unwrap_err().to_string();
            let path = folder.path().join(name);
            assert!(
                error
                    .starts_with(&format!("cannot use {}", path.display().to_string().trim_end_matches('/'))),
                "{error}"
            );
            assert!(error.ends_with(advice), "{error}: no {advice}");
        }
    }

    #[test]
    fn the_end_is_soon_two_weeks_or_a_quarter_of_the_time_before() {
        let stamp = |text: &str| text.parse::<Timestamp>().unwrap();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(warning_period(stamp("2026-01-01T00:00:00Z"), stamp("2027-01-01T00:00:00Z")), days(14));
        assert_eq!(warning_period(stamp("2026-01-01T00:00:00Z"), stamp("2026-01-05T00:00:00Z")), days(1));
    }
}
