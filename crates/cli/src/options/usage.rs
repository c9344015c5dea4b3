//! Wrong command lines: what is wrong, and what to type instead.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::definition::{is_secret, is_switch};
use super::hints;
use crate::failure::Failure;

/// The usage error for an error of clap.
pub(super) fn explain(error: &clap::Error, definition: &Command, arguments: &[OsString]) -> Failure {
    let place = Place::of(definition, arguments);
    let Some(text) = place.explain(error) else {
        // Commands without arguments print their help.
        error.exit();
    };
    let name = place.name();
    Failure::Usage(anyhow!("{text}\nfor all options: {name} --help"))
}

/// The command that was meant, as far as it can be told.
struct Place<'a> {
    path: Vec<&'a str>,
    command: &'a Command,
    arguments: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn of(definition: &'a Command, arguments: &'a [OsString]) -> Place<'a> {
        let mut place = Place { path: vec!["outflow"], command: definition, arguments: Vec::new() };
        for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
            if place.arguments.is_empty()
                && let Some(below) = place.command.find_subcommand(argument)
            {
                place.path.push(below.get_name());
                place.command = below;
            } else {
                place.arguments.push(argument);
            }
        }
        place
    }

    /// As it is typed: `outflow link create`.
    fn name(&self) -> String {
        self.path.join(" ")
    }

    /// The command in a sentence that begins with `outflow: `.
    fn subject(&self) -> String {
        if self.path.len() == 1 { "there".to_owned() } else { self.path[1..].join(" ") }
    }

    /// `None` for errors that are no mistakes.
    fn explain(&self, error: &clap::Error) -> Option<String> {
        let name = self.subject();
        let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
        let flag = argument.split([' ', '=']).next().unwrap_or_default().to_owned();
        let flag = shortened(&flag);
        Some(match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
            ErrorKind::UnknownArgument => self.unknown(&argument),
            ErrorKind::InvalidSubcommand => {
                self.unknown_command(&text(error, ContextKind::InvalidSubcommand).unwrap_or_default())
            }
            ErrorKind::MissingSubcommand => {
                let commands: Vec<&str> = self.command.get_subcommands().map(Command::get_name).collect();
                format!("{name} needs a command: {}", commands.join(", "))
            }
            ErrorKind::MissingRequiredArgument => {
                let missing = match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::Strings(missing)) => missing.join(" and "),
                    _ => argument,
                };
                let or_since = self.option("--since").map(|_| " or --since TIME").unwrap_or_default();
                format!("{name} needs {}{or_since}", bare(&missing))
            }
            ErrorKind::ArgumentConflict => {
                let other = match error.get(ContextKind::PriorArg) {
                    Some(ContextValue::String(other)) => other.clone(),
                    Some(ContextValue::Strings(others)) => others.join(" and "),
                    _ => "another argument".to_owned(),
                };
                format!("{} and {} cannot be used together; leave one out", bare(&argument), bare(&other))
            }
            ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
                self.wrong_number(&flag)
            }
            ErrorKind::NoEquals => format!("{flag} needs its value after an equals sign: {flag}=VALUE"),
            ErrorKind::InvalidUtf8 => "an argument is not UTF-8; only paths may be other bytes".to_owned(),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => self.invalid_value(error, &flag),
            _ => error.to_string(),
        })
    }

    fn option(&self, flag: &str) -> Option<&Arg> {
        let long = flag.strip_prefix("--");
        let by_name = |arg: &&Arg| {
            arg.get_long().is_some_and(|its| Some(its) == long)
                || arg.get_value_names().unwrap_or_default().iter().any(|name| {
                    arg.is_positional() && flag.trim_matches(['<', '>', '[', ']', '.']) == name.as_str()
                })
        };
        self.command.get_arguments().find(by_name)
    }

    fn invalid_value(&self, error: &clap::Error, flag: &str) -> String {
        let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
        let option = self.option(flag);
        let shown = flag.trim_matches(['<', '>', '[', ']', '.']);
        let from = option
            .and_then(Arg::get_env)
            .filter(|_| !self.arguments.iter().any(|argument| argument.split('=').next() == Some(flag)))
            .filter(|variable| std::env::var_os(variable).is_some())
            .map(|variable| format!(" (environment variable {})", Path::new(variable).display()));
        let from = from.unwrap_or_default();
        let is_given = self.arguments.iter().any(|argument| argument.is_empty() || argument.ends_with('='));
        if value.is_empty() && is_given {
            return format!("{shown} is empty; give it a value, or leave it out");
        }
        if value.is_empty() && error.kind() == ErrorKind::InvalidValue {
            let names = option.and_then(|arg| arg.get_value_names()).unwrap_or_default();
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            return format!("{shown} needs a value: {shown} {}", names.join(" "));
        }
        let secret = option.is_some_and(is_secret);
        let why = why_invalid(error, secret);
        let value = if secret { "the value".to_owned() } else { format!("{:?}", shortened(&value)) };
        format!("{value} is wrong for {shown}{from}: {why}")
    }

    /// A switch with a value, or the like.
    fn wrong_number(&self, flag: &str) -> String {
        match self.option(flag) {
            Some(arg) if is_switch(arg) => takes_no_value(flag),
            Some(arg) if is_off_switch(arg) => takes_no_value(&flag.replacen("--no-", "--", 1)),
            _ => format!("{flag} has the wrong number of values"),
        }
    }

    fn unknown(&self, argument: &str) -> String {
        let (flag, _) = argument.split_once('=').unwrap_or((argument, ""));
        let flag = shortened(flag);
        let flag = flag.as_str();
        if !flag.starts_with('-') || flag == "-" {
            return self.left_over(argument);
        }
        let options = self.command.get_arguments().filter(|arg| !arg.is_hide_set() || is_off_switch(arg));
        let options = options.filter_map(Arg::get_long).chain(["help", "version"]);
        let options: Vec<String> = options.map(|long| format!("--{long}")).collect();
        let plain = flag.replace('_', "-").to_ascii_lowercase();
        let advice = hints::address(&self.path, flag, |flag| self.value_of(flag))
            .or_else(|| self.hint_with_others(flag))
            .or_else(|| self.before_its_command(flag))
            .or_else(|| {
                let near = nearest(&plain, options.iter().map(String::as_str))?;
                Some(format!("did you mean {near}?"))
            });
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        match self.path.len() {
            1 => format!("{flag} is not an option of outflow itself{advice}"),
            _ => format!("{} has no option {flag}{advice}", self.subject()),
        }
    }

    /// The advice for a flag of other programs, and for the other ones in the command line.
    fn hint_with_others(&self, flag: &str) -> Option<String> {
        let mut advice = hints::option(&self.path, flag, self.value_of(flag))?;
        let typed = self.arguments.iter().filter_map(|argument| argument.split('=').next());
        let others: BTreeSet<&str> = typed.filter(|other| *other != flag).collect();
        for other in others {
            let hint = hints::option(&self.path, other, self.value_of(other));
            if let Some(hint) = hint.filter(|hint| !advice.contains(hint.as_str())) {
                advice = format!("{advice}; and no option {other}; {hint}");
            }
        }
        Some(advice)
    }

    /// Advice for an option that is typed before the command that has it.
    fn before_its_command(&self, flag: &str) -> Option<String> {
        let command = self.arguments.iter().find_map(|name| self.command.find_subcommand(name))?;
        let long = flag.strip_prefix("--")?;
        let has_it = command.get_arguments().any(|arg| arg.get_long() == Some(long));
        let name = self.name();
        has_it.then(|| format!("options follow the command: {name} {} {flag}", command.get_name()))
    }

    /// An argument too many.
    fn left_over(&self, argument: &str) -> String {
        let name = self.subject();
        let is_boolean = |text: &str| ["true", "false", "yes", "no", "on", "off", "0", "1"].contains(&text);
        let switch_before = self.arguments.windows(2).find_map(|pair| match pair {
            [flag, value] if is_boolean(value) => {
                self.option(flag).filter(|arg| is_switch(arg)).map(|_| *flag)
            }
            _ => None,
        });
        if let Some(switch) = switch_before {
            return takes_no_value(switch);
        }
        let after_equals = self.arguments.windows(2).find_map(|pair| match pair {
            [flag, value] if *value == argument => {
                self.option(flag).filter(|arg| arg.is_require_equals_set())
            }
            _ => None,
        });
        if let Some(long) = after_equals.and_then(Arg::get_long) {
            // The value may be a password.
            return format!("--{long} takes its value after an equals sign: `{name} --help` explains it");
        }
        let takes: Vec<String> = self
            .command
            .get_positionals()
            .map(|arg| arg.get_value_names().unwrap_or_default().join(" "))
            .collect();
        match takes.as_slice() {
            [] => format!("{name} takes no argument such as {argument:?}; options begin with --"),
            _ => format!(
                "{:?} is one argument too many: {name} takes {}",
                shortened(argument),
                takes.join(" ")
            ),
        }
    }

    /// The value of a flag, as far as it looks like one.
    fn value_of(&self, flag: &str) -> Option<&'a str> {
        let joined = |argument: &&'a str| argument.strip_prefix(flag)?.strip_prefix('=');
        if let Some(value) = self.arguments.iter().find_map(joined) {
            return Some(value);
        }
        let at = self.arguments.iter().position(|argument| *argument == flag)?;
        self.arguments.get(at + 1).copied().filter(|value| !value.starts_with('-'))
    }

    fn unknown_command(&self, typed: &str) -> String {
        let name = self.name();
        let shown = shortened(typed);
        let unknown = match self.path.len() {
            1 => format!("{shown} is not a command"),
            _ => format!("{} has no command {shown}", self.subject()),
        };
        if let Some(hint) = hints::command(&self.path, typed) {
            return format!("{unknown}; {hint}");
        }
        let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
        let commands: Vec<&str> = commands.map(Command::get_name).collect();
        if let Some(near) = nearest(&typed.to_ascii_lowercase(), commands.iter().copied()) {
            return format!("{unknown}; did you mean {name} {near}?");
        }
        let is_served = self.path.len() == 1
            && (typed.contains(['/', '.', '~']) || Path::new(typed).exists() || typed.contains("://"));
        if is_served {
            return format!("{unknown}; to serve it: outflow serve {}", self.arguments.join(" "));
        }
        format!("{unknown}; the commands are {}", commands.join(", "))
    }
}

fn takes_no_value(switch: &str) -> String {
    let name = switch.trim_start_matches("--");
    format!("{switch} takes no value: {switch} turns it on, --no-{name} turns it off")
}

/// Why a value is invalid. Secrets are not quoted.
pub(super) fn why_invalid(error: &clap::Error, secret: bool) -> String {
    if let Some(ContextValue::Strings(known)) = error.get(ContextKind::ValidValue)
        && !known.is_empty()
    {
        return format!("it is one of {}", known.join(", "));
    }
    let source = error.source().filter(|_| !secret).map(ToString::to_string);
    match source.as_deref() {
        // Texts of std and clap that do not say what to type.
        Some(text) if text.contains("invalid digit") || text.contains("empty string") => {
            "it is a whole number".to_owned()
        }
        Some("value was not a boolean") => "write 1, true, yes or on, or 0, false, no or off".to_owned(),
        Some(text) => text.to_owned(),
        None => "it cannot be parsed".to_owned(),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The name of an argument without the brackets of a usage line.
fn bare(argument: &str) -> String {
    argument.replace(['<', '>', '[', ']'], "").replace("...", "")
}

/// Whether an option turns a switch off. It is hidden in help.
fn is_off_switch(arg: &Arg) -> bool {
    arg.get_id().as_str().starts_with("no_")
}

/// A text that is not too long for a message.
pub(super) fn shortened(text: &str) -> String {
    /// Maximum number of characters that a message repeats.
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// The most similar of some names, if one is similar.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A quarter of the letters may be wrong. Longer texts are no misspelt names.
    if name.len() > 64 {
        return None;
    }
    let letters = name.trim_start_matches('-').chars().count();
    let allowed = (letters / 4).max(1);
    let scored = names.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    let best = scored.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= allowed).then_some(best.1)
}
