//! Options: each is defined once, as a field of the struct of its command or group.
//!
//! ```text
//! definition     what follows from a field: its environment variable, its key, --no-… for switches
//! command_line   flags, environment and configuration file -> values, and where each comes from
//!   config_file    TOML -> values of options, with their lines
//!   usage          wrong command lines -> messages that say what to type
//!   hints          what people type who know other programs
//! reference      the definition as pages, man pages and completions
//! ```
//!
//! clap merges: a value of the file becomes the default of its option, so that it is parsed and
//! checked as a flag is, and yields to the environment, and that to flags.

mod command_line;
mod config_file;
mod definition;
mod hints;
pub(crate) mod reference;
mod usage;

pub(crate) use command_line::{CommandLine, Origin, parse, parse_file};
pub(crate) use config_file::{ConfigFile, ConfigProblems};
pub(crate) use definition::{complete, file_key, is_secret, is_switch};
