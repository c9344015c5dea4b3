//! What `outflow file` can be told. Flags and environment have kcup's names, so that its users change one word.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;

use outflow_certs::CertificatePaths;

use crate::Failure;
use crate::args::size::Size;
use crate::serve::options::{LogFormat, LogLevel};

/// A flag is stronger than the environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Files to serve, one after the other as one content; - is standard input, and so is no file at all [env: FILE]
    #[arg(value_name = "PATH", conflicts_with = "file")]
    paths: Vec<PathBuf>,

    /// The same as PATH
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Host to listen on: an address, or a name
    #[arg(long, env = "HOST", default_value = "127.0.0.1", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) host: String,

    /// Port to listen on; 0 picks a free one
    #[arg(short, long, env = "PORT", default_value_t = 5000)]
    pub(crate) port: u16,

    /// How long standard input may take to end; 0 waits for ever
    #[arg(long, value_name = "SECONDS", env = "STDIN_READ_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    stdin_read_timeout_seconds: u64,

    /// Private key for TLS (PEM); needs --tls-cert
    #[arg(long, value_name = "FILE", env = "TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Certificate chain for TLS (PEM); needs --tls-key
    #[arg(long, value_name = "FILE", env = "TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The only address that has the content, such as /.well-known/mta-sts.txt; others are 404 [default: every address has it]
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) path: Option<String>,

    /// Media type [default: what the file's name or --path stands for]
    #[arg(long, value_name = "TYPE", value_parser = field_value)]
    pub(crate) content_type: Option<HeaderValue>,

    /// Cache-Control of the answers, such as max-age=3600
    #[arg(long, value_name = "VALUE", value_parser = field_value)]
    pub(crate) cache_control: Option<HeaderValue>,

    /// Read the files again when they change; SIGHUP always does that
    #[arg(long)]
    pub(crate) watch: bool,

    /// Largest content that is taken into memory
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) max_size: Size,

    /// Connections open at the same time; further ones wait [default: 3/4 of the limit of open files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Seconds that downloads have to finish after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", default_value_t = crate::run::limits::DRAIN, value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub(crate) drain: u32,

    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// How much is logged
    #[arg(long, value_name = "LEVEL", env = "LOG_LEVEL", default_value = "info", ignore_case = true)]
    pub(crate) log_level: LogLevel,

    /// How it is logged, on stderr
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

impl Options {
    /// The files to serve; `-` for standard input.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        for named in [&self.paths, &self.file] {
            if !named.is_empty() {
                return named.clone();
            }
        }
        let file = std::env::var_os("FILE").filter(|file| !file.is_empty());
        vec![file.map_or_else(|| PathBuf::from("-"), PathBuf::from)]
    }

    /// How long standard input may take; nothing: as long as it likes.
    pub(crate) fn stdin_timeout(&self) -> Option<Duration> {
        (self.stdin_read_timeout_seconds > 0).then(|| Duration::from_secs(self.stdin_read_timeout_seconds))
    }

    /// Certificate and key; with one of them there is no telling what is wanted.
    pub(crate) fn tls(&self) -> Result<Option<CertificatePaths>, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Ok(Some(CertificatePaths { certificate: certificate.clone(), key: key.clone() }))
            }
            (None, None) => Ok(None),
            (Some(_), None) => Err(Failure::Usage(anyhow::anyhow!(
                "--tls-cert without --tls-key: TLS needs both; leave out both for plain HTTP"
            ))),
            (None, Some(_)) => Err(Failure::Usage(anyhow::anyhow!(
                "--tls-key without --tls-cert: TLS needs both; leave out both for plain HTTP"
            ))),
        }
    }
}

fn path(text: &str) -> Result<String, String> {
    let fits =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a path begins with / and has neither ? nor #; what is not ASCII is percent-encoded".to_owned())
    }
}

fn field_value(text: &str) -> Result<HeaderValue, String> {
    let value = text.trim();
    if value.is_empty() {
        return Err("there is nothing in it".to_owned());
    }
    value.parse().map_err(|_| "a header field has no control characters in it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_requests_have_them() {
        for (text, fits) in [
            ("/.well-known/mta-sts.txt", true),
            ("/", true),
            ("/%C3%A4", true),
            ("", false),
            ("x", false),
            ("/a?b", false),
            ("/a b", false),
            ("/ä", false),
        ] {
            assert_eq!(path(text).is_ok(), fits, "{text}");
        }
        assert!(field_value("text/plain; charset=utf-8").is_ok());
        assert!(field_value(" ").is_err() && field_value("a\nb").is_err());
    }
}
