//! TLS of a serving command: which certificates, and what clients without TLS receive.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use outflow_certs::{Acme, AcmeOptions, CertificateFiles, CertificatePaths, FilesAndAcme, LETS_ENCRYPT};
use outflow_wire::rustls::server::ResolvesServerCert;
use outflow_wire::{ListenSocket, Tls, TlsOptions};

use crate::failure::Failure;
use crate::run::folders;
use crate::run::listen::{AddressFlags, ListenAddress};
use crate::run::signals::Hangup;

const REDIRECT: AddressFlags = AddressFlags { host: "--redirect-http", port: "--redirect-http" };

/// TLS as options ask for it; nothing by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsArgs {
    /// PEM files of certificates, and of the private key of each.
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) keys: Vec<PathBuf>,
    /// Names whose certificates come from a certificate authority.
    pub(crate) acme: Vec<String>,
    pub(crate) acme_contact: Vec<String>,
    pub(crate) acme_directory: Option<String>,
    pub(crate) acme_cache: Option<PathBuf>,
    pub(crate) acme_ca: Option<PathBuf>,
    /// Lifetime of Strict-Transport-Security, in seconds.
    pub(crate) hsts: Option<u32>,
    /// A second address, without TLS, that redirects to this one.
    pub(crate) redirect_http: Option<ListenAddress>,
    /// Whether to offer HTTP/2; yes by default.
    pub(crate) http2: Option<bool>,
}

/// Refuses options that contradict each other.
pub(crate) fn check(options: &TlsArgs) -> Result<(), Failure> {
    consistent(options).map_err(Failure::Usage)
}

fn consistent(options: &TlsArgs) -> anyhow::Result<()> {
    let (certificates, keys) = (options.certificates.len(), options.keys.len());
    ensure!(
        certificates == keys,
        "--tls-cert is given {certificates} times and --tls-key {keys} times: each certificate needs its key; if both are \
         in one file, name that file for both"
    );
    for (flag, is_there) in [
        ("--acme-contact", !options.acme_contact.is_empty()),
        ("--acme-directory", options.acme_directory.is_some()),
        ("--acme-cache", options.acme_cache.is_some()),
        ("--acme-ca", options.acme_ca.is_some()),
    ] {
        ensure!(
            !is_there || !options.acme.is_empty(),
            "{flag} needs --acme: name the domain with --acme DOMAIN"
        );
    }
    for (flag, is_there) in
        [("--redirect-http", options.redirect_http.is_some()), ("--hsts", options.hsts.is_some())]
    {
        ensure!(
            !is_there || is_requested(options),
            "{flag} needs TLS, which this server does not speak: add --tls-cert and --tls-key, or --acme"
        );
    }
    Ok(())
}

fn is_requested(options: &TlsArgs) -> bool {
    !options.certificates.is_empty() || !options.acme.is_empty()
}

/// The listeners of a server, with what the server needs for them.
pub(crate) struct Listeners {
    pub(crate) all: Vec<ListenSocket>,
    /// `http` or `https`, for the first of them.
    pub(crate) scheme: &'static str,
    /// `None` when clients are neither redirected nor given HSTS.
    pub(crate) secured: Option<SecuredBy>,
    /// Called on SIGHUP.
    pub(crate) hangup: Option<Hangup>,
}

/// Redirects and HSTS around a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecuredBy {
    /// Port of the TLS listener.
    pub(crate) port: u16,
    pub(crate) hsts: Option<Duration>,
}

/// Puts TLS on `listener` if the options ask for it, opens the redirecting listener, and starts to
/// renew and reload certificates.
pub(crate) fn open(options: &TlsArgs, listener: TcpListener) -> anyhow::Result<Listeners> {
    if !is_requested(options) {
        return Ok(Listeners { all: vec![listener.into()], scheme: "http", secured: None, hangup: None });
    }
    let redirects = options.redirect_http.as_ref().map(|address| address.open(&REDIRECT)).transpose()?;
    let files = open_files(options)?;
    let acme = open_acme(options)?;
    let certificates: Arc<dyn ResolvesServerCert> = match (&files, &acme) {
        (Some(files), Some(acme)) => {
            Arc::new(FilesAndAcme { files: Arc::clone(files), acme: Arc::clone(acme) })
        }
        (Some(files), None) => Arc::<CertificateFiles>::clone(files),
        (None, Some(acme)) => Arc::<Acme>::clone(acme),
        (None, None) => anyhow::bail!("no certificate for TLS; name one with --tls-cert, or use --acme"),
    };
    let tls =
        TlsOptions { http2: options.http2.unwrap_or(true), acme: acme.is_some(), ..TlsOptions::default() };
    let tls = Arc::new(Tls::new(certificates, &tls).context("cannot set up TLS")?);
    let port = listener.local_addr().context("the listening socket has no address")?.port();
    let mut all = vec![ListenSocket::with_tls(listener, tls)];
    if let Some(redirects) = redirects {
        let address = redirects.local_addr().context("the listening socket has no address")?;
        tracing::info!(%address, "redirecting clients without TLS");
        all.push(redirects.into());
    }
    let hsts = options.hsts.map(|seconds| Duration::from_secs(seconds.into()));
    let secured = (all.len() > 1 || hsts.is_some()).then_some(SecuredBy { port, hsts });
    Ok(Listeners { all, scheme: "https", secured, hangup: Some(hangup(files)) })
}

fn open_files(options: &TlsArgs) -> anyhow::Result<Option<Arc<CertificateFiles>>> {
    if options.certificates.is_empty() {
        return Ok(None);
    }
    let pairs = options.certificates.iter().zip(&options.keys);
    let pairs = pairs
        .map(|(certificate, key)| CertificatePaths { certificate: certificate.clone(), key: key.clone() });
    let files = CertificateFiles::open_all(pairs.collect())?;
    files.watch().context("cannot start the thread that watches certificates")?;
    Ok(Some(files))
}

fn open_acme(options: &TlsArgs) -> anyhow::Result<Option<Arc<Acme>>> {
    if options.acme.is_empty() {
        return Ok(None);
    }
    let default = || folders::state().map(|state| state.join("acme"));
    let cache = options.acme_cache.clone().or_else(default).context(
        "no folder for certificates: neither XDG_STATE_HOME nor HOME is set; name one with --acme-cache",
    )?;
    Ok(Some(Acme::start(AcmeOptions {
        domains: options.acme.clone(),
        contacts: options.acme_contact.clone(),
        directory: options.acme_directory.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        cache,
        root: options.acme_ca.clone(),
    })?))
}

fn hangup(files: Option<Arc<CertificateFiles>>) -> Hangup {
    Box::new(move || {
        if let Some(files) = &files {
            // `reload` logs its errors.
            let _ = files.reload();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradicting_options_are_refused() {
        let path = |name: &str| vec![PathBuf::from(name)];
        let none = TlsArgs::default();
        let files = TlsArgs { certificates: path("c"), keys: path("k"), ..none.clone() };
        let acme = TlsArgs { acme: vec!["a.test".to_owned()], ..none.clone() };
        for (options, wrong) in [
            (none.clone(), None),
            (files.clone(), None),
            (acme.clone(), None),
            (TlsArgs { hsts: Some(1), ..files.clone() }, None),
            (TlsArgs { redirect_http: Some(Default::default()), ..acme.clone() }, None),
            (TlsArgs { acme_ca: Some("x".into()), ..acme }, None),
            (TlsArgs { certificates: path("c"), ..none.clone() }, Some("--tls-key 0 times")),
            (TlsArgs { keys: path("k"), ..none.clone() }, Some("--tls-cert is given 0 times")),
            (TlsArgs { keys: vec!["a".into(), "b".into()], ..files.clone() }, Some("--tls-key 2 times")),
            (TlsArgs { hsts: Some(1), ..none.clone() }, Some("--hsts")),
            (TlsArgs { redirect_http: Some(Default::default()), ..none.clone() }, Some("--redirect-http")),
            (TlsArgs { acme_ca: Some("x".into()), ..files.clone() }, Some("--acme-ca")),
            (TlsArgs { acme_cache: Some("x".into()), ..files.clone() }, Some("--acme-cache")),
            (TlsArgs { acme_directory: Some("x".into()), ..files.clone() }, Some("--acme-directory")),
            (TlsArgs { acme_contact: vec!["x".to_owned()], ..files }, Some("--acme-contact")),
        ] {
            let found = consistent(&options).map_err(|error| error.to_string());
            match wrong {
                None => assert_eq!(found, Ok(()), "{options:?}"),
                Some(part) => {
                    assert!(found.as_ref().is_err_and(|text| text.contains(part)), "{found:?}: no {part}")
                }
            }
        }
    }
}
