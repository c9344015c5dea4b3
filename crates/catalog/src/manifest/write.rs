//! Writes a manifest. The same manifest always gives the same bytes: one line for each file, fields
//! in the order of the documentation, without those that are not known.

use jiff::Timestamp;
use serde::Serialize;

use super::{Manifest, ManifestFile};

#[derive(Serialize)]
struct FileLine<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
}

impl Manifest {
    /// As JSON, in UTF-8.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(256 + self.files.len() * 160);
        json.extend_from_slice(b"{\n  \"version\": 1");
        field(&mut json, "id", Some(&self.id));
        field(&mut json, "title", self.title.as_ref());
        field(&mut json, "message", self.message.as_ref());
        field(&mut json, "created", Some(&time(self.created)));
        field(&mut json, "expires", self.expires.map(time).as_ref());
        json.extend_from_slice(b",\n  \"files\": [");
        for (index, file) in self.files.iter().enumerate() {
            json.extend_from_slice(if index == 0 { b"\n    ".as_slice() } else { b",\n    " });
            value(&mut json, &line(file));
        }
        json.extend_from_slice(if self.files.is_empty() { b"]\n}\n".as_slice() } else { b"\n  ]\n}\n" });
        json
    }
}

fn line(file: &ManifestFile) -> FileLine<'_> {
    FileLine {
        name: &file.name,
        key: (file.key != ManifestFile::default_key(&file.name)).then_some(&file.key),
        size: file.size,
        modified: file.modified.map(time),
        crc32: file.crc32.map(|crc32| format!("{crc32:08x}")),
        etag: file.etag.as_deref(),
        media_type: file.media_type.as_deref(),
    }
}

fn field(json: &mut Vec<u8>, name: &str, text: Option<&String>) {
    if let Some(text) = text {
        json.extend_from_slice(b",\n  ");
        value(json, name);
        json.extend_from_slice(b": ");
        value(json, text);
    }
}

fn value(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Strings and numbers into memory cannot fail.
    let _ = serde_json::to_writer(json, value);
}

/// By RFC 3339, in UTC.
fn time(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).map(|time| time.to_string()).unwrap_or_default()
}
