//! Certificates from an authority that gives them to whoever proves a domain (ACME, RFC 8555), and their renewal.
//!
//! ```text
//! order      one order: proof, key, certificate
//! schedule   when one is renewed, and when a failure is followed by another try
//! cache      the account and the certificates on the disk
//! http       the way to the authority
//! ```
//!
//! Each domain has a certificate of its own, so that one that cannot be proven takes none of the others with it. All happens on
//! one thread with a runtime of its own: handshakes only read what is there.

mod cache;
mod http;
mod order;
mod schedule;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use instant_acme::{Account, NewAccount};
use jiff::Timestamp;
use outflow_wire::{ACME_TLS, rustls};
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, Semaphore, oneshot};

use crate::certificate::Certificate;
use cache::Cache;
use http::Http;
use order::{Obtained, OrderError, obtain};
use schedule::Chance;

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// More domains than this are for a proxy in front.
const MAX_DOMAINS: usize = 100;

/// Orders under way at the same time.
const AT_ONCE: usize = 4;

/// An order takes no longer.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Seconds between two lines of the log that a domain has no certificate yet.
const REMIND: i64 = 60;

/// What is asked of which authority.
#[derive(Clone, Debug)]
pub struct AcmeOptions {
    /// The names that certificates are for.
    pub domains: Vec<String>,
    /// Mail addresses that the authority may write to.
    pub contacts: Vec<String>,
    /// URL of the authority's directory.
    pub directory: String,
    /// The folder where account and certificates are kept.
    pub cache: PathBuf,
    /// PEM file of further roots that the authority's own TLS may be vouched for by.
    pub root: Option<PathBuf>,
}

/// Why certificates cannot even be asked for.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// Nothing that a certificate could be proven for.
    #[error(
        "{0:?} is no name of a host that a certificate can be had for: write one like files.example.com; wildcards and addresses cannot be proven this way"
    )]
    Domain(String),
    /// Too many names.
    #[error("{0} domains are too many: {MAX_DOMAINS} are the most")]
    TooMany(usize),
    /// Not a mail address.
    #[error("{0:?} is no mail address")]
    Contact(String),
    /// Not an HTTPS URL.
    #[error("{0:?} is no directory of an authority: its URL begins with https://")]
    Directory(String),
    /// The folder is of no use.
    #[error("certificates cannot be kept in {} ({error}): name another folder, which this user may write to", .folder.display())]
    Cache {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The further roots are of no use.
    #[error("{}: {why}: name a PEM file of the root certificate", .path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no root certificates.
    #[error(
        "TLS cannot be set up: no root certificates were found; install ca-certificates, or name a file of them with SSL_CERT_FILE"
    )]
    NoRoots,
    /// The thread or its runtime.
    #[error("no thread to ask for certificates: {0}")]
    Thread(io::Error),
}

/// Certificates from an authority, renewed as long as this is held.
pub struct Acme {
    shared: Arc<Shared>,
    /// Ends the thread when it is dropped.
    _stop: oneshot::Sender<()>,
}

struct Shared {
    domains: BTreeMap<String, Domain>,
    contacts: Vec<String>,
    directory: String,
    cache: Cache,
    http: Http,
    account: Mutex<Option<Account>>,
    orders: Semaphore,
}

/// What handshakes for a domain show.
#[derive(Default)]
struct Domain {
    certificate: RwLock<Option<Arc<Certificate>>>,
    /// While the authority looks.
    challenge: RwLock<Option<Arc<CertifiedKey>>>,
    /// When it was last said that there is no certificate, in seconds since 1970.
    reminded: AtomicI64,
}

impl Acme {
    /// Reads what is kept, and asks for what is missing on a thread of its own, from now on until this is dropped. Returns
    /// before that: what is kept can be shown at once.
    ///
    /// # Errors
    /// When something makes no sense, or the folder cannot be used. What the authority says is logged.
    pub fn start(options: AcmeOptions) -> Result<Arc<Acme>, AcmeError> {
        let domains = options.domains.iter().map(|name| domain(name)).collect::<Result<Vec<_>, _>>()?;
        if domains.len() > MAX_DOMAINS {
            return Err(AcmeError::TooMany(domains.len()));
        }
        let contacts = options.contacts.iter().map(|contact| mail(contact)).collect::<Result<Vec<_>, _>>()?;
        let is_url = options.directory.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !is_url || options.directory.parse::<::http::Uri>().is_err() {
            return Err(AcmeError::Directory(options.directory));
        }
        let http = Http::new(options.root.as_deref())?;
        let cache = Cache::open(&options.cache, &options.directory);
        let cache = cache.map_err(|error| AcmeError::Cache { folder: options.cache, error })?;
        let domains = domains.into_iter().map(|name| {
            let kept = Domain::kept(&name, &cache);
            (name, kept)
        });
        let shared = Arc::new(Shared {
            domains: domains.collect(),
            contacts,
            directory: options.directory,
            cache,
            http,
            account: Mutex::default(),
            orders: Semaphore::new(AT_ONCE),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AcmeError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let all = Arc::clone(&shared);
        let work = move || {
            runtime.block_on(async {
                for name in all.domains.keys() {
                    tokio::spawn(keep(Arc::clone(&all), name.clone()));
                }
                let _ = stopped.await;
            });
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("acme".to_owned()).spawn(work).map_err(AcmeError::Thread)?;
        Ok(Arc::new(Acme { shared, _stop: stop }))
    }

    /// Whether `host` is one of the domains.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.shared.domains.contains_key(host)
    }

    fn challenge(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let shown =
            self.shared.domains.get(host?)?.challenge.read().unwrap_or_else(PoisonError::into_inner).clone();
        if shown.is_none() {
            tracing::debug!(host, "somebody looks for the proof of a domain, and none is asked for");
        }
        shown
    }
}

impl ResolvesServerCert for Acme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&hello) {
            return self.challenge(hello.server_name());
        }
        let domains = &self.shared.domains;
        let asked = hello.server_name().and_then(|host| domains.get_key_value(host));
        // Whoever names nobody, or somebody else, gets what there is.
        let (name, domain) =
            asked.or_else(|| domains.iter().find(|(_, domain)| domain.has())).or(domains.iter().next())?;
        domain.show(name)
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("domains", &self.shared.domains.keys()).finish_non_exhaustive()
    }
}

/// Whether an authority looks, which offers this protocol alone (RFC 8737, section 3).
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS]))
}

impl Domain {
    fn kept(name: &str, cache: &Cache) -> Domain {
        let kept = cache.certificate(name).unwrap_or_else(|error| {
            tracing::warn!(domain = name, %error, "the certificate that was kept cannot be read: asking for another one");
            None
        });
        if let Some(certificate) = &kept {
            let until = certificate.not_after;
            if until <= Timestamp::now() {
                tracing::warn!(domain = name, %until, "the certificate that was kept has expired");
            } else {
                tracing::info!(domain = name, %until, "certificate read");
            }
        }
        Domain { certificate: RwLock::new(kept.map(Arc::new)), ..Domain::default() }
    }

    fn current(&self) -> Option<Arc<Certificate>> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has(&self) -> bool {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn show(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let current = self.current();
        if current.is_none() {
            // Anybody can make such handshakes, as many as they like.
            let now = Timestamp::now().as_second();
            let last = self.reminded.load(Ordering::Relaxed);
            let is_turn = now - last >= REMIND
                && self.reminded.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if is_turn {
                tracing::warn!(domain = name, "a handshake failed: there is no certificate yet");
            }
        }
        current.map(|certificate| Arc::clone(&certificate.key))
    }

    fn set_challenge(&self, shown: Option<Arc<CertifiedKey>>) {
        *self.challenge.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// Sees to it that a domain has a certificate, for ever.
async fn keep(shared: Arc<Shared>, name: String) {
    let Some(domain) = shared.domains.get(&name) else { return };
    let mut failures = 0;
    loop {
        if let Some(current) = domain.current() {
            sleep_until(schedule::renewal(current.not_before, current.not_after, Chance::draw())).await;
        }
        match renew(&shared, domain, &name).await {
            Ok(()) => {
                failures = 0;
                tokio::time::sleep(schedule::LEAST).await;
            }
            Err(error) => {
                failures += 1;
                let pause = schedule::pause(failures, error.kind(), shared.http.asked(), Chance::draw());
                let (again, has) = (pause.as_secs(), domain.has());
                tracing::warn!(domain = name, %error, again_in_seconds = again, has_certificate = has, "no certificate was got");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn sleep_until(time: Timestamp) {
    loop {
        let left = Timestamp::now().duration_until(time);
        if !left.is_positive() {
            return;
        }
        tokio::time::sleep(left.unsigned_abs().min(schedule::NAP)).await;
    }
}

async fn renew(shared: &Shared, domain: &Domain, name: &str) -> Result<(), OrderError> {
    // The semaphore is never closed.
    let _turn = shared.orders.acquire().await;
    let ordered = tokio::time::timeout(LIMIT, shared.order(domain, name)).await;
    domain.set_challenge(None);
    let Obtained { key, chain } = ordered.unwrap_or(Err(OrderError::Late))?;
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes())
        .map_err(|wrong| OrderError::Useless(format!("{wrong:?}")))?;
    let host = ServerName::try_from(name).map_err(|error| OrderError::Useless(error.to_string()))?;
    if !certificate.is_for(&host) {
        return Err(OrderError::Useless("it is for other names".to_owned()));
    }
    if let Err(error) = shared.cache.keep_certificate(name, &key, &chain) {
        tracing::error!(domain = name, %error, "the new certificate could not be kept: after a restart another one will be asked for");
    }
    tracing::info!(domain = name, until = %certificate.not_after, "certificate issued");
    *domain.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certificate));
    Ok(())
}

impl Shared {
    async fn order(&self, domain: &Domain, name: &str) -> Result<Obtained, OrderError> {
        let account = self.account().await?;
        let show = |shown| domain.set_challenge(Some(shown));
        match obtain(&account, name, show).await {
            Err(OrderError::AccountGone) => {
                tracing::warn!("the authority does not know the account any more: making another one");
                self.forget(&account).await;
                obtain(&self.account().await?, name, show).await
            }
            obtained => obtained,
        }
    }

    /// The account: the one in use, the one that was kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let mut current = self.account.lock().await;
        if let Some(account) = &*current {
            return Ok(account.clone());
        }
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
        let kept = self.cache.account().unwrap_or_else(|error| {
            tracing::warn!(%error, "the account that was kept cannot be read: making another one");
            None
        });
        let account = if let Some(kept) = kept {
            let account = builder.from_credentials(kept.credentials).await?;
            if kept.contacts != self.contacts {
                self.tell_contacts(&account, &contacts).await;
            }
            account
        } else {
            let new =
                NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
            self.keep_account(credentials);
            tracing::info!(directory = self.directory, "account made");
            account
        };
        *current = Some(account.clone());
        Ok(account)
    }

    /// An account is good without; so this can fail.
    async fn tell_contacts(&self, account: &Account, contacts: &[&str]) {
        match account.update_contacts(contacts).await {
            Ok(()) => {
                if let Ok(Some(kept)) = self.cache.account() {
                    self.keep_account(kept.credentials);
                }
            }
            Err(error) => tracing::warn!(%error, "the authority was not told of the new contacts"),
        }
    }

    fn keep_account(&self, credentials: instant_acme::AccountCredentials) {
        let account = cache::Account { contacts: self.contacts.clone(), credentials };
        if let Err(error) = self.cache.keep_account(&account) {
            tracing::error!(%error, "the account could not be kept: after a restart another one will be made");
        }
    }

    /// Lets go of an account, if nobody else has done so.
    async fn forget(&self, gone: &Account) {
        let mut current = self.account.lock().await;
        if current.as_ref().is_some_and(|account| account.id() == gone.id()) {
            *current = None;
            if let Err(error) = self.cache.drop_account() {
                tracing::warn!(%error, "the account that is gone could not be removed");
            }
        }
    }
}

/// A name as it is compared and asked for.
fn domain(text: &str) -> Result<String, AcmeError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let wrong = || AcmeError::Domain(text.to_owned());
    let parsed = DnsName::try_from(name.as_str()).map_err(|_| wrong())?;
    let is_address =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_address || parsed.as_ref().contains(['*', '_']) { Err(wrong()) } else { Ok(name) }
}

fn mail(text: &str) -> Result<String, AcmeError> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_mail = address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !address.contains(|c: char| c.is_whitespace() || c.is_control() || ",?<>".contains(c));
    if is_mail { Ok(format!("mailto:{address}")) } else { Err(AcmeError::Contact(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn options(folder: &TempDir) -> AcmeOptions {
        AcmeOptions {
            domains: vec!["a.test".to_owned()],
            contacts: vec!["anna@a.test".to_owned()],
            directory: "https://127.0.0.1:1/directory".to_owned(),
            cache: folder.path().join("acme"),
            root: None,
        }
    }

    #[test]
    fn domains_are_names_that_can_be_proven() {
        for (text, name) in [
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ] {
            assert_eq!(domain(text).unwrap(), name);
        }
        for wrong in [
            "",
            ".",
            "*.a.test",
            "127.0.0.1",
            "::1",
            "a..test",
            "bücher.test",
            "a.test/x",
            "../x",
            "a test",
            "a_b.test",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn contacts_are_mail_addresses() {
        assert_eq!(mail("anna@a.test").unwrap(), "mailto:anna@a.test");
        assert_eq!(mail("mailto:anna@a.test").unwrap(), "mailto:anna@a.test");
        for wrong in ["", "anna", "@a.test", "anna@", "anna @a.test", "a@b,c@d", "tel:+1"] {
            assert!(mail(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_at_once() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "no certificate").unwrap();
        type Change = Box<dyn Fn(&mut AcmeOptions)>;
        let wrong: [(Change, &str); 8] = [
            (Box::new(|o| o.domains = vec!["*.a.test".to_owned()]), "wildcards"),
            (Box::new(|o| o.domains = (0..101).map(|n| format!("n{n}.test")).collect()), "too many"),
            (Box::new(|o| o.contacts = vec!["anna".to_owned()]), "mail address"),
            (Box::new(|o| o.directory = "http://127.0.0.1/".to_owned()), "https://"),
            (Box::new(|o| o.directory = "https://a b/".to_owned()), "https://"),
            (
                Box::new({
                    let file = file.clone();
                    move |o| o.cache = file.join("x")
                }),
                "another folder",
            ),
            (
                Box::new({
                    let file = file.clone();
                    move |o| o.root = Some(file.clone())
                }),
                "PEM file",
            ),
            (
                Box::new({
                    let none = folder.path().join("none");
                    move |o| o.root = Some(none.clone())
                }),
                "none",
            ),
        ];
        for (change, part) in wrong {
            let mut options = options(&folder);
            change(&mut options);
            let error = Acme::start(options).unwrap_err().to_string();
            assert!(error.contains(part), "{error}: no {part}");
        }
    }
}
