//! Wrong command lines: what is wrong, and what to type instead.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use outflow_texts::{ConsoleText, Text, TextValue, console, text};

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
    Failure::Usage(anyhow!(console!(usage_error, error = text, command = name)))
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
        if self.path.len() == 1 { self.name() } else { self.path[1..].join(" ") }
    }

    /// `None` for errors that are no mistakes.
    fn explain(&self, error: &clap::Error) -> Option<Text> {
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
                text!(needs_command, command = name, known = commands.join(", "))
            }
            ErrorKind::MissingRequiredArgument => {
                let argument = match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::Strings(missing)) => all_of(missing),
                    _ => bare(&argument).into(),
                };
                match self.option("--since") {
                    Some(_) => text!(needs_argument_or_since, command = name, argument),
                    None => text!(needs_argument, command = name, argument),
                }
            }
            ErrorKind::ArgumentConflict => {
                let other = match error.get(ContextKind::PriorArg) {
                    Some(ContextValue::String(other)) => bare(other).into(),
                    Some(ContextValue::Strings(others)) => all_of(others),
                    _ => text!(another_argument).into(),
                };
                text!(not_together, one = bare(&argument), other)
            }
            ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
                self.wrong_number(&flag)
            }
            ErrorKind::NoEquals => text!(value_after_equals, flag),
            ErrorKind::InvalidUtf8 => text!(argument_not_utf8),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => self.invalid_value(error, &flag),
            _ => text!(other_usage_error, %error),
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

    fn invalid_value(&self, error: &clap::Error, flag: &str) -> Text {
        let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
        let option = self.option(flag);
        let shown = flag.trim_matches(['<', '>', '[', ']', '.']);
        let from = option
            .and_then(Arg::get_env)
            .filter(|_| !self.arguments.iter().any(|argument| argument.split('=').next() == Some(flag)))
            .filter(|variable| std::env::var_os(variable).is_some())
            .map(|variable| Path::new(variable).display().to_string());
        let is_given = self.arguments.iter().any(|argument| argument.is_empty() || argument.ends_with('='));
        if value.is_empty() && is_given {
            return text!(value_is_empty, name = shown);
        }
        if value.is_empty() && error.kind() == ErrorKind::InvalidValue {
            let names = option.and_then(|arg| arg.get_value_names()).unwrap_or_default();
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            return text!(needs_value, name = shown, value = names.join(" "));
        }
        let secret = option.is_some_and(is_secret);
        let ConsoleText(why) = why_invalid(error, secret);
        let value = match secret {
            true => TextValue::from(text!(the_value)),
            false => TextValue::from(format!("{:?}", shortened(&value))),
        };
        match from {
            Some(variable) => text!(value_of_variable_wrong, value, name = shown, variable, why),
            None => text!(value_wrong, value, name = shown, why),
        }
    }

    /// A switch with a value, or the like.
    fn wrong_number(&self, flag: &str) -> Text {
        match self.option(flag) {
            Some(arg) if is_switch(arg) => takes_no_value(flag),
            Some(arg) if is_off_switch(arg) => takes_no_value(&flag.replacen("--no-", "--", 1)),
            _ => text!(wrong_number_of_values, flag),
        }
    }

    fn unknown(&self, argument: &str) -> Text {
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
                Some(text!(did_you_mean, name = near))
            });
        let unknown = match self.path.len() {
            1 => text!(not_an_option_itself, flag),
            _ => text!(has_no_option, command = self.subject(), flag),
        };
        match advice {
            Some(advice) => text!(error_with_advice, error = unknown, advice),
            None => unknown,
        }
    }

    /// The advice for a flag of other programs, and for the other ones in the command line.
    fn hint_with_others(&self, flag: &str) -> Option<Text> {
        let mut advice = hints::option(&self.path, flag, self.value_of(flag))?;
        let typed = self.arguments.iter().filter_map(|argument| argument.split('=').next());
        let others: BTreeSet<&str> = typed.filter(|other| *other != flag).collect();
        for other in others {
            let hint = hints::option(&self.path, other, self.value_of(other));
            if let Some(hint) = hint.filter(|hint| *hint != advice) {
                advice = text!(advice_and_no_option, advice, flag = other, hint);
            }
        }
        Some(advice)
    }

    /// Advice for an option that is typed before the command that has it.
    fn before_its_command(&self, flag: &str) -> Option<Text> {
        let command = self.arguments.iter().find_map(|name| self.command.find_subcommand(name))?;
        let long = flag.strip_prefix("--")?;
        let has_it = command.get_arguments().any(|arg| arg.get_long() == Some(long));
        let command = format!("{} {}", self.name(), command.get_name());
        has_it.then(|| text!(options_follow_command, command, flag))
    }

    /// An argument too many.
    fn left_over(&self, argument: &str) -> Text {
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
            return text!(value_after_equals_help, flag = format!("--{long}"), command = self.name());
        }
        let takes: Vec<String> = self
            .command
            .get_positionals()
            .map(|arg| arg.get_value_names().unwrap_or_default().join(" "))
            .collect();
        match takes.as_slice() {
            [] => text!(takes_no_argument, command = name, argument = format!("{argument:?}")),
            _ => {
                let argument = format!("{:?}", shortened(argument));
                text!(one_argument_too_many, argument, command = name, arguments = takes.join(" "))
            }
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

    fn unknown_command(&self, typed: &str) -> Text {
        let name = self.name();
        let shown = shortened(typed);
        let unknown = match self.path.len() {
            1 => text!(not_a_command, name = shown),
            _ => text!(has_no_command, command = self.subject(), name = shown),
        };
        let with = |advice: Text| text!(error_with_advice, error = unknown, advice);
        if let Some(hint) = hints::command(&self.path, typed) {
            return with(hint);
        }
        let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
        let commands: Vec<&str> = commands.map(Command::get_name).collect();
        if let Some(near) = nearest(&typed.to_ascii_lowercase(), commands.iter().copied()) {
            return with(text!(did_you_mean, name = format!("{name} {near}")));
        }
        let is_served = self.path.len() == 1
            && (typed.contains(['/', '.', '~']) || Path::new(typed).exists() || typed.contains("://"));
        if is_served {
            return with(text!(to_serve_it, arguments = self.arguments.join(" ")));
        }
        with(text!(commands_are, known = commands.join(", ")))
    }
}

fn takes_no_value(switch: &str) -> Text {
    let name = switch.trim_start_matches("--");
    text!(switch_takes_no_value, switch, off = format!("--no-{name}"))
}

/// Why a value is invalid. Secrets are not quoted.
pub(super) fn why_invalid(error: &clap::Error, secret: bool) -> ConsoleText {
    if let Some(ContextValue::Strings(known)) = error.get(ContextKind::ValidValue)
        && !known.is_empty()
    {
        return console!(is_one_of, known = known.join(", "));
    }
    let source = error.source().filter(|_| !secret).map(ToString::to_string);
    match source.as_deref() {
        // Texts of std and clap that do not say what to type.
        Some(text) if text.contains("invalid digit") || text.contains("empty string") => {
            console!(is_whole_number)
        }
        Some("value was not a boolean") => console!(write_boolean),
        Some(text) => console!(value_error, error = text),
        None => console!(cannot_be_parsed),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The names of arguments.
fn all_of(arguments: &[String]) -> TextValue {
    let names = arguments.iter().map(|argument| TextValue::from(bare(argument)));
    names.reduce(|one, next| text!(one_and_next, one, next).into()).unwrap_or_else(|| "".into())
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
