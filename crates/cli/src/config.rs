//! `outflow config`: which values are in effect, and whether a file is right.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Command, FromArgMatches as _, Subcommand};

use crate::failure::{Failure, print};
use crate::options::{self, CommandLine, ConfigFile, Origin, file_key, is_secret};
use crate::serve::{self, ServeArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the effective options of `outflow serve`, and where each comes from
    Show(Box<ConfigShowArgs>),
    /// Check a configuration file
    Check(ConfigCheckArgs),
}

/// The same options as `outflow serve` has.
#[derive(Args, Debug)]
pub(crate) struct ConfigShowArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ConfigCheckArgs {
    /// TOML file with options of `outflow serve`
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints the options as a configuration file.
pub(crate) fn show(
    options: &ConfigShowArgs,
    line: &CommandLine,
    definition: &Command,
) -> Result<(), Failure> {
    serve::check(&options.serve)?;
    let Some(serve) = definition.find_subcommand("serve") else { return Ok(()) };
    let mut text = String::new();
    let mut table = None;
    for (in_table, key, arg) in keys(serve) {
        if in_table != table {
            table = in_table;
            let _ = writeln!(text, "\n[{}]", table.unwrap_or_default());
        }
        let id = arg.get_id().as_str();
        let origin = match line.origin(id) {
            Origin::Flag if arg.is_positional() => "argument".to_owned(),
            Origin::Flag => "flag".to_owned(),
            Origin::Environment => {
                arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Origin::File(path, line) => format!("{}:{line}", path.display()),
            Origin::Default => "default".to_owned(),
            Origin::Unset => {
                let _ = writeln!(text, "# {key} is not set");
                continue;
            }
        };
        let values: Vec<String> =
            line.written(id).iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let value = if is_secret(arg) { "\"***\"".to_owned() } else { toml_of(arg, &values) };
        let _ = writeln!(text, "{key} = {value}  # {origin}");
    }
    Ok(print(&text)?)
}

/// Table, key and option, those at the top of the file first.
fn keys(serve: &Command) -> Vec<(Option<&'static str>, String, &clap::Arg)> {
    let shown = serve.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut keys: Vec<_> =
        shown.filter_map(|arg| file_key(arg).map(|(table, key)| (table, key, arg))).collect();
    keys.sort_by_key(|(table, ..)| *table);
    keys
}

fn toml_of(arg: &clap::Arg, values: &[String]) -> String {
    let is_plain = |value: &str| value == "true" || value == "false" || value.parse::<i64>().is_ok();
    let one = |value: &String| if is_plain(value) { value.clone() } else { format!("{value:?}") };
    match values {
        [value] if !matches!(arg.get_action(), clap::ArgAction::Append) => one(value),
        _ => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// Reads the file as `outflow serve --config FILE` does, and prints every problem.
pub(crate) fn check(options: &ConfigCheckArgs, definition: &Command) -> Result<(), Failure> {
    let serve = definition.find_subcommand("serve");
    let Some(serve) = serve else { return Ok(()) };
    if let Err(problems) = ConfigFile::read(&options.file, serve) {
        let (last, others) =
            problems.0.split_last().map(|(last, others)| (last.clone(), others)).unwrap_or_default();
        for problem in others {
            eprintln!("outflow: {problem}");
        }
        return Err(Failure::Usage(anyhow!("{last}")));
    }
    let line = ["outflow".into(), "serve".into(), "--config".into(), options.file.clone().into_os_string()];
    let line = options::parse(definition, line.to_vec())?;
    let matches =
        line.matches.subcommand_matches("serve").ok_or_else(|| anyhow!("no command in the line"))?;
    let serve = ServeArgs::from_arg_matches(matches).map_err(anyhow::Error::from)?;
    serve::check(&serve)?;
    Ok(print(&format!("{} is right\n", shown(&options.file)))?)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
