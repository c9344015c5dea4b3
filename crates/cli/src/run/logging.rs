//! Logs on standard error, written by a thread of their own: a slow terminal does not slow down
//! downloads.

use std::io;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use outflow_texts::console;
use tracing::Metadata;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::access_lines::AccessLines;
use super::log_blocks::{LogBlocks, LogGuard};

/// The target of the lines of requests, which are many.
const ACCESS: &str = "outflow::access";

/// The log of a command.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Minimum severity to log
    #[arg(long, value_name = "LEVEL", env, default_value = "info", ignore_case = true)]
    log_level: LogLevel,

    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", env, default_value = "text")]
    log_format: LogFormat,
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// Starts logging. Dropping the guard writes the lines that wait.
///
/// # Errors
///
/// The thread that writes them cannot be started.
pub(crate) fn start(options: LogArgs) -> anyhow::Result<LogGuard> {
    let (writer, guard) = LogBlocks::start(io::stderr(), ACCESS).context(console!(cannot_start_log))?;
    let level = match options.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    let is_shown = filter_fn(|line| !may_have_secret(line));
    let format = options.log_format;
    match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(false);
            let lines = lines.map_event_format(|ordinary| AccessLines { target: ACCESS, format, ordinary });
            lines.finish().with(is_shown).init();
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.map_event_format(|ordinary| AccessLines { target: ACCESS, format, ordinary });
            lines.finish().with(is_shown).init();
        }
    }
    Ok(guard)
}

/// Whether a library may put a secret into a line: sqlx logs each parameter of an address that it
/// does not know, and each line of a password file (`PGPASSFILE`) that it cannot parse.
fn may_have_secret(line: &Metadata<'_>) -> bool {
    line.target().starts_with("sqlx_postgres::options")
        && ["line", "value"].iter().any(|field| line.fields().field(field).is_some())
}
