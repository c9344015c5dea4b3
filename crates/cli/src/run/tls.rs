//! What `outflow serve` is told about TLS: which certificates, and what becomes of those who come without.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use outflow_certs::{Acme, AcmeOptions, CertificateFiles, CertificatePaths, FilesAndAcme, LETS_ENCRYPT};
use outflow_wire::rustls::server::ResolvesServerCert;
use outflow_wire::{Listener, Tls, TlsOptions};

use crate::Failure;
use crate::ledger;
use crate::run::listen::Flags;
use crate::run::signals::Hangup;
use crate::serve::options::Options;

/// The flag of the listener that redirects, for messages.
const REDIRECT: Flags = Flags { host: "--redirect-http", port: "--redirect-http" };

/// Says what makes no sense together.
pub(crate) fn check(options: &Options) -> Result<(), Failure> {
    consistent(options).map_err(Failure::Usage)
}

fn consistent(options: &Options) -> anyhow::Result<()> {
    let (certificates, keys) = (options.tls_cert.len(), options.tls_key.len());
    ensure!(
        certificates == keys,
        "--tls-cert is there {certificates} times and --tls-key {keys} times: each certificate needs its key; if both are in \
         one file, name that for both"
    );
    for (flag, is_there) in [
        ("--acme-contact", !options.acme_contact.is_empty()),
        ("--acme-directory", options.acme_directory.is_some()),
        ("--acme-cache", options.acme_cache.is_some()),
        ("--acme-ca", options.acme_ca.is_some()),
    ] {
        ensure!(
            !is_there || !options.acme.is_empty(),
            "{flag} is about --acme: say for which domain, with --acme DOMAIN"
        );
    }
    for (flag, is_there) in
        [("--redirect-http", options.redirect_http.is_some()), ("--hsts", options.hsts.is_some())]
    {
        ensure!(
            !is_there || is_asked_for(options),
            "{flag} leads to TLS, which this server does not speak: add --tls-cert and --tls-key, or --acme"
        );
    }
    Ok(())
}

fn is_asked_for(options: &Options) -> bool {
    !options.tls_cert.is_empty() || !options.acme.is_empty()
}

/// The listeners of a server, and what goes with them.
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    /// `http` or `https`, for the first of them.
    pub(crate) scheme: &'static str,
    pub(crate) behind: Option<Behind>,
    /// What SIGHUP does.
    pub(crate) hangup: Option<Hangup>,
}

/// What a service behind TLS needs around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// Where TLS is spoken.
    pub(crate) port: u16,
    pub(crate) hsts: Option<Duration>,
}

/// Puts TLS on `listener`, if that is asked for, and opens the one that redirects. From here on certificates are looked after.
pub(crate) fn open(options: &Options, listener: TcpListener) -> anyhow::Result<Listeners> {
    if !is_asked_for(options) {
        return Ok(Listeners { all: vec![listener.into()], scheme: "http", behind: None, hangup: None });
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
        // Asked for means that there is one of them.
        (None, None) => anyhow::bail!("there is no certificate for TLS"),
    };
    let tls =
        TlsOptions { http2: options.http2.unwrap_or(true), acme: acme.is_some(), ..TlsOptions::default() };
    let tls = Arc::new(Tls::new(certificates, &tls).context("TLS cannot be set up")?);
    let port = listener.local_addr().context("the listening socket has no address")?.port();
    let mut all = vec![Listener::with_tls(listener, tls)];
    if let Some(redirects) = redirects {
        let address = redirects.local_addr().context("the listening socket has no address")?;
        tracing::info!(%address, "sending on to https whoever comes without");
        all.push(redirects.into());
    }
    let hsts = options.hsts.map(|seconds| Duration::from_secs(seconds.into()));
    let behind = (all.len() > 1 || hsts.is_some()).then_some(Behind { port, hsts });
    Ok(Listeners { all, scheme: "https", behind, hangup: Some(hangup(files)) })
}

fn open_files(options: &Options) -> anyhow::Result<Option<Arc<CertificateFiles>>> {
    if options.tls_cert.is_empty() {
        return Ok(None);
    }
    let pairs = options.tls_cert.iter().zip(&options.tls_key);
    let pairs = pairs
        .map(|(certificate, key)| CertificatePaths { certificate: certificate.clone(), key: key.clone() });
    let files = CertificateFiles::open_all(pairs.collect())?;
    files.watch().context("no thread to look after certificates")?;
    Ok(Some(files))
}

fn open_acme(options: &Options) -> anyhow::Result<Option<Arc<Acme>>> {
    if options.acme.is_empty() {
        return Ok(None);
    }
    let cache = options.acme_cache.clone().or_else(default_cache);
    let cache = cache
        .context("neither XDG_STATE_HOME nor HOME says where certificates are kept; --acme-cache does")?;
    Ok(Some(Acme::start(AcmeOptions {
        domains: options.acme.clone(),
        contacts: options.acme_contact.clone(),
        directory: options.acme_directory.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        cache,
        root: options.acme_ca.clone(),
    })?))
}

fn default_cache() -> Option<PathBuf> {
    Some(ledger::state_folder()?.join("acme"))
}

fn hangup(files: Option<Arc<CertificateFiles>>) -> Hangup {
    Box::new(move || {
        if let Some(files) = &files {
            // What is wrong is in the log.
            let _ = files.reload();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_together_is_said() {
        let path = |name: &str| vec![PathBuf::from(name)];
        let none = Options::default();
        let files = Options { tls_cert: path("c"), tls_key: path("k"), ..none.clone() };
        let acme = Options { acme: vec!["a.test".to_owned()], ..none.clone() };
        for (options, wrong) in [
            (none.clone(), None),
            (files.clone(), None),
            (acme.clone(), None),
            (Options { hsts: Some(1), ..files.clone() }, None),
            (Options { redirect_http: Some(Default::default()), ..acme.clone() }, None),
            (Options { acme_ca: Some("x".into()), ..acme }, None),
            (Options { tls_cert: path("c"), ..none.clone() }, Some("--tls-key 0 times")),
            (Options { tls_key: path("k"), ..none.clone() }, Some("--tls-cert is there 0 times")),
            (Options { tls_key: vec!["a".into(), "b".into()], ..files.clone() }, Some("--tls-key 2 times")),
            (Options { hsts: Some(1), ..none.clone() }, Some("--hsts")),
            (Options { redirect_http: Some(Default::default()), ..none.clone() }, Some("--redirect-http")),
            (Options { acme_ca: Some("x".into()), ..files.clone() }, Some("--acme-ca")),
            (Options { acme_cache: Some("x".into()), ..files.clone() }, Some("--acme-cache")),
            (Options { acme_directory: Some("x".into()), ..files.clone() }, Some("--acme-directory")),
            (Options { acme_contact: vec!["x".to_owned()], ..files }, Some("--acme-contact")),
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
