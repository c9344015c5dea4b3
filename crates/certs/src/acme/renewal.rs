//! Obtaining and renewing the certificates of all domains, with one account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, NewAccount};
use jiff::Timestamp;
use outflow_wire::rustls::pki_types::ServerName;
use tokio::sync::{Mutex, Semaphore};

use super::cache::{AcmeCache, StoredAccount};
use super::client::AcmeClient;
use super::domain::ManagedDomain;
use super::order::{IssuedCertificate, OrderError, obtain};
use super::schedule::{self, Jitter};
use crate::certificate::Certificate;

/// Number of orders under way at the same time.
///
/// Bound: TLS and certificates.
pub(super) const MAX_ORDERS: usize = 4;

/// Duration of one order, from the account to the certificate.
///
/// Bound: TLS and certificates.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What the renewals of all domains share with the handshakes.
pub(super) struct Renewals {
    pub(super) domains: BTreeMap<String, ManagedDomain>,
    pub(super) contacts: Vec<String>,
    pub(super) directory: String,
    pub(super) cache: AcmeCache,
    pub(super) client: AcmeClient,
    pub(super) account: Mutex<Option<Account>>,
    pub(super) orders: Semaphore,
}

/// Obtains a certificate for the domain `name` and renews it. Never returns for a managed domain.
pub(super) async fn keep_renewed(renewals: Arc<Renewals>, name: String) {
    let Some(domain) = renewals.domains.get(&name) else { return };
    let mut failures = 0;
    loop {
        if let Some(current) = domain.certificate() {
            sleep_until(schedule::renewal(current.not_before, current.not_after, Jitter::random())).await;
        }
        match renewals.renew(domain, &name).await {
            Ok(()) => {
                failures = 0;
                tokio::time::sleep(schedule::MIN_INTERVAL).await;
            }
            Err(error) => {
                failures += 1;
                let retry_after = renewals.client.take_retry_after();
                let pause = schedule::pause(failures, error.failure(), retry_after, Jitter::random());
                let (retry, has) = (pause.as_secs(), domain.has_certificate());
                tracing::warn!(domain = name, %error, retry_in_seconds = retry, has_certificate = has, "could not obtain a certificate");
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
        tokio::time::sleep(left.unsigned_abs().min(schedule::MAX_SLEEP)).await;
    }
}

impl Renewals {
    async fn renew(&self, domain: &ManagedDomain, name: &str) -> Result<(), OrderError> {
        // The semaphore is never closed.
        let _permit = self.orders.acquire().await;
        let ordered = tokio::time::timeout(ORDER_TIMEOUT, self.order(domain, name)).await;
        domain.set_challenge(None);
        let IssuedCertificate { key, chain } = ordered.unwrap_or(Err(OrderError::Timeout))?;
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes())
            .map_err(|error| OrderError::Unusable(format!("{error:?}")))?;
        let host = ServerName::try_from(name).map_err(|error| OrderError::Unusable(error.to_string()))?;
        if !certificate.names(&host) {
            return Err(OrderError::Unusable("it is for other names".to_owned()));
        }
        if let Err(error) = self.cache.store_certificate(name, &key, &chain) {
            tracing::error!(domain = name, %error, "cannot store the new certificate; a restart will request another one");
        }
        tracing::info!(domain = name, until = %certificate.not_after, "certificate issued");
        domain.set_certificate(certificate);
        Ok(())
    }

    async fn order(&self, domain: &ManagedDomain, name: &str) -> Result<IssuedCertificate, OrderError> {
        let account = self.account().await?;
        let present = |challenge| domain.set_challenge(Some(challenge));
        match obtain(&account, name, present).await {
            Err(OrderError::AccountGone) => {
                tracing::warn!("the authority no longer knows the account; creating a new one");
                self.forget(&account).await;
                obtain(&self.account().await?, name, present).await
            }
            obtained => obtained,
        }
    }

    /// The account in use, else the stored one, else a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let mut current = self.account.lock().await;
        if let Some(account) = &*current {
            return Ok(account.clone());
        }
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
        let stored = self.cache.account().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the stored account; creating a new one");
            None
        });
        let account = if let Some(stored) = stored {
            let account = builder.from_credentials(stored.credentials).await?;
            if stored.contacts != self.contacts {
                self.update_contacts(&account, &contacts).await;
            }
            account
        } else {
            let new =
                NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
            self.store_account(credentials);
            tracing::info!(directory = self.directory, "account created");
            account
        };
        *current = Some(account.clone());
        Ok(account)
    }

    /// Failure is logged only: the account works without new contacts.
    async fn update_contacts(&self, account: &Account, contacts: &[&str]) {
        match account.update_contacts(contacts).await {
            Ok(()) => {
                if let Ok(Some(stored)) = self.cache.account() {
                    self.store_account(stored.credentials);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot update the account's contacts"),
        }
    }

    fn store_account(&self, credentials: instant_acme::AccountCredentials) {
        let account = StoredAccount { contacts: self.contacts.clone(), credentials };
        if let Err(error) = self.cache.store_account(&account) {
            tracing::error!(%error, "cannot store the account; a restart will create another one");
        }
    }

    /// Drops the account `gone`, unless another order has replaced it already.
    async fn forget(&self, gone: &Account) {
        let mut current = self.account.lock().await;
        if current.as_ref().is_some_and(|account| account.id() == gone.id()) {
            *current = None;
            if let Err(error) = self.cache.remove_account() {
                tracing::warn!(%error, "cannot remove the stored account");
            }
        }
    }
}
