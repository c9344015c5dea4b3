//! Options of `outflow file`. Flags have kcup's names where it has them.

use std::path::PathBuf;

use clap::Args;
use http::HeaderValue;
use outflow_texts::{ConsoleText, console};

use crate::args::duration::DurationArg;
use crate::args::size::SizeArg;
use crate::run::limits::ServerLimitArgs;
use crate::run::logging::LogArgs;
use crate::run::tls::CertificateArgs;

/// Largest content that `outflow file` reads into memory, unless the operator sets another size.
/// Its compressed forms come on top, and for a moment both the old and the new content.
///
/// Bound: sending. 1 GiB
const MAX_SIZE: &str = "1GiB";

#[derive(Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// Files to serve, joined into one; - or no file at all is standard input [env: FILE]
    #[arg(value_name = "PATH", conflicts_with = "file")]
    paths: Vec<PathBuf>,

    /// The same as PATH
    #[arg(short, long, value_name = "FILE", help_heading = "Content")]
    file: Vec<PathBuf>,

    /// Host to listen on: an address, or a name
    #[arg(long, env, default_value = "127.0.0.1", help_heading = "Listening", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) host: String,

    /// Port to listen on; 0 picks a free one
    #[arg(short, long, env, default_value_t = 5000, help_heading = "Listening")]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) tls: CertificateArgs,

    #[command(flatten)]
    pub(crate) content: ContentArgs,

    #[command(flatten)]
    pub(crate) limits: ServerLimitArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The content, and how it is described.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Content")]
pub(crate) struct ContentArgs {
    /// The only path that answers, such as /robots.txt [default: every path]
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
    #[arg(long, value_name = "SIZE", env, default_value = MAX_SIZE)]
    pub(crate) max_size: SizeArg,

    /// Time for standard input to reach its end; 0s disables the limit
    #[arg(long, value_name = "TIME", env, default_value = "60s")]
    pub(crate) stdin_timeout: DurationArg,
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
}

fn path(text: &str) -> Result<String, ConsoleText> {
    let fits =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err(console!(url_path_wrong)) }
}

fn field_value(text: &str) -> Result<HeaderValue, ConsoleText> {
    let value = text.trim();
    if value.is_empty() {
        return Err(console!(value_empty));
    }
    value.parse().map_err(|_| console!(header_field_wrong))
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
