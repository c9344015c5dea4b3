//! Options of `outflow serve`, from flags, environment and configuration file.
//!
//! A flag overrides the environment, which overrides the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::args::duration::RetentionArg;
use crate::args::network::NetworkArg;
use crate::args::size::SizeArg;
use crate::failure::Failure;
use crate::run::listen::ListenAddress;
use crate::run::logging::{LogFormat, LogLevel};
use crate::run::tls::TlsArgs;
use crate::serve::channels::ChannelArgs;
use crate::serve::endpoints::WebhookArgs;
use crate::tunnel::settings::TunnelArgs;

/// Every key is optional; `serve::run` has the defaults.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServeArgs {
    /// Folder or file to serve, or a store of transfers: s3://BUCKET/PREFIX, gs://…, az://…,
    /// https://…, file:///… [default: .]
    #[arg(env = "OUTFLOW_PATH")]
    pub(crate) path: Option<PathBuf>,

    /// Serve the objects of a store as folders and files, instead of transfers
    #[arg(long, env = "OUTFLOW_PLAIN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) plain: Option<bool>,

    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_LISTEN")]
    pub(crate) listen: Option<ListenAddress>,

    /// Address of a second listener, which answers Prometheus at /metrics; for addresses that only
    /// the operator reaches
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_METRICS")]
    pub(crate) metrics: Option<ListenAddress>,

    /// Serve names that begin with a dot
    #[arg(long, env = "OUTFLOW_HIDDEN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) hidden: Option<bool>,

    /// Follow symbolic links that lead out of the folder
    #[arg(long, env = "OUTFLOW_FOLLOW_SYMLINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) follow_symlinks: Option<bool>,

    /// Maximum number of open connections; further ones wait [default: 3/4 of the limit of open
    /// files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Folder in which CRC-32s of files are kept [default: outflow in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "OUTFLOW_CACHE")]
    pub(crate) cache: Option<PathBuf>,

    /// Compute CRC-32s of files in archives in the background [default: true]
    #[arg(long, env = "OUTFLOW_CRC_BACKGROUND", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) crc_background: Option<bool>,

    /// Send files by sendfile, and splice objects from stores over plain HTTP; false copies both,
    /// which is slower, but checks every whole object from a store and is safe with files that are
    /// overwritten in place [default: true]
    #[arg(long, env = "OUTFLOW_SENDFILE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) sendfile: Option<bool>,

    /// Memory for segments that were fetched from a store and not sent yet, all downloads together
    /// [default: 256MiB]
    #[arg(long, value_name = "SIZE", env = "OUTFLOW_SEGMENT_MEMORY")]
    pub(crate) segment_memory: Option<SizeArg>,

    /// Maximum number of connections to the store [default: 64]
    #[arg(long, value_name = "N", env = "OUTFLOW_STORE_CONNECTIONS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) store_connections: Option<u16>,

    /// Send a second request to the store when a download is about to run out of data
    #[arg(long, env = "OUTFLOW_HEDGE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) hedge: Option<bool>,

    /// Database that records downloads and receipts: sqlite:PATH, postgres://USER@HOST/DATABASE, or
    /// none [default: sqlite in the user's state folder]
    #[arg(long, value_name = "LEDGER", env = "OUTFLOW_LEDGER")]
    pub(crate) ledger: Option<String>,

    /// How long downloads and events are kept: 90d, 12h, or for-ever [default: 90d]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_LEDGER_KEEP")]
    pub(crate) ledger_keep: Option<RetentionArg>,

    /// Maximum number of changes that wait in memory while the ledger cannot be written; beyond it,
    /// new downloads are refused [default: 100000]
    #[arg(long, value_name = "N", env = "OUTFLOW_LEDGER_BACKLOG", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) ledger_backlog: Option<u32>,

    /// Emit an event for each tenth of a download that has arrived (download.progress)
    #[arg(long, env = "OUTFLOW_PROGRESS_EVENTS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) progress_events: Option<bool>,

    /// URL that receives events by POST (Standard Webhooks); may be given several times
    #[arg(long, value_name = "URL", env = "OUTFLOW_WEBHOOK", value_delimiter = ' ')]
    #[serde(default)]
    pub(crate) webhook: Vec<String>,

    /// Secrets that sign the events for these URLs, separated by spaces; `outflow webhook-secret`
    /// makes one
    #[arg(
        long,
        value_name = "SECRET",
        env = "OUTFLOW_WEBHOOK_SECRET",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    #[serde(default)]
    pub(crate) webhook_secret: Vec<String>,

    /// Allow these URLs to be in private networks
    #[arg(long, env = "OUTFLOW_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) webhook_allow_private: Option<bool>,

    /// Webhooks with filters and secrets of their own, in the configuration file only.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) webhooks: Vec<WebhookArgs>,

    /// Program that is started for each event and reads it from standard input, as a line of JSON
    #[arg(long, value_name = "PROGRAM", env = "OUTFLOW_ON_EVENT")]
    pub(crate) on_event: Option<PathBuf>,

    /// File with the keys that sign links; `outflow link-key` makes a key
    #[arg(long, value_name = "FILE", env = "OUTFLOW_LINK_KEYS")]
    pub(crate) link_keys: Option<PathBuf>,

    /// Serve nothing without a link
    #[arg(long, env = "OUTFLOW_REQUIRE_LINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) require_links: Option<bool>,

    /// Addresses or networks of proxies whose Forwarded and X-Forwarded-For fields are trusted,
    /// separated by commas
    #[arg(long, value_name = "NET", env = "OUTFLOW_TRUSTED_PROXIES", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<NetworkArg>,

    /// These proxies start each connection with a PROXY header (version 1 or 2)
    #[arg(long, env = "OUTFLOW_PROXY_PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) proxy_protocol: Option<bool>,

    #[command(flatten)]
    #[serde(default)]
    pub(crate) channels: ChannelArgs,

    /// A tunnel server beside the files, in the configuration file only.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) tunnel: Option<TunnelArgs>,

    /// PEM file with a certificate for TLS, followed by its chain; may be given several times for
    /// several names, the first is the default
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_CERT")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// PEM file with its private key; one for each --tls-cert, in the same order
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_KEY")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Obtain the TLS certificate for this domain by ACME, and agree to the authority's terms
    /// (TLS-ALPN-01: the domain's port 443 must lead to this listener); may be given several times,
    /// or separated by commas
    #[arg(long, value_name = "DOMAIN", env = "OUTFLOW_ACME", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) acme: Vec<String>,

    /// Mail address for notices of the authority
    #[arg(long, value_name = "MAIL", env = "OUTFLOW_ACME_CONTACT", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) acme_contact: Vec<String>,

    /// Directory of the certificate authority [default: Let's Encrypt]
    #[arg(long, value_name = "URL", env = "OUTFLOW_ACME_DIRECTORY")]
    pub(crate) acme_directory: Option<String>,

    /// Folder for the account and certificates of the authority [default: outflow/acme in the
    /// user's state folder]
    #[arg(long, value_name = "DIR", env = "OUTFLOW_ACME_CACHE")]
    pub(crate) acme_cache: Option<PathBuf>,

    /// PEM file with a further root certificate to trust in TLS to the authority
    #[arg(long, value_name = "FILE", env = "OUTFLOW_ACME_CA")]
    pub(crate) acme_ca: Option<PathBuf>,

    /// Send Strict-Transport-Security with this lifetime in seconds [default: not sent; without a
    /// value: a year]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_HSTS", num_args = 0..=1, require_equals = true, default_missing_value = "31536000")]
    pub(crate) hsts: Option<u32>,

    /// A second address, without TLS, that redirects to the one with TLS
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_REDIRECT_HTTP")]
    pub(crate) redirect_http: Option<ListenAddress>,

    /// Offer HTTP/2 to clients with TLS [default: true]
    #[arg(long, env = "OUTFLOW_HTTP2", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) http2: Option<bool>,

    /// Accept HTTP/2 without TLS from clients that start with it (prior knowledge)
    #[arg(long, env = "OUTFLOW_HTTP2_CLEARTEXT", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) http2_cleartext: Option<bool>,

    /// Seconds for downloads to finish after SIGINT or SIGTERM [default: 10]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub(crate) drain: Option<u32>,

    /// Number of serving threads [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Least important lines to log [default: info]
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL")]
    pub(crate) log_level: Option<LogLevel>,

    /// Format of the log on standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// TOML file with any of these options as keys
    #[arg(long, value_name = "FILE", env = "OUTFLOW_CONFIG")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

impl ServeArgs {
    /// Fills options that neither a flag nor the environment sets from the configuration file.
    pub(crate) fn with_config(mut self) -> Result<ServeArgs, Failure> {
        let Some(path) = self.config.take() else { return Ok(self) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        let file = ServeArgs::parse(&text, &path).map_err(Failure::Usage)?;
        Ok(self.or(file))
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<ServeArgs> {
        let mut file: ServeArgs = toml::from_str(text)
            .with_context(|| format!("the configuration file {} is invalid", path.display()))?;
        // Relative paths in the file are relative to the file's folder, not to the working
        // directory.
        let folder = path.parent().unwrap_or(Path::new(""));
        let served = file.path.as_mut().filter(|path| store_address(path).is_none());
        let named = [
            served,
            file.cache.as_mut(),
            file.on_event.as_mut(),
            file.link_keys.as_mut(),
            file.acme_cache.as_mut(),
            file.acme_ca.as_mut(),
        ];
        file.channels.resolve_paths(folder);
        if let Some(tunnel) = &mut file.tunnel {
            tunnel.resolve_paths(folder);
        }
        let lists = file.tls_cert.iter_mut().chain(&mut file.tls_key);
        for relative in named.into_iter().flatten().chain(lists) {
            *relative = folder.join(&*relative);
        }
        for (key, value) in [
            ("max-connections", file.max_connections),
            ("ledger-backlog", file.ledger_backlog),
            ("threads", file.threads.map(u32::from)),
            ("store-connections", file.store_connections.map(u32::from)),
        ] {
            anyhow::ensure!(value != Some(0), "{key} = 0 in {}: at least 1 is needed", path.display());
        }
        Ok(file)
    }

    /// The options about TLS.
    pub(crate) fn tls(&self) -> TlsArgs {
        TlsArgs {
            certificates: self.tls_cert.clone(),
            keys: self.tls_key.clone(),
            acme: self.acme.clone(),
            acme_contact: self.acme_contact.clone(),
            acme_directory: self.acme_directory.clone(),
            acme_cache: self.acme_cache.clone(),
            acme_ca: self.acme_ca.clone(),
            hsts: self.hsts,
            redirect_http: self.redirect_http.clone(),
            http2: self.http2,
        }
    }

    /// Takes each option from `self`, or from `weaker` where `self` has none.
    fn or(self, weaker: ServeArgs) -> ServeArgs {
        ServeArgs {
            path: self.path.or(weaker.path),
            plain: self.plain.or(weaker.plain),
            listen: self.listen.or(weaker.listen),
            metrics: self.metrics.or(weaker.metrics),
            hidden: self.hidden.or(weaker.hidden),
            follow_symlinks: self.follow_symlinks.or(weaker.follow_symlinks),
            max_connections: self.max_connections.or(weaker.max_connections),
            cache: self.cache.or(weaker.cache),
            crc_background: self.crc_background.or(weaker.crc_background),
            sendfile: self.sendfile.or(weaker.sendfile),
            segment_memory: self.segment_memory.or(weaker.segment_memory),
            store_connections: self.store_connections.or(weaker.store_connections),
            hedge: self.hedge.or(weaker.hedge),
            ledger: self.ledger.or(weaker.ledger),
            ledger_keep: self.ledger_keep.or(weaker.ledger_keep),
            ledger_backlog: self.ledger_backlog.or(weaker.ledger_backlog),
            progress_events: self.progress_events.or(weaker.progress_events),
            webhook: some(self.webhook, weaker.webhook),
            webhook_secret: some(self.webhook_secret, weaker.webhook_secret),
            webhook_allow_private: self.webhook_allow_private.or(weaker.webhook_allow_private),
            webhooks: some(self.webhooks, weaker.webhooks),
            on_event: self.on_event.or(weaker.on_event),
            link_keys: self.link_keys.or(weaker.link_keys),
            require_links: self.require_links.or(weaker.require_links),
            trusted_proxies: some(self.trusted_proxies, weaker.trusted_proxies),
            proxy_protocol: self.proxy_protocol.or(weaker.proxy_protocol),
            channels: self.channels.or(weaker.channels),
            tunnel: self.tunnel.or(weaker.tunnel),
            tls_cert: some(self.tls_cert, weaker.tls_cert),
            tls_key: some(self.tls_key, weaker.tls_key),
            acme: some(self.acme, weaker.acme),
            acme_contact: some(self.acme_contact, weaker.acme_contact),
            acme_directory: self.acme_directory.or(weaker.acme_directory),
            acme_cache: self.acme_cache.or(weaker.acme_cache),
            acme_ca: self.acme_ca.or(weaker.acme_ca),
            hsts: self.hsts.or(weaker.hsts),
            redirect_http: self.redirect_http.or(weaker.redirect_http),
            http2: self.http2.or(weaker.http2),
            http2_cleartext: self.http2_cleartext.or(weaker.http2_cleartext),
            drain: self.drain.or(weaker.drain),
            threads: self.threads.or(weaker.threads),
            log_level: self.log_level.or(weaker.log_level),
            log_format: self.log_format.or(weaker.log_format),
            config: None,
        }
    }
}

fn some<T>(stronger: Vec<T>, weaker: Vec<T>) -> Vec<T> {
    if stronger.is_empty() { weaker } else { stronger }
}

/// A list, or its only value without the brackets.
fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum Values<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match Values::deserialize(from)? {
        Values::One(value) => vec![value],
        Values::More(values) => values,
    })
}

/// The path as an address, if it has a scheme.
pub(crate) fn store_address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme() {
        for (path, is_address) in [
            ("s3://bucket/prefix", true),
            ("file:///srv", true),
            ("HTTPS://host/", true),
            ("/srv/files", false),
            ("a b://c", false),
            ("://x", false),
            ("./s3://bucket", false),
            ("s3:/bucket", false),
        ] {
            assert_eq!(store_address(Path::new(path)).is_some(), is_address, "{path}");
        }
        let options = ServeArgs::parse("path = 's3://bucket/x'", Path::new("/etc/outflow.toml")).unwrap();
        assert_eq!(options.path.as_deref(), Some(Path::new("s3://bucket/x")));
    }

    #[test]
    fn the_file_knows_every_key_and_no_other() {
        let text = "
            path = 'data'
            listen = '127.0.0.1:0'
            metrics = '127.0.0.1:9464'
            hidden = true
            follow-symlinks = true
            max-connections = 7
            cache = '/c'
            crc-background = false
            plain = true
            segment-memory = '1GiB'
            store-connections = 9
            hedge = true
            drain = 3
            threads = 2
            log-level = 'warn'
            log-format = 'json'
            ledger = 'postgres://db/outflow'
            ledger-keep = '30d'
            ledger-backlog = 99
            progress-events = true
            webhook = ['https://app.example/hook']
            webhook-secret = ['whsec_x']
            webhook-allow-private = true
            on-event = 'tell.sh'
            link-keys = 'keys'
            require-links = true
            trusted-proxies = ['10.0.0.0/8', '::1']
            proxy-protocol = true
            tls-cert = ['a.pem', '/b.pem']
            tls-key = 'a.key'
            acme = 'a.test'
            acme-contact = ['anna@a.test']
            acme-directory = 'https://ca.test/'
            acme-cache = 'acme'
            acme-ca = 'ca.pem'
            hsts = 300
            redirect-http = '127.0.0.1:0'
            http2 = false
            http2-cleartext = true
            [channels]
            tokens = 'channel-tokens'
            subscribe = 'open'
            history = 5
            per-address = 1
            per-token = 2
            per-channel = 3
            lifetime = 0
            origins = ['https://app.example']
            [[webhooks]]
            id = 'app'
            url = 'https://app.example/other'
            secrets = ['whsec_y']
            events = ['download.completed']
            path = '/photos/'
            transfer = 't'
            recipient = 'anna'
            allow-private = false
        ";
        let options = ServeArgs::parse(text, Path::new("/etc/outflow/outflow.toml")).unwrap();
        assert_eq!(options.path.as_deref(), Some(Path::new("/etc/outflow/data")));
        assert_eq!(options.cache.as_deref(), Some(Path::new("/c")));
        let stored = (options.plain, options.store_connections, options.hedge);
        assert_eq!(stored, (Some(true), Some(9), Some(true)));
        assert_eq!(options.segment_memory.map(SizeArg::bytes), Some(1 << 30));
        assert_eq!(options.metrics, Some("127.0.0.1:9464".parse().unwrap()));
        assert_eq!((options.max_connections, options.drain, options.threads), (Some(7), Some(3), Some(2)));
        assert_eq!((options.log_level, options.log_format), (Some(LogLevel::Warn), Some(LogFormat::Json)));
        assert_eq!(options.link_keys.as_deref(), Some(Path::new("/etc/outflow/keys")));
        assert_eq!((options.webhooks.len(), options.trusted_proxies.len()), (1, 2));
        assert_eq!(options.tls_cert, [Path::new("/etc/outflow/a.pem"), Path::new("/b.pem")]);
        assert_eq!(options.tls_key, [Path::new("/etc/outflow/a.key")]);
        assert_eq!(options.acme_cache.as_deref(), Some(Path::new("/etc/outflow/acme")));
        assert_eq!(options.acme_ca.as_deref(), Some(Path::new("/etc/outflow/ca.pem")));
        assert_eq!((options.acme, options.acme_contact.len()), (vec!["a.test".to_owned()], 1));
        assert_eq!(
            (options.hsts, options.http2, options.http2_cleartext),
            (Some(300), Some(false), Some(true))
        );
        for wrong in [
            "port = 1",
            "ledger-keep = 'soon'",
            "trusted-proxies = ['everybody']",
            "[[webhooks]]\nurl = 'https://x'",
            "hidden = 'yes'",
            "listen = 'x'",
            "metrics = 9464",
            "threads = 0",
            "tls-cert = 1",
            "channels = true",
            "[channels]\nsubscribe = 'nobody'",
            "hsts = true",
            "redirect-http = 'x'",
            "max-connections = -1",
            "store-connections = 0",
            "segment-memory = '1 apple'",
        ] {
            assert!(ServeArgs::parse(wrong, Path::new("x")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_stronger_source_wins() {
        let loud = ServeArgs { drain: Some(1), ..ServeArgs::default() };
        let weak = ServeArgs { drain: Some(2), threads: Some(3), ..ServeArgs::default() };
        let both = loud.or(weak);
        assert_eq!((both.drain, both.threads, both.hidden), (Some(1), Some(3), None));
    }
}
