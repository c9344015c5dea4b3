//! The configuration file: TOML whose keys are the names of options.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};
use outflow_texts::{ConsoleText, console, text};
use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definition::{file_key, is_secret, is_switch};
use super::usage::{nearest, shortened};
use crate::serve::store_address;

/// Maximum size of a configuration file, in bytes.
///
/// Bound: configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Maximum number of problems of a file that are reported.
///
/// Bound: configuration.
const MAX_PROBLEMS: usize = 20;

/// Keys that people expect who know other servers, and ours.
const FOREIGN_KEYS: [(&str, &str); 10] = [
    ("address", "listen"),
    ("bind", "listen"),
    ("cert", "tls-cert"),
    ("dir", "path"),
    ("directory", "path"),
    ("host", "listen"),
    ("key", "tls-key"),
    ("port", "listen"),
    ("root", "path"),
    ("workers", "threads"),
];

/// The values of a file, checked one by one.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) values: Vec<FileValue>,
}

/// The values of an option.
#[derive(Debug)]
pub(super) struct FileValue {
    pub(super) id: String,
    pub(super) values: Vec<OsString>,
    /// Counted from 1.
    pub(super) line: usize,
}

/// What is wrong with a file. Each problem begins with the file's name, and the line if there is
/// one.
#[derive(Debug)]
pub(crate) struct ConfigProblems(pub(crate) Vec<String>);

impl ConfigFile {
    /// Reads a file with options of `command`.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<ConfigFile, ConfigProblems> {
        let text = read_text(path).map_err(|problem| {
            ConfigProblems(vec![console!(cannot_read_config, path = %path.display(), %problem).to_string()])
        })?;
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(line_starts).collect();
        let mut reader =
            Reader { path, text: &text, line_starts, command, values: Vec::new(), problems: Vec::new() };
        match DeTable::parse(&text) {
            Ok(table) => reader.top(table.get_ref()),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                reader.syntax(start, error.message());
            }
        }
        let Reader { values, mut problems, .. } = reader;
        if problems.is_empty() {
            return Ok(ConfigFile { path: path.to_owned(), values });
        }
        problems.sort_by_key(|(line, _)| *line);
        Err(ConfigProblems(problems.into_iter().map(|(_, problem)| problem).collect()))
    }
}

fn read_text(path: &Path) -> Result<String, ConsoleText> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => console!(config_missing),
        io::ErrorKind::PermissionDenied => console!(config_denied),
        io::ErrorKind::IsADirectory => console!(config_is_folder),
        _ => console!(config_error, %error),
    };
    // Opening a named pipe waits for its writer. A pipe without a name, as /dev/stdin or a shell's
    // <(…) may be, has one.
    let is_pipe = std::fs::metadata(path).map_err(explain)?.file_type().is_fifo();
    if is_pipe && path.canonicalize().is_ok() {
        return Err(console!(config_is_pipe));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(explain)?;
    // One byte more shows that the file is too large. A pipe has no size to ask for.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(console!(config_too_large, limit = %(MAX_BYTES >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        console!(config_not_utf8, line = %line)
    })?;
    // Some editors on Windows begin a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Offset of the first byte of each line.
    line_starts: Vec<usize>,
    command: &'a Command,
    values: Vec<FileValue>,
    /// With their lines.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        self.table(None, table);
    }

    /// Reads the keys of a table of options.
    fn table(&mut self, name: Option<&str>, table: &DeTable<'_>) {
        for (key, value) in table {
            if self.problems.len() >= MAX_PROBLEMS {
                return;
            }
            let (start, key) = (key.span().start, key.get_ref().as_ref());
            let found = self
                .command
                .get_arguments()
                .find(|arg| file_key(arg).is_some_and(|(table, its)| table == name && its == key));
            match (found, value.get_ref()) {
                (Some(arg), _) => self.option(start, &written(name, key), arg, value),
                (None, DeValue::Table(inner)) if name.is_none() && self.is_table(key) => {
                    self.table(Some(key), inner);
                }
                _ if name.is_none() && self.is_table(key) => {
                    self.problem(start, console!(key_is_table, key));
                }
                (None, value) => self.unknown(start, name, key, matches!(value, DeValue::Table(_))),
            }
        }
    }

    fn is_table(&self, key: &str) -> bool {
        self.keys().any(|(table, _)| table.as_deref() == Some(key))
    }

    /// All keys: table and name.
    fn keys(&self) -> impl Iterator<Item = (Option<String>, String)> {
        let keys = self.command.get_arguments().filter_map(file_key);
        keys.map(|(table, key)| (table.map(str::to_owned), key))
    }

    fn unknown(&mut self, start: usize, table: Option<&str>, key: &str, is_table: bool) {
        let name = written(table, key);
        let shown = format!("{:?}", shortened(&name));
        let shown = if is_bare(&name) { name.clone() } else { shown };
        let keys: Vec<(Option<String>, String)> = self.keys().collect();
        let tables: BTreeSet<&str> = keys.iter().filter_map(|(table, _)| table.as_deref()).collect();
        if is_table {
            let advice = match nearest(key, tables.iter().copied()) {
                Some(near) => text!(did_you_mean, name = format!("[{near}]")),
                None => text!(options_are_at_top),
            };
            return self.problem(start, console!(unknown_table, name = shown, advice));
        }
        let names: Vec<String> = keys.iter().map(|(table, key)| written(table.as_deref(), key)).collect();
        // `Drain` and `log_level` are meant as well; so is a flag's name in the wrong table.
        let plain = key.replace('_', "-").to_ascii_lowercase();
        let foreign = FOREIGN_KEYS.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours);
        let same = || {
            let same = names.iter().find(|name| name.rsplit('.').next() == Some(plain.as_str()));
            same.map(String::as_str).or_else(|| nearest(&name, names.iter().map(String::as_str)))
        };
        let advice = match foreign.or_else(same) {
            Some(near) => match near.split_once('.') {
                Some((table, key)) => text!(did_you_mean_in_table, key, table),
                None => text!(did_you_mean, name = near),
            },
            None => text!(keys_are_options),
        };
        self.problem(start, console!(unknown_key, key = shown, advice));
    }

    /// A file that is not TOML.
    fn syntax(&mut self, start: usize, message: &str) {
        let line = self.line(start);
        let begin = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let text = self.text[begin..].lines().next().unwrap_or_default();
        // Only the key: the rest of the line may be a secret.
        let key = text.split('=').next().unwrap_or_default().trim();
        let place = if is_bare(key) { format!("{key}: ") } else { String::new() };
        self.problem(start, format!("{place}{}", message.replace('\n', "; ")));
    }

    fn option(&mut self, start: usize, key: &str, arg: &Arg, value: &Spanned<DeValue<'_>>) {
        let many = matches!(arg.get_action(), ArgAction::Append);
        let one = std::slice::from_ref(value);
        let values = match value.get_ref() {
            DeValue::Array(_) if !many => {
                return self.problem(start, console!(key_takes_one_value, key));
            }
            DeValue::Array(values) => values.iter().as_slice(),
            _ => one,
        };
        let mut texts = Vec::new();
        for value in values {
            let start = if values.len() > 1 { value.span().start } else { start };
            match self.text(arg, value.get_ref()) {
                Ok(text) => texts.push((start, text)),
                Err(why) => return self.problem(start, format!("{key}: {why}")),
            }
        }
        let line = self.line(start);
        if check(arg, texts.iter().map(|(_, text)| text)).is_err() {
            // Which one it is.
            for (start, text) in &texts {
                if let Err(why) = check(arg, [text]) {
                    return self.problem(*start, format!("{key}: {why}"));
                }
            }
        }
        let texts: Vec<OsString> = texts.into_iter().map(|(_, text)| text).collect();
        // An empty list is the same as no key.
        if !texts.is_empty() {
            self.values.push(FileValue { id: arg.get_id().to_string(), values: texts, line });
        }
    }

    /// The value as a flag would have it.
    fn text(&self, arg: &Arg, value: &DeValue<'_>) -> Result<OsString, ConsoleText> {
        if is_switch(arg) {
            return match value {
                DeValue::Boolean(value) => Ok(value.to_string().into()),
                _ => Err(console!(write_true_or_false)),
            };
        }
        let is_of = |parser: ValueParser| arg.get_value_parser().type_id() == parser.type_id();
        let is_path = is_of(clap::value_parser!(PathBuf));
        let is_text = is_path || is_of(clap::value_parser!(String));
        let is_number = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "N"));
        match value {
            DeValue::String(text) if text.is_empty() => Err(console!(value_empty_in_file)),
            DeValue::String(text) if text.contains('\0') => Err(console!(value_has_zero_byte)),
            DeValue::String(text) if is_path => Ok(self.path_in(arg, text).into()),
            DeValue::String(text) if arg.get_id() == "ledger" => Ok(self.ledger_in(text)),
            DeValue::String(text) => Ok(text.as_ref().into()),
            DeValue::Integer(number) if !is_text => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                number.map(|number| number.to_string().into()).map_err(|_| console!(number_too_large))
            }
            DeValue::Table(_) if arg.is_hide_set() => Ok(json_of(value).to_string().into()),
            _ if arg.is_hide_set() => Err(console!(write_webhooks)),
            DeValue::Table(_) => Err(console!(table_is_no_value)),
            DeValue::Boolean(_) => Err(console!(switch_is_no_value)),
            _ if is_number => Err(console!(write_number)),
            _ => Err(console!(write_text)),
        }
    }

    /// Relative paths are relative to the file's folder, not to the working directory. A program
    /// without a slash is one of PATH.
    fn path_in(&self, arg: &Arg, text: &str) -> PathBuf {
        let is_program =
            arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "PROGRAM"));
        if store_address(Path::new(text)).is_some() || (is_program && !text.contains('/')) {
            return PathBuf::from(text);
        }
        self.path.parent().unwrap_or(Path::new("")).join(text)
    }

    /// The address of a ledger, whose path is relative to the file's folder as well.
    fn ledger_in(&self, text: &str) -> OsString {
        let path = match text.strip_prefix("sqlite:") {
            Some(path) if !path.starts_with('/') => Path::new(path),
            _ => return text.into(),
        };
        let mut address = OsString::from("sqlite:");
        address.push(self.path.parent().unwrap_or(Path::new("")).join(path));
        address
    }

    /// Counted from 1.
    fn line(&self, start: usize) -> usize {
        self.line_starts.partition_point(|line| *line <= start)
    }

    fn problem(&mut self, start: usize, problem: impl Display) {
        let line = self.line(start);
        self.problems.push((line, format!("{}:{line}: {problem}", self.path.display())));
    }
}

/// Whether a name can be shown as it is.
fn is_bare(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

fn written(table: Option<&str>, key: &str) -> String {
    table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"))
}

/// Parses values as the option does.
fn check<'a>(arg: &Arg, values: impl IntoIterator<Item = &'a OsString>) -> Result<(), ConsoleText> {
    if is_switch(arg) {
        return Ok(());
    }
    let alone = arg.clone().id("value").long("value").short(None).index(None).env(None::<&str>);
    let alone = alone.required(false).default_values(None::<&str>).allow_hyphen_values(true);
    let alone = alone.value_delimiter(None);
    let command = Command::new("check").no_binary_name(true).arg(alone);
    let line = values.into_iter().flat_map(|value| [OsString::from("--value"), value.clone()]);
    let Err(error) = command.try_get_matches_from(line) else { return Ok(()) };
    // A table's parser does not repeat its values.
    Err(super::usage::why_invalid(&error, is_secret(arg) && !arg.is_hide_set()))
}

/// A table as JSON, for options whose values are tables.
fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, |n| json!(n))
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, |n| json!(n)),
        DeValue::Boolean(value) => json!(value),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Array(values) => values.iter().map(|value| json_of(value.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries =
                table.iter().map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}
