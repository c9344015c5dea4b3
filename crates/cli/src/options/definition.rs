//! What follows from the definition of an option.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// Variables of `outflow file` that have kcup's names, so that its users change one word.
const KCUP_VARIABLES: [(&str, &str); 5] = [
    ("host", "HOST"),
    ("log_level", "LOG_LEVEL"),
    ("port", "PORT"),
    ("tls_cert", "TLS_CERT"),
    ("tls_key", "TLS_KEY"),
];

/// Tables of the configuration file: options whose names begin with the prefix are keys of the
/// table, without it.
const TABLES: [(&str, &str); 2] = [("channel_", "channels"), ("tunnel_", "tunnel")];

/// Options whose values are secrets, or may contain one.
const SECRETS: [&str; 4] = ["ledger", "webhook", "webhook_secret", "webhooks"];

/// Completes the definition of a command and of those below it:
///
/// - An option that is marked with `env` can be set by the variable `OUTFLOW_` and its name.
/// - A switch that is on by default, or can be set by a variable or a file, is turned off by
///   `--no-NAME`. A variable sets a switch by 1, true, yes or on, and by 0, false, no or off.
/// - Below `outflow tunnel`, options are called without `tunnel-`.
/// - The last of several values of an option wins, so that scripts can append flags.
pub(crate) fn complete(command: Command) -> Command {
    complete_below(command, &[])
}

fn complete_below(command: Command, above: &[String]) -> Command {
    let path: Vec<String> = above.iter().cloned().chain([command.get_name().to_owned()]).collect();
    let command = command.args_override_self(true).mut_args(|arg| complete_option(arg, &path));
    let switches: Vec<Arg> = command.get_arguments().filter(|arg| is_switch(arg)).cloned().collect();
    let command = switches.into_iter().fold(command, |command, switch| {
        let long = format!("no-{}", switch.get_long().unwrap_or_default());
        let off = Arg::new(off_id(&switch)).long(long).action(ArgAction::SetTrue).hide(true);
        command.arg(off)
    });
    command.mut_subcommands(|command| complete_below(command, &path))
}

fn complete_option(arg: Arg, path: &[String]) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    let mut arg = arg.hide_env_values(true);
    if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        // So that the option itself says what is wrong with -1.
        arg = arg.allow_negative_numbers(true);
    }
    if arg.get_env().is_some() {
        let kcup =
            KCUP_VARIABLES.iter().find(|(name, _)| *name == id && path.ends_with(&["file".to_owned()]));
        let variable = kcup.map_or_else(|| variable(&id), |(_, variable)| (*variable).to_owned());
        arg = arg.env(variable);
    }
    if path.get(1).is_some_and(|command| command == "tunnel")
        && let Some(short) = arg.get_long().and_then(|long| long.strip_prefix("tunnel-"))
    {
        let short = short.to_owned();
        arg = arg.long(short);
    }
    if is_switch(&arg) {
        // A variable with any other text is an error, not a yes.
        arg = arg.value_parser(BoolishValueParser::new());
        if is_on(&arg) {
            let off = arg.get_long().unwrap_or_default().to_owned();
            let note = on_help(&off);
            let help = arg.get_help().map(|help| format!("{help} {note}"));
            let long = arg.get_long_help().map(|help| format!("{help}\n\n{note}"));
            if let Some(long) = long {
                arg = arg.long_help(long);
            }
            if let Some(help) = help {
                arg = arg.help(help);
            }
        }
    }
    arg
}

/// What the help of a switch says that is on by default.
fn on_help(name: &str) -> String {
    format!("[default: on; --no-{name} turns it off]")
}

/// The environment variable of an option.
fn variable(id: &str) -> String {
    format!("OUTFLOW_{}", id.to_ascii_uppercase())
}

/// Whether an option is on or off, without a value.
pub(crate) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue) && !arg.get_id().as_str().starts_with("no_")
}

/// Whether a switch is on by default.
pub(super) fn is_on(switch: &Arg) -> bool {
    switch.get_default_values().iter().any(|value| value == "true")
}

/// The id of the option that turns a switch off.
pub(super) fn off_id(switch: &Arg) -> String {
    format!("no_{}", switch.get_id())
}

/// The table and the key of an option in the configuration file. `None` for the table is the top of
/// the file; `None` for all is an option that a file cannot set.
pub(crate) fn file_key(arg: &Arg) -> Option<(Option<&'static str>, String)> {
    let id = arg.get_id().as_str();
    let is_elsewhere = ["config", "help", "version", "json"].contains(&id) || id.starts_with("no_");
    if is_elsewhere {
        return None;
    }
    let in_table = TABLES.iter().find_map(|(prefix, table)| Some((Some(*table), id.strip_prefix(prefix)?)));
    let (table, key) = in_table.unwrap_or((None, id));
    Some((table, key.replace('_', "-")))
}

/// Whether a value must not be shown.
pub(crate) fn is_secret(arg: &Arg) -> bool {
    SECRETS.contains(&arg.get_id().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Command {
        let switch = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
        let file = Command::new("file").arg(Arg::new("port").long("port").env("PORT"));
        let tunnel = Command::new("tunnel").subcommand(
            Command::new("serve")
                .arg(Arg::new("tunnel_allow").long("tunnel-allow").env("X").action(ArgAction::Append)),
        );
        complete(
            Command::new("outflow")
                .arg(switch("http2").default_value("true").env("HTTP2"))
                .arg(switch("hidden"))
                .subcommand(file)
                .subcommand(tunnel),
        )
    }

    fn option<'a>(command: &'a Command, path: &[&str], id: &str) -> &'a Arg {
        let command = path.iter().fold(command, |command, name| command.find_subcommand(name).unwrap());
        command.get_arguments().find(|arg| arg.get_id() == id).unwrap()
    }

    #[test]
    fn names_follow_from_the_definition() {
        let command = sample();
        for (path, id, variable, long) in [
            (&[][..], "http2", Some("OUTFLOW_HTTP2"), "http2"),
            (&[], "hidden", None, "hidden"),
            (&["file"], "port", Some("PORT"), "port"),
            (&["tunnel", "serve"], "tunnel_allow", Some("OUTFLOW_TUNNEL_ALLOW"), "allow"),
        ] {
            let arg = option(&command, path, id);
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), variable, "{id}");
            assert_eq!(arg.get_long(), Some(long), "{id}");
        }
        let allow = option(&command, &["tunnel", "serve"], "tunnel_allow");
        assert_eq!(file_key(allow), Some((Some("tunnel"), "allow".to_owned())));
        assert_eq!(file_key(option(&command, &[], "hidden")), Some((None, "hidden".to_owned())));
        assert_eq!(file_key(option(&command, &[], "no_hidden")), None);
    }
}
