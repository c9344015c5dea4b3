//! From a command line, the environment and a configuration file to values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use outflow_texts::console;

use super::config_file::{ConfigFile, FileValue};
use super::definition::{is_switch, off_id};
use super::usage;
use crate::failure::Failure;

/// A parsed command line.
pub(crate) struct CommandLine {
    pub(crate) matches: ArgMatches,
    /// The configuration file that was read.
    file: Option<ConfigFile>,
    /// Ids of switches that were turned off by a flag.
    off: Vec<String>,
}

/// Where the value of an option comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    /// Name of the file and line.
    File(PathBuf, usize),
    Default,
    /// It has no value; what happens then depends on the machine.
    Unset,
}

/// Parses a command line for a completed definition.
///
/// # Errors
/// A usage error for wrong arguments, variables and configuration files. Help and the version are
/// printed, and end the process.
pub(crate) fn parse(definition: &Command, arguments: Vec<OsString>) -> Result<CommandLine, Failure> {
    let path = path_of(definition, &arguments);
    let mut command = usable_environment(definition.clone(), &path, &arguments)?;
    if arguments.iter().any(|argument| argument == "-h") {
        // A line for each option.
        command = at(command, &path, &|command| command.mut_args(|arg| arg.hide_env(true)));
    }
    let first = matches(&command, &arguments)?;
    let leaf = leaf_matches(&first);
    let leaf_command = leaf_command(&command, &path);
    let switches = leaf_command.get_arguments().filter(|arg| is_switch(arg));
    let off: Vec<String> = switches
        .filter(|switch| is_turned_off(leaf, switch))
        .map(|switch| switch.get_id().to_string())
        .collect();
    let file = match leaf.try_get_one::<PathBuf>("config") {
        Ok(Some(path)) => Some(ConfigFile::read(path, leaf_command).map_err(|problems| {
            let more = problems.0.len() - 1;
            let first = problems.0.into_iter().next().unwrap_or_default();
            Failure::Usage(match more {
                0 => anyhow!("{first}"),
                _ => {
                    anyhow!(console!(config_problem_of_many, problem = first, count = %more, path = %path.display()))
                }
            })
        })?),
        _ => None,
    };
    if off.is_empty() && file.is_none() {
        return Ok(CommandLine { matches: first, file, off });
    }
    // What the file and `--no-…` say become defaults. The latter win over the environment.
    let command = at(command, &path, &|command| {
        let weak = file.iter().flat_map(|file| &file.values).filter(|value| {
            let stronger = leaf.value_source(&value.id);
            !matches!(stronger, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        });
        off.iter().fold(with_values(command, weak), |command, switch| {
            let off = |arg: Arg| arg.action(ArgAction::SetFalse).default_value("false").env(None::<&str>);
            command.mut_arg(switch, off)
        })
    });
    Ok(CommandLine { matches: matches(&command, &arguments)?, file, off })
}

/// What a configuration file says alone: without flags, and without the environment. `command` is
/// the name of the command whose options it has.
pub(crate) fn parse_file(
    definition: &Command,
    command: &str,
    file: ConfigFile,
) -> Result<CommandLine, Failure> {
    let path = [command.to_owned()];
    let alone = at(definition.clone(), &path, &|command| {
        with_values(command.mut_args(|arg| arg.env(None::<&str>)), file.values.iter())
    });
    let line = ["outflow".into(), command.into()];
    Ok(CommandLine { matches: matches(&alone, &line)?, file: Some(file), off: Vec::new() })
}

/// Makes values of a file the defaults of their options. A list of the file is not split again.
fn with_values<'a>(command: Command, values: impl Iterator<Item = &'a FileValue>) -> Command {
    values.fold(command, |command, value| {
        command.mut_arg(&value.id, |arg| arg.default_values(value.values.clone()).value_delimiter(None))
    })
}

/// Whether `--no-NAME` is the last word of the command line about a switch.
fn is_turned_off(matches: &ArgMatches, switch: &Arg) -> bool {
    let at = |id: &str| {
        let is_flag = matches.value_source(id) == Some(ValueSource::CommandLine);
        is_flag.then(|| matches.index_of(id)).flatten()
    };
    let off = at(&off_id(switch));
    off.is_some() && off > at(switch.get_id().as_str())
}

fn matches(command: &Command, arguments: &[OsString]) -> Result<ArgMatches, Failure> {
    command.clone().try_get_matches_from(arguments).map_err(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        usage::explain(&error, command, arguments)
    })
}

impl CommandLine {
    /// Where the value of the option with this id comes from.
    pub(crate) fn origin(&self, id: &str) -> Origin {
        if self.off.iter().any(|off| off == id) {
            return Origin::Flag;
        }
        let from_file = || {
            let file = self.file.as_ref()?;
            let value = file.values.iter().find(|value| value.id == id)?;
            Some(Origin::File(file.path.clone(), value.line))
        };
        match leaf_matches(&self.matches).value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Environment,
            Some(_) => from_file().unwrap_or(Origin::Default),
            None => Origin::Unset,
        }
    }

    /// The values of the option with this id, as they were written.
    pub(crate) fn written(&self, id: &str) -> Vec<OsString> {
        let values = leaf_matches(&self.matches).get_raw(id);
        values.into_iter().flatten().map(OsString::from).collect()
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, id: &str) -> bool {
        leaf_matches(&self.matches).get_flag(id)
    }
}

/// Names of the commands in a command line, without that of the binary.
fn path_of(definition: &Command, arguments: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let mut command = definition;
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        match command.find_subcommand(argument) {
            Some(below) => {
                path.push(below.get_name().to_owned());
                command = below;
            }
            None if argument.starts_with('-') => {}
            None => break,
        }
    }
    path
}

fn leaf_matches(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| leaf_matches(below))
}

fn leaf_command<'a>(command: &'a Command, path: &[String]) -> &'a Command {
    path.iter().fold(command, |command, name| command.find_subcommand(name).unwrap_or(command))
}

/// Changes the command at a path.
fn at(command: Command, path: &[String], change: &dyn Fn(Command) -> Command) -> Command {
    match path.split_first() {
        None => change(command),
        Some((name, below)) => command.mut_subcommand(name, |command| at(command, below, change)),
    }
}

/// Ignores variables that are empty and those of switches that have a flag, and refuses those that
/// are not UTF-8 where they have to be.
fn usable_environment(command: Command, path: &[String], arguments: &[OsString]) -> Result<Command, Failure> {
    let mut empty = Vec::new();
    let has_flag = |arg: &Arg| {
        let long = arg.get_long().unwrap_or_default();
        arguments.iter().any(|typed| *typed == *format!("--{long}") || *typed == *format!("--no-{long}"))
    };
    for arg in leaf_command(&command, path).get_arguments() {
        let Some(variable) = arg.get_env() else { continue };
        match std::env::var_os(variable) {
            Some(_) if is_switch(arg) && has_flag(arg) => empty.push(arg.get_id().to_string()),
            Some(value) if value.is_empty() => empty.push(arg.get_id().to_string()),
            Some(value) if value.to_str().is_none() => {
                let is_path = arg.get_value_parser().type_id() == clap::value_parser!(PathBuf).type_id();
                if !is_path {
                    let variable = Path::new(variable).display();
                    return Err(Failure::Usage(anyhow!(console!(variable_not_utf8, %variable))));
                }
            }
            _ => {}
        }
    }
    Ok(at(command, path, &|command| {
        empty.iter().fold(command, |command, id| command.mut_arg(id, |arg| arg.env(None::<&str>)))
    }))
}
