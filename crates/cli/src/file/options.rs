//! Options of `outflow file`. Flags and environment have kcup's names, so that its users change one
//! word.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;

use outflow_certs::CertificatePaths;

use crate::args::size::SizeArg;
use crate::failure::Failure;
use crate::run::logging::{LogFormat, LogLevel};

/// Largest content that `outflow file` reads into memory, unless the operator sets another size.
/// Its compressed forms come on top, and for a moment both the old and the new content.
///
/// Bound: sending. 1 GiB
const MAX_SIZE: &str = "1GiB";

/// A flag overrides the environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// Files to serve, joined to one content; - or no file at all is standard input [env: FILE]
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

    /// Seconds for standard input to end; 0 waits for ever
    #[arg(long, value_name = "SECONDS", env = "STDIN_READ_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    stdin_read_timeout_seconds: u64,

    /// Private key for TLS (PEM); needs --tls-cert
    #[arg(long, value_name = "FILE", env = "TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Certificate chain for TLS (PEM); needs --tls-key
    #[arg(long, value_name = "FILE", env = "TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The only path with the content, such as /.well-known/mta-sts.txt; others are 404 [default:
    /// every path]
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) path: Option<String>,

    /// Media type [default: by the file's name or --path]
    #[arg(long, value_name = "TYPE", value_parser = field_value)]
    pub(crate) content_type: Option<HeaderValue>,

    /// Cache-Control of the responses, such as max-age=3600
    #[arg(long, value_name = "VALUE", value_parser = field_value)]
    pub(crate) cache_control: Option<HeaderValue>,

    /// Read the files again when they change; SIGHUP always does that
    #[arg(long)]
    pub(crate) watch: bool,

    /// Maximum size of the content
    #[arg(long, value_name = "SIZE", default_value = MAX_SIZE)]
    pub(crate) max_size: SizeArg,

    /// Maximum number of open connections; further ones wait [default: 3/4 of the limit of open
    /// files]
    #[arg(long, value_name = "N", env = "OUTFLOW_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Seconds for downloads to finish after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", env = "OUTFLOW_DRAIN", default_value_t = crate::run::limits::DEFAULT_DRAIN, value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub(crate) drain: u32,

    /// Number of serving threads [default: one for each processor]
    #[arg(long, value_name = "N", env = "OUTFLOW_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Least important lines to log
    #[arg(long, value_name = "LEVEL", env = "LOG_LEVEL", default_value = "info", ignore_case = true)]
    pub(crate) log_level: LogLevel,

    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", env = "OUTFLOW_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

impl FileArgs {
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

    /// Time for standard input to end; `None` for no limit.
    pub(crate) fn stdin_timeout(&self) -> Option<Duration> {
        (self.stdin_read_timeout_seconds > 0).then(|| Duration::from_secs(self.stdin_read_timeout_seconds))
    }

    /// Certificate and key; one without the other is a usage error.
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
        return Err("the value is empty".to_owned());
    }
    value.parse().map_err(|_| "a header field cannot contain control characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_in_request_form() {
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
