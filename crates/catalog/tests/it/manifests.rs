//! Manifests: what is refused and how, and that code, documentation and schema agree.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use outflow_catalog::{Manifest, ManifestFile};
use outflow_testkit::needs;
use outflow_testkit::process::program;

fn docs(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// The example of the documentation.
fn example() -> String {
    let page = std::fs::read_to_string(docs("manifest.md")).unwrap();
    page.split("```json\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

fn generated(files: usize) -> Manifest {
    let files = (0..files).map(|index| ManifestFile {
        name: format!("folder {}/süß {index}.bin", index % 100),
        key: if index % 2 == 0 {
            ManifestFile::default_key(&format!("folder {}/süß {index}.bin", index % 100))
        } else {
            format!("o/{index}")
        },
        size: index as u64,
        modified: Some(1_700_000_000_123_456_789 + index as i64),
        crc32: Some(index as u32),
        etag: Some("\"0123456789abcdef0123456789abcdef\"".to_owned()),
        media_type: Some("application/octet-stream".to_owned()),
    });
    Manifest {
        id: "some_Id-1".to_owned(),
        title: Some("A \"title\"".to_owned()),
        message: Some("two\nlines".to_owned()),
        created: 1_700_000_000_000_000_000,
        expires: Some(1_800_000_000_000_000_000),
        files: files.collect(),
    }
}

/// What Python's jsonschema says about `json`, one per line.
fn validate(jsons: &[&str]) -> Vec<bool> {
    let script = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for line in json.load(sys.stdin):
    print('yes' if validator.is_valid(json.loads(line)) else 'no')
";
    let mut python = program("python3")
        .args(["-c", script])
        .arg(docs("manifest.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(&serde_json::to_vec(jsons).unwrap()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line == "yes").collect()
}

#[test]
fn the_documented_example_is_one() {
    let manifest = Manifest::parse(example().as_bytes(), "0v3k2m8q5r7t9w1x4z6b").unwrap();
    assert_eq!(manifest.files[0].key, "files/raw/day 1.csv");
    assert_eq!(manifest.files[1].key, "files/report-final.pdf");
    assert_eq!(manifest.files[1].crc32, Some(0xcbf4_3926));
    assert_eq!(manifest.bytes(), 18_734_592 + 482_113);
    assert!(!manifest.is_expired(manifest.created));
    assert!(manifest.is_expired(manifest.expires.unwrap()));
    // And it is written as the program would.
    assert_eq!(String::from_utf8(manifest.to_json()).unwrap(), example());
}

#[test]
fn what_is_written_is_read_again_and_fits_the_schema() {
    needs!("python3", "jsonschema");
    let manifest = generated(50);
    let json = manifest.to_json();
    assert_eq!(Manifest::parse(&json, "some_Id-1").unwrap(), manifest);
    assert_eq!(manifest.to_json(), json);
    let empty = Manifest { title: None, message: None, expires: None, files: Vec::new(), ..generated(0) };
    assert_eq!(Manifest::parse(&empty.to_json(), "some_Id-1").unwrap(), empty);
    let empty = String::from_utf8(empty.to_json()).unwrap();
    let valid = validate(&[&example(), &String::from_utf8(json).unwrap(), &empty]);
    assert_eq!(valid, [true, true, true]);
}

/// One with `files` in it.
fn with(files: &str) -> String {
    format!(r#"{{"version":1,"id":"t","created":"2026-01-01T00:00:00Z","files":[{files}]}}"#)
}

#[test]
fn every_refusal_says_which_file_and_why() {
    needs!("python3", "jsonschema");
    let long = "x".repeat(4097);
    let long = format!(r#"{{"name":"{long}","size":1}}"#);
    // What is wrong, what is said, and whether the schema can tell.
    let cases = [
        (r#"{"size":1}"#, "file 1: it has no \"name\"", true),
        (r#"{"name":7,"size":1}"#, "file 1: \"name\" is no text", true),
        (r#"{"name":"a"}"#, "file 1 (\"a\"): it has no \"size\"", true),
        (r#"{"name":"a","size":-1}"#, "file 1 (\"a\"): its size is -1", true),
        (r#"{"name":"a","size":1.5}"#, "its size is 1.5", true),
        (r#"{"name":"a","size":"1"}"#, "its \"size\" is no number", true),
        (r#"{"name":"a","size":99999999999999999999}"#, "its size is", true),
        (
            r#"{"name":"a","size":9223372036854775807},{"name":"b","size":1}"#,
            "file 2 (\"b\"): the sizes add up",
            false,
        ),
        (r#"{"name":"","size":1}"#, "is empty", true),
        (r#"{"name":"/etc/passwd","size":1}"#, "is absolute", true),
        (r#"{"name":"a/../b","size":1}"#, "file 1 (\"a/../b\"): its name has a component", true),
        (r#"{"name":"..","size":1}"#, "component", true),
        (r#"{"name":"a/.","size":1}"#, "component", true),
        (r#"{"name":"a//b","size":1}"#, "empty component", true),
        (r#"{"name":"a/","size":1}"#, "empty component", true),
        (r#"{"name":"a\\b","size":1}"#, "backslash", true),
        (r#"{"name":"a\u0000","size":1}"#, "file 1 (\"a\\u{0}\"): its name has a control character", true),
        (r#"{"name":"a\n2026 INFO fine","size":1}"#, "a\\n2026", true),
        (long.as_str(), "has 4097 bytes", true),
        (
            r#"{"name":"a","size":1},{"name":"b","size":1},{"name":"a","size":2}"#,
            "files 1 and 3 (\"a\") have the same name",
            false,
        ),
        (
            r#"{"name":"a/b","size":1},{"name":"a-b","size":1},{"name":"a","size":2}"#,
            "files 1 and 3 (\"a\"): the one's name is a folder",
            false,
        ),
        (r#"{"name":"a","key":"../other/x","size":1}"#, "its key has a component", true),
        (r#"{"name":"a","key":"/x","size":1}"#, "its key is absolute", true),
        (r#"{"name":"a","key":"manifest.json","size":1}"#, "manifest", true),
        (r#"{"name":"a","size":1,"crc32":"123"}"#, "8 hexadecimal digits", true),
        (r#"{"name":"a","size":1,"crc32":"+1234567"}"#, "8 hexadecimal digits", true),
        (r#"{"name":"a","size":1,"crc32":305419896}"#, "\"crc32\" is no text", true),
        (r#"{"name":"a","size":1,"modified":"yesterday"}"#, "\"modified\" is \"yesterday\"", false),
        (r#"{"name":"a","size":1,"modified":"9999-01-01T00:00:00Z"}"#, "no time between", false),
        (r#"{"name":"a","size":1,"etag":"a\r\nb"}"#, "printable", true),
        (r#"{"name":"a","size":1,"media_type":"text"}"#, "no slash", true),
        (r#""a""#, "not the JSON that it has to be", true),
    ];
    let jsons: Vec<String> = cases.iter().map(|case| with(case.0)).collect();
    for (json, (files, says, _)) in jsons.iter().zip(cases) {
        let error = Manifest::parse(json.as_bytes(), "t").unwrap_err().to_string();
        assert!(error.contains(says), "{files}: {error}");
        assert!(!error.contains('\n') && error.len() < 400, "{error}");
    }
    let valid = validate(&jsons.iter().map(String::as_str).collect::<Vec<_>>());
    for (valid, case) in valid.iter().zip(cases) {
        assert_eq!(*valid, !case.2, "{}", case.0);
    }
}

#[test]
fn the_frame_is_checked_too() {
    let good = with(r#"{"name":"a","size":1,"unknown":{"x":[1]}}"#);
    assert_eq!(Manifest::parse(good.as_bytes(), "t").unwrap().files.len(), 1);
    for (json, says) in [
        (good.replace("\"version\":1", "\"version\":2"), "version 2"),
        (
            good.replace("\"version\":1", "\"version\":2").replace("[{", "{\"x\":[{").replace("}]}", "}]}}"),
            "version 2",
        ),
        (good.replace("\"version\":1,", ""), "no \"version\""),
        (good.replace("\"id\":\"t\"", "\"id\":\"u\""), "transfer \"u\", but it lies in the folder \"t\""),
        (good.replace("\"id\":\"t\"", "\"id\":\"../t\""), "64 letters"),
        (good.replace("2026-01-01T00:00:00Z", "2026-01-01"), "\"created\" is \"2026-01-01\""),
        (good.replace("\"files\"", "\"Files\""), "no \"files\""),
        (good.replace("\"id\"", "\"title\":\"a\\u0007\",\"id\""), "title"),
        ("{".to_owned(), "not the JSON"),
        ("[]".to_owned(), "not the JSON"),
        (String::new(), "not the JSON"),
    ] {
        let error = Manifest::parse(json.as_bytes(), "t").unwrap_err().to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
    let big = vec![b' '; Manifest::MAX_BYTES + 1];
    assert!(Manifest::parse(&big, "t").unwrap_err().to_string().contains("bytes"));
}

#[test]
fn a_hundred_thousand_files_are_read_at_once() {
    let json = generated(100_000).to_json();
    let begin = Instant::now();
    let manifest = Manifest::parse(&json, "some_Id-1").unwrap();
    let took = begin.elapsed();
    assert_eq!(manifest.files.len(), 100_000);
    // A second, or ten in a debug build on a busy machine. Comparing each with all would
    // take hours.
    assert!(took < Duration::from_secs(300), "{took:?}");
}
