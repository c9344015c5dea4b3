//! The definition of commands and options as man pages, completions and pages of the reference.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::Shell;
use outflow_texts::console;

use super::definition::{file_key, is_switch};
use crate::failure::{Failure, print};

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder to write to, such as /usr/local/share/man/man1; made if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ReferenceArgs {
    /// The page
    #[arg(value_name = "PAGE")]
    page: ReferencePage,
}

/// A page of docs/reference.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReferencePage {
    /// Commands and their options
    Cli,
    /// Keys of the configuration file
    Config,
}

/// Writes a man page for each command.
pub(crate) fn write_man_pages(definition: &Command, options: &ManArgs) -> Result<(), Failure> {
    let folder = options.folder.display();
    let write = || {
        std::fs::create_dir_all(&options.folder)?;
        clap_mangen::generate_to(definition.clone(), &options.folder)
    };
    write().with_context(|| console!(cannot_write_man_pages, %folder))?;
    Ok(print(&format!("{}\n", console!(wrote_man_pages, %folder)))?)
}

/// Prints the completions of a shell.
pub(crate) fn print_completions(definition: &Command, options: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut visible(definition), "outflow", &mut script);
    Ok(print(&String::from_utf8_lossy(&script))?)
}

/// The commands and options that help shows: clap's completions have hidden ones as well.
fn visible(command: &Command) -> Command {
    let shown = Command::new(command.get_name().to_owned())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|below| !below.is_hide_set()).map(visible));
    let shown = command.get_about().into_iter().fold(shown, |shown, about| shown.about(about.clone()));
    command.get_version().into_iter().fold(shown, |shown, version| shown.version(version.to_owned()))
}

/// Prints a page of the reference in Markdown.
pub(crate) fn print_page(definition: &Command, options: &ReferenceArgs) -> Result<(), Failure> {
    Ok(print(&page(definition, options.page))?)
}

fn page(definition: &Command, page: ReferencePage) -> String {
    match page {
        ReferencePage::Cli => cli(definition),
        ReferencePage::Config => config(definition),
    }
}

/// Made from the definition by this line.
const HEAD: &str = "<!-- Made by scripts/reference from the definition of the options. -->\n\n";

fn cli(definition: &Command) -> String {
    let mut text = format!("{HEAD}# Commands and options\n");
    text.push_str(
        "\n`-h` prints the options of a command in a line each, `--help` explains them. A switch is turned on by\n\
         `--NAME` and off by `--no-NAME`. Durations have a unit: `45s`, `30m`, `12h`, `7d`, `2w`. So have sizes, in\n\
         powers of 1024: `64KiB`, `256MiB`, `1GiB`. A variable sets a switch by `1`, `true`, `yes` or `on`, or else\n\
         by `0`, `false`, `no` or `off`; an empty variable is none. Flags override variables, which override the\n\
         [configuration file](config.md).\n",
    );
    command(&mut text, definition, &[]);
    text
}

fn command(text: &mut String, of: &Command, above: &[&str]) {
    let path: Vec<&str> = above.iter().copied().chain([of.get_name()]).collect();
    let name = path.join(" ");
    if of.get_subcommands().next().is_none() {
        let about = of.get_long_about().or(of.get_about()).map(ToString::to_string).unwrap_or_default();
        let _ = write!(text, "\n## {name}\n\n{about}.\n\n    {}\n", usage(of, &name));
        let positionals = of.get_positionals().filter(|arg| !arg.is_hide_set());
        let positionals: Vec<&Arg> = positionals.collect();
        if !positionals.is_empty() {
            text.push_str("\n| argument | |\n|---|---|\n");
            for arg in positionals {
                let _ = writeln!(
                    text,
                    "| `{}` | {} |",
                    arg.get_value_names().unwrap_or_default().join(" ").replace('|', r"\|"),
                    meaning(arg)
                );
            }
        }
        let mut heading = None;
        for arg in of.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()) {
            let its = arg.get_help_heading().unwrap_or("Options");
            if heading != Some(its) {
                heading = Some(its);
                let _ = write!(text, "\n| {its} | |\n|---|---|\n");
            }
            let _ = writeln!(text, "| {} | {} |", flag(arg), meaning(arg));
        }
    }
    for below in of.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        command(text, below, &path);
    }
}

fn usage(of: &Command, name: &str) -> String {
    let usage = of.clone().bin_name(name).render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

/// `-c`, `--config FILE`
fn flag(arg: &Arg) -> String {
    let mut flag = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let _ = write!(flag, "`--{}", arg.get_long().unwrap_or_default());
    if !is_switch(arg) {
        let value = arg.get_value_names().unwrap_or_default().join(" ");
        let _ =
            if arg.is_require_equals_set() { write!(flag, "[={value}]") } else { write!(flag, " {value}") };
    }
    flag.replace('|', r"\|") + "`"
}

/// The help, with values, default and variable.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.replace("\n\n", ". ").replace('\n', " ").replace('|', r"\|");
    // A comment of two paragraphs: its first one has no full stop.
    text = text.replace("..", ".").replace("….", "…").trim_end_matches('.').to_owned();
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && !is_switch(arg) {
        let _ = write!(text, ": {}", values.join(", "));
    }
    let default: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if !default.is_empty() && !is_switch(arg) {
        let _ = write!(text, "; default {}", default.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, "; `{}`", variable.to_string_lossy());
    }
    text
}

fn config(definition: &Command) -> String {
    let mut text = format!("{HEAD}# The configuration file\n");
    text.push_str(
        "\n`outflow serve --config FILE` reads options from a TOML file: the keys are the names of the options of\n\
         [outflow serve](cli.md#outflow-serve). Flags and the environment win over the file. Relative paths are\n\
         relative to the file's folder. Durations and sizes are texts with a unit, switches are `true` or `false`, and\n\
         an option that may be given several times is a list. `outflow config check FILE` finds mistakes, and\n\
         `outflow config show --config FILE` prints what is in effect, and where each value comes from.\n",
    );
    let Some(serve) = definition.find_subcommand("serve") else { return text };
    let shown: Vec<(Option<&str>, String, &Arg)> = serve
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| file_key(arg).map(|(table, key)| (table, key, arg)))
        .collect();
    for table in [None, Some("channels"), Some("tunnel")] {
        let _ = match table {
            None => write!(text, "\n| key | |\n|---|---|\n"),
            Some(table) => write!(text, "\n## [{table}]\n\n| key | |\n|---|---|\n"),
        };
        for (_, key, arg) in shown.iter().filter(|(its, ..)| *its == table) {
            // A file says it in another way than a command line.
            let off = format!("--no-{}", arg.get_long().unwrap_or_default());
            let meaning = meaning(arg).replace(&off, &format!("`{key} = false`"));
            let _ = writeln!(text, "| `{key}` | {meaning} |");
        }
    }
    text.push_str(
        "\n## [[webhooks]]\n\nA webhook with a filter and secrets of its own; may be there several times.\n\n\
         | key | |\n|---|---|\n\
         | `url` | URL that receives events by POST |\n\
         | `secrets` | list of secrets that sign the events; `outflow endpoint keygen` makes one |\n\
         | `id` | name of the endpoint in the ledger; made from the URL if it is missing |\n\
         | `events` | list of kinds, such as `download.completed`; all if it is missing |\n\
         | `path` | only downloads below this address |\n\
         | `transfer` | only downloads of this transfer |\n\
         | `recipient` | only downloads of this recipient |\n\
         | `allow-private` | allow the URL to be in a private network |\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pages_of_the_reference_are_those_of_the_definition() {
        let definition = crate::definition();
        for (name, made) in [("cli", ReferencePage::Cli), ("config", ReferencePage::Config)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/reference/{name}.md"));
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                page(&definition, made) == written,
                "docs/reference/{name}.md is stale: run scripts/reference"
            );
        }
    }

    #[test]
    fn the_keys_of_a_webhook_are_all_there() {
        let error = crate::serve::WebhookArgs::parse(r#"{"": 1}"#).unwrap_err().to_string();
        let keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert!(keys.len() > 6, "{error}");
        let page = page(&crate::definition(), ReferencePage::Config);
        for key in keys {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
    }

    #[test]
    fn every_option_has_a_help_line_a_heading_and_a_unit() {
        fn check(command: &Command, above: &str) {
            let name = format!("{above} {}", command.get_name());
            assert!(command.get_about().is_some(), "{name} has no help");
            let many = command.get_arguments().filter(|arg| !arg.is_hide_set()).count() > 12;
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let id = arg.get_id();
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{name}: {id} has no help");
                assert!(help.len() <= 130 && !help.contains('\n'), "{name}: {id}: too long for -h: {help}");
                assert!(!help.ends_with('.'), "{name}: {id}: a full stop");
                assert!(help.starts_with(|c: char| c.is_uppercase()), "{name}: {id}: {help}");
                if arg.is_positional() {
                    continue;
                }
                assert!(!many || arg.get_help_heading().is_some(), "{name}: {id} has no heading");
                let value = arg.get_value_names().unwrap_or_default().join(" ");
                assert!(is_switch(arg) || !value.is_empty(), "{name}: {id} has no name for its value");
                // A number is one of something: times have the value TIME, and sizes SIZE.
                let is_number = value == "N" || value == "SECONDS" || value == "BYTES";
                let says_what = ["number", "Number", "port", "Port"].iter().any(|word| help.contains(word));
                assert!(!is_number || says_what, "{name}: {id} has no unit: {help}");
                let default =
                    arg.get_default_values().first().and_then(|value| value.to_str()).unwrap_or_default();
                let has_unit = default.ends_with(|c: char| c.is_ascii_alphabetic());
                assert!(
                    !["TIME", "SIZE"].contains(&value.as_str()) || default.is_empty() || has_unit,
                    "{name}: {id}"
                );
            }
            for below in command.get_subcommands() {
                check(below, &name);
            }
        }
        check(&crate::definition(), "");
    }
}
