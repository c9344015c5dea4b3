//! `outflow config`: which values are in effect, and whether a file is right.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Arg, ArgAction, Args, Command, FromArgMatches as _, Subcommand};
use outflow_texts::console;

use crate::failure::{Failure, is_obeyed, print, printable};
use crate::options::{self, CommandLine, ConfigFile, ConfigProblems, Origin, file_key, is_secret};
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
            Origin::Flag if arg.is_positional() => console!(origin_argument).to_string(),
            Origin::Flag => console!(origin_flag).to_string(),
            Origin::Environment => {
                arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Origin::File(path, line) => format!("{}:{line}", path.display()),
            Origin::Default => console!(origin_default).to_string(),
            Origin::Unset => {
                let _ = writeln!(text, "# {}", console!(key_is_not_set, key));
                continue;
            }
        };
        let value = if options::is_switch(arg) {
            line.is_on(id).to_string()
        } else if is_secret(arg) {
            let _ = writeln!(text, "# {}  # {origin}", console!(key_is_not_shown, key));
            continue;
        } else {
            toml_of(arg, &line.written(id))
        };
        let _ = writeln!(text, "{key} = {value}  # {origin}");
    }
    let webhooks = options.serve.events.webhooks.len();
    if webhooks > 0 {
        let _ = writeln!(text, "\n# [[webhooks]]: {}", console!(webhooks_not_shown, count = webhooks));
    }
    Ok(print(&text)?)
}

/// Table, key and option, those at the top of the file first.
fn keys(serve: &Command) -> Vec<(Option<&'static str>, String, &Arg)> {
    let shown = serve.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut keys: Vec<_> =
        shown.filter_map(|arg| file_key(arg).map(|(table, key)| (table, key, arg))).collect();
    keys.sort_by_key(|(table, ..)| *table);
    keys
}

/// A value as TOML. Paths are absolute, because a file has relative ones start at its folder.
fn toml_of(arg: &Arg, values: &[OsString]) -> String {
    let is_path = arg.get_value_parser().type_id() == clap::value_parser!(PathBuf).type_id();
    let is_number = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "N"));
    let one = |value: &OsString| {
        let path = Path::new(value);
        let is_relative = is_path && serve::store_address(path).is_none();
        let absolute = is_relative.then(|| std::path::absolute(path).ok()).flatten();
        let text = absolute.as_deref().unwrap_or(path).to_string_lossy().into_owned();
        if is_number { text } else { toml_string(&without_password(&text)) }
    };
    match values {
        [value] if !matches!(arg.get_action(), ArgAction::Append) => one(value),
        _ => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_obeyed(c) || c == '\n' => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A URL without the user and password in it.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// Reads the file as `outflow serve --config FILE` does, and prints every problem.
pub(crate) fn check(options: &ConfigCheckArgs, definition: &Command) -> Result<(), Failure> {
    let serve = definition.find_subcommand("serve");
    let Some(serve) = serve else { return Ok(()) };
    let file = match ConfigFile::read(&options.file, serve) {
        Ok(file) => file,
        Err(ConfigProblems(mut problems)) => {
            let last = problems.pop().unwrap_or_default();
            for problem in problems {
                eprintln!("outflow: {}", printable(&problem));
            }
            return Err(Failure::Usage(anyhow!("{last}")));
        }
    };
    let line = options::parse_file(definition, "serve", file)?;
    let Some(matches) = line.matches.subcommand_matches("serve") else { return Ok(()) };
    let serve = ServeArgs::from_arg_matches(matches).map_err(anyhow::Error::from)?;
    serve::check(&serve)?;
    Ok(print(&format!("{}\n", console!(config_is_valid, path = %options.file.display())))?)
}
