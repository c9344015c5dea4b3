//! What `outflow serve` can be told: one definition for flags, environment and configuration file.
//!
//! A flag is stronger than the environment, and that than the file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer};

use crate::Failure;
use crate::args::duration::Keep;
use crate::args::network::Net;
use crate::args::size::Size;
use crate::ledger::Webhook;
use crate::run::listen::Listen;
use crate::serve::channels::ChannelOptions;
use crate::tunnel::TunnelOptions;

/// Every key is optional; [`crate::serve`] knows the defaults.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Folder or file to serve, or a store of transfers: s3://BUCKET/PREFIX, gs://…, az://…, https://…, file:///…
    /// [default: .]
    #[arg(env = "OUTFLOW_PATH")]
    pub(crate) path: Option<PathBuf>,

    /// Serve a store's objects as folders and files, as they lie there, rather than transfers
    #[arg(long, env = "OUTFLOW_PLAIN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) plain: Option<bool>,

    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_LISTEN")]
    pub(crate) listen: Option<Listen>,

    /// Serve names that begin with a dot, too
    #[arg(long, env = "OUTFLOW_HIDDEN", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) hidden: Option<bool>,

    /// Follow symbolic links that lead out of the folder
    #[arg(long, env = "OUTFLOW_FOLLOW_SYMLINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) follow_symlinks: Option<bool>,

    /// Connections open at the same time; further ones wait [default: 3/4 of the limit of open files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Folder that remembers the CRC-32s of files [default: outflow in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "OUTFLOW_CACHE")]
    pub(crate) cache: Option<PathBuf>,

    /// Compute the CRC-32s of archives' files in quiet times [default: true]
    #[arg(long, env = "OUTFLOW_CRC_BACKGROUND", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) crc_background: Option<bool>,

    /// Let the kernel send files by reference, and splice what comes from stores over plain HTTP; false copies
    /// both: slower, but whole files from stores are always checked, and it is safe from files that are
    /// overwritten in place and from file systems with a page cache not to be trusted [default: true]
    #[arg(long, env = "OUTFLOW_SENDFILE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) sendfile: Option<bool>,

    /// Memory for what is fetched from a store and not sent yet, all downloads together [default: 256MiB]
    #[arg(long, value_name = "SIZE", env = "OUTFLOW_SEGMENT_MEMORY")]
    pub(crate) segment_memory: Option<Size>,

    /// Connections to the store at the same time [default: 64]
    #[arg(long, value_name = "N", env = "OUTFLOW_STORE_CONNECTIONS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) store_connections: Option<u16>,

    /// Ask the store a second time when a download is about to run dry
    #[arg(long, env = "OUTFLOW_HEDGE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) hedge: Option<bool>,

    /// Where downloads and receipts are noted: sqlite:PATH, postgres://USER@HOST/DATABASE, or none
    /// [default: sqlite in the user's state folder]
    #[arg(long, value_name = "LEDGER", env = "OUTFLOW_LEDGER")]
    pub(crate) ledger: Option<String>,

    /// For how long downloads and events are kept: 90d, 12h, or for-ever [default: 90d]
    #[arg(long, value_name = "TIME", env = "OUTFLOW_LEDGER_KEEP")]
    pub(crate) ledger_keep: Option<Keep>,

    /// How many changes may wait in memory while the ledger cannot be written; past that, new downloads are
    /// refused [default: 100000]
    #[arg(long, value_name = "N", env = "OUTFLOW_LEDGER_BACKLOG", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) ledger_backlog: Option<u32>,

    /// Tell of every tenth of a download that has arrived (download.progress)
    #[arg(long, env = "OUTFLOW_PROGRESS_EVENTS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) progress_events: Option<bool>,

    /// URL that is told of events by POST (Standard Webhooks); may be given several times
    #[arg(long, value_name = "URL", env = "OUTFLOW_WEBHOOK", value_delimiter = ' ')]
    #[serde(default)]
    pub(crate) webhook: Vec<String>,

    /// Secrets that sign what these URLs are told, separated by spaces; `outflow webhook-secret` makes one
    #[arg(
        long,
        value_name = "SECRET",
        env = "OUTFLOW_WEBHOOK_SECRET",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    #[serde(default)]
    pub(crate) webhook_secret: Vec<String>,

    /// Let these URLs lie in private networks
    #[arg(long, env = "OUTFLOW_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) webhook_allow_private: Option<bool>,

    /// Those with filters and secrets of their own: in the configuration file only.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) webhooks: Vec<Webhook>,

    /// Program that is started for each event, which is a line of JSON on its standard input
    #[arg(long, value_name = "PROGRAM", env = "OUTFLOW_ON_EVENT")]
    pub(crate) on_event: Option<PathBuf>,

    /// File with the keys that links are signed with; `outflow link-key` makes one
    #[arg(long, value_name = "FILE", env = "OUTFLOW_LINK_KEYS")]
    pub(crate) link_keys: Option<PathBuf>,

    /// Serve nothing without a link
    #[arg(long, env = "OUTFLOW_REQUIRE_LINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) require_links: Option<bool>,

    /// Addresses or networks of proxies that are believed what they say of their clients, separated by commas
    #[arg(long, value_name = "NET", env = "OUTFLOW_TRUSTED_PROXIES", value_delimiter = ',')]
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<Net>,

    /// These proxies begin each connection with a PROXY header (version 1 or 2)
    #[arg(long, env = "OUTFLOW_PROXY_PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) proxy_protocol: Option<bool>,

    #[command(flatten)]
    #[serde(default)]
    pub(crate) channels: ChannelOptions,

    /// Tunnels beside what is served: in the configuration file only.
    #[arg(skip)]
    #[serde(default)]
    pub(crate) tunnel: Option<TunnelOptions>,

    /// Speak TLS, with the certificate in this PEM file, and behind it those that vouch for it; several times for several
    /// names, the first for everybody else
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_CERT")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// PEM file of its private key; for each --tls-cert one, in the same order
    #[arg(long, value_name = "FILE", env = "OUTFLOW_TLS_KEY")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Speak TLS, with a certificate for this name from a certificate authority, whose terms you agree to (ACME,
    /// TLS-ALPN-01: the name leads here, port 443 to this listener); several times, or separated by commas
    #[arg(long, value_name = "DOMAIN", env = "OUTFLOW_ACME", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) acme: Vec<String>,

    /// Mail address that the authority may write to
    #[arg(long, value_name = "MAIL", env = "OUTFLOW_ACME_CONTACT", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_more")]
    pub(crate) acme_contact: Vec<String>,

    /// Directory of the certificate authority [default: Let's Encrypt]
    #[arg(long, value_name = "URL", env = "OUTFLOW_ACME_DIRECTORY")]
    pub(crate) acme_directory: Option<String>,

    /// Folder for the account and certificates of the authority [default: outflow/acme in the user's state folder]
    #[arg(long, value_name = "DIR", env = "OUTFLOW_ACME_CACHE")]
    pub(crate) acme_cache: Option<PathBuf>,

    /// PEM file of a further root that the authority's own TLS may be vouched for by
    #[arg(long, value_name = "FILE", env = "OUTFLOW_ACME_CA")]
    pub(crate) acme_ca: Option<PathBuf>,

    /// Tell browsers to come with TLS only, for so many seconds [default with TLS: no; without a value: a year]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_HSTS", num_args = 0..=1, require_equals = true, default_missing_value = "31536000")]
    pub(crate) hsts: Option<u32>,

    /// A second address, without TLS, that sends everybody on to the one with it
    #[arg(long, value_name = "ADDR", env = "OUTFLOW_REDIRECT_HTTP")]
    pub(crate) redirect_http: Option<Listen>,

    /// Offer HTTP/2 to clients with TLS [default: true]
    #[arg(long, env = "OUTFLOW_HTTP2", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) http2: Option<bool>,

    /// Understand HTTP/2 without TLS as well, from clients that begin with it
    #[arg(long, env = "OUTFLOW_HTTP2_CLEARTEXT", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) http2_cleartext: Option<bool>,

    /// Seconds that downloads have to finish after SIGINT or SIGTERM [default: 10]
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub(crate) drain: Option<u32>,

    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// How much is logged [default: info]
    #[arg(long, value_name = "LEVEL", env = "OUTFLOW_LOG_LEVEL")]
    pub(crate) log_level: Option<LogLevel>,

    /// How it is logged, on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// TOML file with any of these as keys
    #[arg(long, value_name = "FILE", env = "OUTFLOW_CONFIG")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

/// From silence to every detail.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Options {
    /// Fills what neither a flag nor the environment said from the configuration file, if one is named.
    pub(crate) fn with_config(mut self) -> Result<Options, Failure> {
        let Some(path) = self.config.take() else { return Ok(self) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        let file = Options::parse(&text, &path).map_err(Failure::Usage)?;
        Ok(self.or(file))
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Options> {
        let mut file: Options = toml::from_str(text)
            .with_context(|| format!("the configuration file {} makes no sense", path.display()))?;
        // Relative paths in a file start where the file is, wherever the command was called.
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
        file.channels.start_at(folder);
        if let Some(tunnel) = &mut file.tunnel {
            tunnel.start_at(folder);
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

    /// `self` where it says something, `weaker` elsewhere.
    fn or(self, weaker: Options) -> Options {
        Options {
            path: self.path.or(weaker.path),
            plain: self.plain.or(weaker.plain),
            listen: self.listen.or(weaker.listen),
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
        let options = Options::parse("path = 's3://bucket/x'", Path::new("/etc/outflow.toml")).unwrap();
        assert_eq!(options.path.as_deref(), Some(Path::new("s3://bucket/x")));
    }

    #[test]
    fn the_file_knows_every_key_and_no_other() {
        let text = "
            path = 'data'
            listen = '127.0.0.1:0'
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
        let options = Options::parse(text, Path::new("/etc/outflow/outflow.toml")).unwrap();
        assert_eq!(options.path.as_deref(), Some(Path::new("/etc/outflow/data")));
        assert_eq!(options.cache.as_deref(), Some(Path::new("/c")));
        let stored = (options.plain, options.store_connections, options.hedge);
        assert_eq!(stored, (Some(true), Some(9), Some(true)));
        assert_eq!(options.segment_memory.map(Size::bytes), Some(1 << 30));
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
            assert!(Options::parse(wrong, Path::new("x")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_said_louder_wins() {
        let loud = Options { drain: Some(1), ..Options::default() };
        let weak = Options { drain: Some(2), threads: Some(3), ..Options::default() };
        let both = loud.or(weak);
        assert_eq!((both.drain, both.threads, both.hidden), (Some(1), Some(3), None));
    }
}
