//! Reads a manifest from untrusted bytes. Every error names the file and says what is wrong.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Manifest, ManifestFile, is_transfer_id};
use outflow_content::printable;

/// Maximum length of a title in bytes.
///
/// Bound: transfers.
const MAX_TITLE: usize = 1024;
/// Maximum length of a message in bytes.
///
/// Bound: transfers.
const MAX_MESSAGE: usize = 64 << 10;
/// Maximum length of a tag or media type in bytes.
///
/// Bound: transfers.
const MAX_FIELD: usize = 1024;
/// Maximum length of an invalid value in a message, in bytes.
///
/// Bound: transfers.
const SHOWN: usize = 80;

/// Why a manifest is invalid, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

/// Fields that are not known are ignored: later versions may add some.
#[derive(Deserialize)]
struct ManifestJson {
    version: Option<Value>,
    id: Option<Value>,
    title: Option<Value>,
    message: Option<Value>,
    created: Option<Value>,
    expires: Option<Value>,
    files: Option<Vec<FileJson>>,
}

#[derive(Deserialize)]
struct VersionJson {
    version: Option<Value>,
}

#[derive(Deserialize)]
struct FileJson {
    name: Option<Value>,
    key: Option<Value>,
    size: Option<Value>,
    modified: Option<Value>,
    crc32: Option<Value>,
    etag: Option<Value>,
    media_type: Option<Value>,
}

impl Manifest {
    /// Reads the manifest that was found in the folder of the transfer `id`.
    ///
    /// # Errors
    /// [`ManifestError`] for a manifest that breaks a rule.
    pub fn parse(json: &[u8], id: &str) -> Result<Manifest, ManifestError> {
        parse(json, id).map_err(ManifestError)
    }

    /// Checks that [`Manifest::parse`] would accept it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn check(&self) -> Result<(), ManifestError> {
        let json = self.to_json();
        Manifest::parse(&json, &self.id).map(|_| ())
    }
}

fn parse(json: &[u8], id: &str) -> Result<Manifest, String> {
    if json.len() > Manifest::MAX_BYTES {
        return Err(format!("the manifest has {} bytes; {} are allowed", json.len(), Manifest::MAX_BYTES));
    }
    let no_json = |error: serde_json::Error| {
        format!("the manifest is not the JSON that it has to be: {}", printable(error.to_string().as_bytes()))
    };
    let outer: ManifestJson = match serde_json::from_slice(json) {
        Ok(outer) => outer,
        Err(error) => {
            // Another version may have another form; then its number is the better message.
            if let Ok(VersionJson { version }) = serde_json::from_slice(json) {
                check_version(version.as_ref())?;
            }
            return Err(no_json(error));
        }
    };
    check_version(outer.version.as_ref())?;
    let own = text("id", outer.id)?.ok_or("the manifest has no \"id\"")?;
    if !is_transfer_id(&own) {
        return Err(format!(
            "the manifest's id {} is none: it has 1 to 64 letters, digits, hyphens and underscores",
            show(&own)
        ));
    }
    if own != id {
        return Err(format!(
            "the manifest says that it is of the transfer {own:?}, but it lies in the folder {}; correct its id, or \
             move the whole folder",
            show(id)
        ));
    }
    let title = text("title", outer.title)?;
    if let Some(title) = &title
        && (title.len() > MAX_TITLE || title.contains(char::is_control))
    {
        return Err(format!("the title has more than {MAX_TITLE} bytes or a control character in it"));
    }
    let message = text("message", outer.message)?;
    if let Some(message) = &message
        && (message.len() > MAX_MESSAGE
            || message.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)))
    {
        return Err(format!("the message has more than {MAX_MESSAGE} bytes or a control character in it"));
    }
    let created = time("created", outer.created)?.ok_or("the manifest has no \"created\"")?;
    let expires = time("expires", outer.expires)?;
    let listed =
        outer.files.ok_or("the manifest has no \"files\"; a transfer without any has an empty list")?;
    if listed.len() > Manifest::MAX_FILES {
        return Err(format!("the manifest has {} files; {} are allowed", listed.len(), Manifest::MAX_FILES));
    }
    let mut files = Vec::with_capacity(listed.len());
    let mut bytes = 0_u64;
    for (index, inner) in listed.into_iter().enumerate() {
        // Counted from one, as people do.
        let number = index + 1;
        let file = file(inner).map_err(|(name, wrong)| match name {
            Some(name) => format!("file {number} ({}): {wrong}", show(&name)),
            None => format!("file {number}: {wrong}"),
        })?;
        // Everything that is computed from sizes stays far from overflows.
        bytes = bytes.checked_add(file.size).filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(|| {
            format!("file {number} ({}): the sizes add up to more than any store holds", show(&file.name))
        })?;
        files.push(file);
    }
    distinct(&files)?;
    Ok(Manifest { id: own, title, message, created, expires, files })
}

fn check_version(version: Option<&Value>) -> Result<(), String> {
    match version {
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(()),
        Some(Value::Number(number)) => Err(format!(
            "the manifest is of version {number}, but only version 1 is known; a newer Outflow may know it"
        )),
        Some(_) => Err("the manifest's \"version\" is no number; it has to be 1".to_owned()),
        None => Err("the manifest has no \"version\"; it has to be 1".to_owned()),
    }
}

fn file(inner: FileJson) -> Result<ManifestFile, (Option<String>, String)> {
    let name = match text("name", inner.name) {
        Ok(Some(name)) => name,
        Ok(None) => return Err((None, "it has no \"name\"".to_owned())),
        Err(wrong) => return Err((None, wrong)),
    };
    let rest = || -> Result<ManifestFile, String> {
        check_path("name", &name)?;
        let key = match text("key", inner.key)? {
            Some(key) => {
                check_path("key", &key)?;
                key
            }
            None => ManifestFile::default_key(&name),
        };
        if key == Manifest::NAME {
            return Err("its key is that of the manifest".to_owned());
        }
        let size = match inner.size {
            Some(Value::Number(size)) => size.as_u64().ok_or_else(|| {
                format!("its size is {size}; it has to be a whole number of bytes, not negative")
            })?,
            Some(_) => return Err("its \"size\" is no number".to_owned()),
            None => return Err("it has no \"size\"".to_owned()),
        };
        let crc32 = text("crc32", inner.crc32)?.map(|hex| {
            let digits = hex.len() == 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            let crc32 = if digits { u32::from_str_radix(&hex, 16).ok() } else { None };
            crc32.ok_or_else(|| format!("its crc32 {} is not 8 hexadecimal digits", show(&hex)))
        });
        Ok(ManifestFile {
            key,
            size,
            modified: time("modified", inner.modified)?,
            crc32: crc32.transpose()?,
            etag: field("etag", inner.etag)?,
            media_type: field("media_type", inner.media_type)?
                .map(|media_type| match media_type.contains('/') {
                    true => Ok(media_type),
                    false => Err(format!("its media_type {} has no slash", show(&media_type))),
                })
                .transpose()?,
            name: String::new(),
        })
    };
    match rest() {
        Ok(file) => Ok(ManifestFile { name, ..file }),
        Err(wrong) => Err((Some(name), wrong)),
    }
}

/// The rules of names and keys.
fn check_path(what: &str, path: &str) -> Result<(), String> {
    let wrong = |wrong: &str| Err(format!("its {what} {wrong}"));
    if path.is_empty() {
        return wrong("is empty");
    }
    if path.len() > Manifest::MAX_NAME {
        return wrong(&format!("has {} bytes; {} are allowed", path.len(), Manifest::MAX_NAME));
    }
    if path.starts_with('/') {
        return wrong("is absolute; it has to begin below the transfer, without a slash");
    }
    if path.contains('\\') {
        return wrong("has a backslash; folders are separated by slashes");
    }
    if path.contains(char::is_control) {
        return wrong("has a control character");
    }
    for component in path.split('/') {
        match component {
            "" => return wrong("has an empty component: two slashes in a row, or one at the end"),
            "." | ".." => {
                return wrong("has a component \".\" or \"..\", which could lead out of the transfer");
            }
            _ => {}
        }
    }
    Ok(())
}

/// No name twice, none that is a file and a folder.
fn distinct(files: &[ManifestFile]) -> Result<(), String> {
    let mut order: Vec<u32> = (0..files.len() as u32).collect();
    let name = |index: u32| files[index as usize].name.as_bytes();
    // With slashes before all else, a folder's content comes right after a file of its name:
    // neighbours suffice.
    order.sort_by(|one, other| compare(name(*one), name(*other)));
    for pair in order.windows(2) {
        let (one, other) = (name(pair[0]), name(pair[1]));
        let numbers = || {
            let (low, high) = (pair[0].min(pair[1]) + 1, pair[0].max(pair[1]) + 1);
            format!("files {low} and {high} ({})", show(&files[pair[0] as usize].name))
        };
        if one == other {
            return Err(format!("{} have the same name", numbers()));
        }
        if other.strip_prefix(one).is_some_and(|rest| rest.first() == Some(&b'/')) {
            return Err(format!("{}: the one's name is a folder of the other's", numbers()));
        }
    }
    Ok(())
}

fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let differ = one.iter().zip(other).find(|(one, other)| one != other);
    match differ {
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((one, other)) => one.cmp(other),
        None => one.len().cmp(&other.len()),
    }
}

/// `null` counts as missing.
fn text(name: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("\"{name}\" is no text")),
    }
}

/// A value for a header.
fn field(name: &str, value: Option<Value>) -> Result<Option<String>, String> {
    let Some(text) = text(name, value)? else { return Ok(None) };
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > MAX_FIELD || !is_plain {
        return Err(format!("its {name} is not 1 to {MAX_FIELD} printable ASCII characters"));
    }
    Ok(Some(text))
}

fn time(name: &str, value: Option<Value>) -> Result<Option<i64>, String> {
    let Some(text) = text(name, value)? else { return Ok(None) };
    let parsed = if text.len() <= 64 && !text.contains('[') { text.parse::<Timestamp>().ok() } else { None };
    let nanos = parsed.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    nanos.map(Some).ok_or_else(|| {
        format!(
            "\"{name}\" is {}, which is no time between 1678 and 2262 such as 2026-11-23T18:00:00Z",
            show(&text)
        )
    })
}

/// A value for a message: quoted, cut, unable to forge a log line.
fn show(text: &str) -> String {
    let mut end = text.len().min(SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", printable(&text.as_bytes()[..end]))
}
