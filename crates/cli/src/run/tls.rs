//! TLS of a serving command: which certificates, and what clients without TLS receive.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use outflow_certs::{Acme, AcmeOptions, CertificateFiles, CertificatePaths, FilesAndAcme, LETS_ENCRYPT};
use outflow_texts::{console, text};
use outflow_wire::rustls::server::ResolvesServerCert;
use outflow_wire::{ListenSocket, Tls, TlsOptions};

use crate::args::duration::DurationArg;
use crate::args::words;
use crate::failure::Failure;
use crate::run::folders;
use crate::run::listen::{AddressFlags, ListenAddress};
use crate::run::signals::Hangup;

const REDIRECT: AddressFlags = AddressFlags { host: "--redirect-http", port: "--redirect-http" };

/// Certificates from files.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct CertificateArgs {
    /// PEM file with a certificate for TLS, followed by its chain
    ///
    /// Repeat the option for several names. The first is used for clients that send no name.
    #[arg(long, value_name = "FILE", env)]
    tls_cert: Vec<PathBuf>,

    /// PEM file with the private key; one for each --tls-cert, in the same order
    #[arg(long, value_name = "FILE", env)]
    tls_key: Vec<PathBuf>,
}

impl CertificateArgs {
    /// Refuses certificates without keys, and keys without certificates.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.consistent().map_err(Failure::Usage)
    }

    fn consistent(&self) -> anyhow::Result<()> {
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        ensure!(
            certificates == keys,
            console!(
                tls_files_differ,
                certificates = text!(number_of_times, count = certificates),
                keys = text!(number_of_times, count = keys)
            )
        );
        Ok(())
    }

    /// Opens the files and starts to watch them. `None` if there are none.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Arc<CertificateFiles>>> {
        if self.tls_cert.is_empty() {
            return Ok(None);
        }
        let pairs = self.tls_cert.iter().zip(&self.tls_key);
        let pairs = pairs.map(|(certificate, key)| CertificatePaths {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let files = CertificateFiles::open_all(pairs.collect())?;
        files.watch().context(console!(cannot_watch_certificates))?;
        Ok(Some(files))
    }
}

/// TLS as options ask for it; none by default.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    #[command(flatten)]
    files: CertificateArgs,

    /// Obtain the TLS certificate for this domain by ACME
    ///
    /// Using this means that you accept the authority's terms of service. The challenge is
    /// TLS-ALPN-01: the domain's port 443 must lead to this listener. Repeat the option, or
    /// separate values with commas.
    #[arg(long, value_name = "DOMAIN", env, value_delimiter = ',', value_parser = words::element)]
    acme: Vec<String>,

    /// Email address for notices of the certificate authority
    #[arg(long, value_name = "EMAIL", env, value_delimiter = ',', value_parser = words::element)]
    acme_contact: Vec<String>,

    /// Directory of the certificate authority [default: Let's Encrypt]
    #[arg(long, value_name = "URL", env)]
    acme_directory: Option<String>,

    /// Folder for the account and certificates of the authority [default: outflow/acme in the
    /// user's state folder]
    #[arg(long, value_name = "DIR", env)]
    acme_cache: Option<PathBuf>,

    /// PEM file of a further root certificate to trust in TLS to the authority
    #[arg(long, value_name = "FILE", env)]
    acme_ca: Option<PathBuf>,

    /// Send Strict-Transport-Security with this lifetime, such as 365d [default: not sent]
    #[arg(long, value_name = "TIME", env)]
    hsts: Option<DurationArg>,

    /// Plain-HTTP address that redirects to HTTPS
    #[arg(long, value_name = "ADDR", env)]
    redirect_http: Option<ListenAddress>,

    /// Offer HTTP/2 to clients with TLS
    #[arg(long, env, default_value_t = true)]
    http2: bool,

    /// Accept HTTP/2 without TLS from clients that start with it (prior knowledge)
    #[arg(long, env)]
    pub(crate) http2_cleartext: bool,
}

/// Refuses options that contradict each other.
pub(crate) fn check(options: &TlsArgs) -> Result<(), Failure> {
    consistent(options).map_err(Failure::Usage)
}

fn consistent(options: &TlsArgs) -> anyhow::Result<()> {
    options.files.consistent()?;
    for (flag, is_there) in [
        ("--acme-contact", !options.acme_contact.is_empty()),
        ("--acme-directory", options.acme_directory.is_some()),
        ("--acme-cache", options.acme_cache.is_some()),
        ("--acme-ca", options.acme_ca.is_some()),
    ] {
        ensure!(!is_there || !options.acme.is_empty(), console!(flag_needs_acme, flag));
    }
    for (flag, is_there) in
        [("--redirect-http", options.redirect_http.is_some()), ("--hsts", options.hsts.is_some())]
    {
        ensure!(!is_there || is_requested(options), console!(flag_needs_tls, flag));
    }
    Ok(())
}

fn is_requested(options: &TlsArgs) -> bool {
    !options.files.tls_cert.is_empty() || !options.acme.is_empty()
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
    let files = options.files.open()?;
    let acme = open_acme(options)?;
    let certificates: Arc<dyn ResolvesServerCert> = match (&files, &acme) {
        (Some(files), Some(acme)) => {
            Arc::new(FilesAndAcme { files: Arc::clone(files), acme: Arc::clone(acme) })
        }
        (Some(files), None) => Arc::<CertificateFiles>::clone(files),
        (None, Some(acme)) => Arc::<Acme>::clone(acme),
        (None, None) => anyhow::bail!(console!(tls_no_certificate)),
    };
    let tls = TlsOptions { http2: options.http2, acme: acme.is_some(), ..TlsOptions::default() };
    let tls = Arc::new(Tls::new(certificates, &tls).context(console!(cannot_set_up_tls))?);
    let port = listener.local_addr().context(console!(socket_has_no_address))?.port();
    let mut all = vec![ListenSocket::with_tls(listener, tls)];
    if let Some(redirects) = redirects {
        let address = redirects.local_addr().context(console!(socket_has_no_address))?;
        tracing::info!(%address, "redirecting clients without TLS");
        all.push(redirects.into());
    }
    let hsts = options.hsts.map(|time| time.0);
    let secured = (all.len() > 1 || hsts.is_some()).then_some(SecuredBy { port, hsts });
    Ok(Listeners { all, scheme: "https", secured, hangup: Some(hangup(files)) })
}

fn open_acme(options: &TlsArgs) -> anyhow::Result<Option<Arc<Acme>>> {
    if options.acme.is_empty() {
        return Ok(None);
    }
    let default = || folders::state().map(|state| state.join("acme"));
    let cache = options.acme_cache.clone().or_else(default).context(console!(acme_no_folder))?;
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
    use clap::Parser as _;

    use super::*;

    #[test]
    fn contradicting_options_are_refused() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            tls: TlsArgs,
        }
        for (line, wrong) in [
            ("", None),
            ("--tls-cert c --tls-key k", None),
            ("--acme a.test", None),
            ("--tls-cert c --tls-key k --hsts 1s", None),
            ("--acme a.test --redirect-http [::]:80", None),
            ("--acme a.test --acme-ca x", None),
            ("--tls-cert c", Some("--tls-key not at all")),
            ("--tls-key k", Some("--tls-cert is given not at all")),
            ("--tls-cert c --tls-key a --tls-key b", Some("--tls-key 2 times")),
            ("--hsts 1s", Some("--hsts")),
            ("--redirect-http [::]:80", Some("--redirect-http")),
            ("--tls-cert c --tls-key k --acme-ca x", Some("--acme-ca")),
            ("--tls-cert c --tls-key k --acme-cache x", Some("--acme-cache")),
            ("--tls-cert c --tls-key k --acme-directory x", Some("--acme-directory")),
            ("--tls-cert c --tls-key k --acme-contact x", Some("--acme-contact")),
        ] {
            let options = Line::parse_from(["x"].into_iter().chain(line.split_whitespace())).tls;
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
