//! Certificates from PEM files, read again when the files change or when they are told to.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outflow_wire::rustls;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::{Certificate, Wrong};
use crate::error::{CertificateError, Trouble};

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is said that a certificate ends soon.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Before its end a certificate is said to end soon: this long, or a quarter of its whole time if that is less.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The files of a certificate with its chain, and of its private key; may be the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the server's certificate, and behind it those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: one key, PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Certificates from files. The client's wish (SNI) chooses among them; the first one is for everybody else.
#[derive(Debug)]
pub struct Files {
    pairs: Vec<Pair>,
    loaded: RwLock<Arc<[Certificate]>>,
    /// What the files looked like when they were read last. Held while they are read.
    seen: Mutex<Vec<Seen>>,
}

/// What tells that a file is another one, or has been written to. `None` for one that is not there.
type Seen = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl Files {
    /// Reads one certificate and its key.
    ///
    /// # Errors
    /// When the files cannot be read, or are of no use: which one, why, and what to do.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Files>, CertificateError> {
        Files::open_all(vec![Pair { certificate: certificate.to_owned(), key: key.to_owned() }])
    }

    /// Reads several, of which the first is the default. There has to be one at least, or all handshakes fail.
    ///
    /// # Errors
    /// As for [`Files::open`].
    pub fn open_all(pairs: Vec<Pair>) -> Result<Arc<Files>, CertificateError> {
        let seen = look(&pairs);
        let loaded = read(&pairs)?;
        for (pair, certificate) in pairs.iter().zip(&*loaded) {
            tell(pair, certificate, "certificate read");
        }
        Ok(Arc::new(Files { pairs, loaded: RwLock::new(loaded), seen: Mutex::new(seen) }))
    }

    /// Reads the files again: all new certificates take effect at once, or, if one is of no use, none does; then those from
    /// before stay, and the log says why.
    ///
    /// # Errors
    /// What the log says, too.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.read_again(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner), look(&self.pairs))
    }

    /// Looks after the files on a thread of its own, until nobody else has these certificates any more: reads them again a few
    /// seconds after they changed, and warns of those that end soon.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn watch(self: &Arc<Files>) -> io::Result<()> {
        let files = Arc::downgrade(self);
        std::thread::Builder::new().name("certificates".to_owned()).spawn(move || watch(&files)).map(drop)
    }

    fn read_again(&self, seen: &mut Vec<Seen>, now: Vec<Seen>) -> Result<(), CertificateError> {
        // Whatever changes while they are read has changed since this look.
        *seen = now;
        let loaded = read(&self.pairs).inspect_err(|error| {
            tracing::error!(%error, "the certificates on the disk cannot be used: those from before stay in use");
        })?;
        for (pair, certificate) in self.pairs.iter().zip(&*loaded) {
            tell(pair, certificate, "certificate read again");
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    fn reload_if_changed(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look(&self.pairs);
        if now != *seen {
            // The log knows.
            let _ = self.read_again(&mut seen, now);
        }
    }

    fn loaded(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate for `host`, or else the first one.
    pub(crate) fn choose(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.loaded();
        let fits = || {
            let host = ServerName::try_from(host?).ok()?;
            loaded.iter().find(|certificate| certificate.is_for(&host))
        };
        let chosen = if loaded.len() > 1 { fits() } else { None };
        chosen.or(loaded.first()).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

fn watch(files: &Weak<Files>) {
    let mut reminded = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        let Some(files) = files.upgrade() else { return };
        files.reload_if_changed();
        if reminded.elapsed() >= REMIND {
            reminded = Instant::now();
            for (pair, certificate) in files.pairs.iter().zip(&*files.loaded()) {
                remind(pair, certificate);
            }
        }
    }
}

fn look(pairs: &[Pair]) -> Vec<Seen> {
    let paths = pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    let seen = paths.map(|path| {
        let now = std::fs::metadata(path).ok()?;
        Some((now.dev(), now.ino(), now.size(), now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()))
    });
    seen.collect()
}

fn read(pairs: &[Pair]) -> Result<Arc<[Certificate]>, CertificateError> {
    pairs.iter().map(read_pair).collect()
}

fn read_pair(pair: &Pair) -> Result<Certificate, CertificateError> {
    let (chain, key) = (read_file(&pair.certificate)?, read_file(&pair.key)?);
    let certificate = Certificate::from_pem(&chain, &key).map_err(|wrong| match wrong {
        Wrong::Chain(trouble) => trouble.with(&pair.certificate),
        Wrong::Key(trouble) => trouble.with(&pair.key),
        Wrong::Pair => Trouble::OtherKey { certificate: pair.certificate.clone() }.with(&pair.key),
    })?;
    if certificate.not_after <= Timestamp::now() {
        return Err(Trouble::Expired { since: certificate.not_after }.with(&pair.certificate));
    }
    Ok(certificate)
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error| Trouble::Unreadable(error).with(path);
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Trouble::TooLarge.with(path));
    }
    Ok(bytes)
}

/// Says which certificate is in use from now on.
fn tell(pair: &Pair, certificate: &Certificate, what: &'static str) {
    tracing::info!(path = %pair.certificate.display(), until = %certificate.not_after, "{what}");
    remind(pair, certificate);
}

/// Warns if it is not, or soon not any more, good.
fn remind(pair: &Pair, certificate: &Certificate) {
    let path = pair.certificate.display();
    let (from, until, now) = (certificate.not_before, certificate.not_after, Timestamp::now());
    if until <= now {
        tracing::error!(%path, %until, "the certificate has expired: have it renewed; clients refuse it");
    } else if from > now {
        tracing::warn!(%path, %from, "the certificate is not valid yet: clients refuse it until then; check the clock");
    } else if now.duration_until(until).unsigned_abs() < ends_soon(from, until) {
        tracing::warn!(%path, %until, "the certificate ends soon: have it renewed");
    }
}

fn ends_soon(from: Timestamp, until: Timestamp) -> Duration {
    SOON.min(from.duration_until(until).unsigned_abs() / 4)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir, name: &str, expired: bool) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2001, 2, 3);
            params.not_before = date_time_ymd(2001, 2, 2);
        }
        let pair = Pair {
            certificate: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn shown(files: &Files, host: Option<&str>) -> Vec<u8> {
        files.choose(host).unwrap().end_entity_cert().unwrap().to_vec()
    }

    #[test]
    fn the_name_chooses_and_the_first_is_for_everybody_else() {
        let folder = TempDir::new().unwrap();
        let files =
            Files::open_all(vec![write(&folder, "a.test", false), write(&folder, "b.test", false)]).unwrap();
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
        let files = Files::open(&pair.certificate, &pair.key).unwrap();
        let first = shown(&files, None);
        write(&folder, "a.test", false);
        assert_eq!(shown(&files, None), first);
        files.reload().unwrap();
        let second = shown(&files, None);
        assert_ne!(first, second);
        // The new certificate is there, its key is not yet.
        std::fs::write(
            &pair.certificate,
            std::fs::read(write(&folder, "b.test", false).certificate).unwrap(),
        )
        .unwrap();
        assert!(matches!(files.reload().unwrap_err().trouble, Trouble::OtherKey { .. }));
        assert_eq!(shown(&files, None), second);
        std::fs::copy(folder.path().join("b.test.key"), &pair.key).unwrap();
        files.reload_if_changed();
        assert_ne!(shown(&files, None), second);
        write(&folder, "a.test", true);
        assert!(matches!(files.reload().unwrap_err().trouble, Trouble::Expired { .. }));
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let folder = TempDir::new().unwrap();
        let pair = write(&folder, "a.test", false);
        let files = Files::open(&pair.certificate, &pair.key).unwrap();
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
            (&good.certificate, &good.certificate, "a.test.pem", "-----BEGIN PRIVATE KEY-----"),
            (&good.key, &good.key, "a.test.key", "-----BEGIN CERTIFICATE-----"),
            (&good.certificate, &other.key, "b.test.key", "a.test.pem: name the two that belong together"),
            (
                &expired.certificate,
                &expired.key,
                "old.test.pem",
                "expired at 2001-02-03T00:00:00Z: have it renewed",
            ),
        ] {
            let error = Files::open(certificate, key).unwrap_err().to_string();
            let path = folder.path().join(name);
            assert!(
                error.starts_with(&path.display().to_string().trim_end_matches('/').to_owned()),
                "{error}"
            );
            assert!(error.ends_with(advice), "{error}: no {advice}");
        }
    }

    #[test]
    fn the_end_is_soon_two_weeks_or_a_quarter_of_the_time_before() {
        let stamp = |text: &str| text.parse::<Timestamp>().unwrap();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(ends_soon(stamp("2026-01-01T00:00:00Z"), stamp("2027-01-01T00:00:00Z")), days(14));
        assert_eq!(ends_soon(stamp("2026-01-01T00:00:00Z"), stamp("2026-01-05T00:00:00Z")), days(1));
    }
}
