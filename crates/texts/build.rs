//! Turns `languages/*.ftl` into Rust: a struct for each text of `en.ftl`, with a field for each of
//! its arguments, and the list of languages.
//!
//! It reads only names and arguments, line by line; a test compares them with what the parser of
//! Fluent finds.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new("languages");
    println!("cargo:rerun-if-changed=languages");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let english = fs::read_to_string(folder.join("en.ftl"))?;
    fs::write(Path::new(&out).join("ids.rs"), ids(&english))?;
    fs::write(Path::new(&out).join("languages.rs"), languages(folder)?)
}

/// One text of the catalogue.
struct Message<'a> {
    id: &'a str,
    body: String,
}

fn ids(source: &str) -> String {
    let mut code = String::new();
    let mut table = String::new();
    for message in messages(source) {
        let Message { id, body } = &message;
        let arguments = arguments(body);
        let _ = writeln!(code, "#[doc = {:?}]\npub struct {id} {{", format!("```text\n{}\n```", body.trim()));
        for name in &arguments {
            let _ = writeln!(
                code,
                "pub {name}: {},",
                if counts(body, name) { "TextNumber" } else { "TextValue" }
            );
        }
        let value = |name: &&str| if counts(body, name) { ".into()" } else { "" };
        let fields: String =
            arguments.iter().map(|name| format!("({name:?}, text.{name}{}), ", value(name))).collect();
        let text = if arguments.is_empty() { "_" } else { "text" };
        let _ = writeln!(
            code,
            "}}\nimpl From<{id}> for Text {{ fn from({text}: {id}) -> Text {{ Text::new({id:?}, vec![{fields}]) }} }}"
        );
        let _ = writeln!(table, "({id:?}, &{arguments:?}),");
    }
    format!("{code}\n#[cfg(test)]\npub(crate) const ALL: &[(&str, &[&str])] = &[\n{table}];\n")
}

/// The messages of a file: a name and an equals sign at the start of a line, and the lines up to
/// the next one.
fn messages(source: &str) -> Vec<Message<'_>> {
    let mut messages: Vec<Message<'_>> = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        if line.starts_with(|first: char| first.is_ascii_lowercase()) {
            let (id, value) = line.split_once('=').expect("a text is NAME = TEXT");
            messages.push(Message { id: id.trim(), body: value.trim().to_owned() });
            inside = true;
        } else if line.starts_with(' ') || line.is_empty() {
            if let Some(message) = messages.last_mut().filter(|_| inside) {
                message.body.push('\n');
                message.body.push_str(line);
            }
        } else {
            inside = false;
        }
    }
    messages
}

/// The names behind `$` that begin a placeable or an argument of a function, each once, sorted.
fn arguments(body: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (at, _) in body.match_indices('$') {
        let opens = body[..at].trim_end().ends_with(['{', '(']);
        let rest = &body[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if opens && end > 0 && !names.contains(&&rest[..end]) {
            names.push(&rest[..end]);
        }
    }
    names.sort_unstable();
    names
}

/// Whether the text has a plural form that the argument `name` chooses.
fn counts(body: &str, name: &str) -> bool {
    body.contains("[one]") && body.contains(&format!("${name} ->"))
}

fn languages(folder: &Path) -> io::Result<String> {
    let mut tags = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "ftl") {
            let tag =
                path.file_stem().and_then(|tag| tag.to_str()).expect("a language's tag is ASCII").to_owned();
            tags.push((tag, fs::canonicalize(path)?));
        }
    }
    tags.sort();
    let list: String =
        tags.iter().map(|(tag, path)| format!("({tag:?}, include_str!({path:?})),\n")).collect();
    Ok(format!("&[\n{list}]"))
}
