//! `outflow link`: create, show, keygen, list, revoke, and links that other languages sign.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outflow_testkit::needs;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ChildProgram, binary, output, program};

/// A file of keys, as its owner would make it.
struct Keys {
    temp: TempDir,
}

impl Keys {
    fn new() -> Keys {
        let keys = Keys { temp: tempfile::tempdir().unwrap() };
        keys.write(&keys.line("2026-11"));
        keys
    }

    fn line(&self, id: &str) -> String {
        output(&mut outflow(&["link", "keygen", "--id", id]))
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("keys.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The first key's bytes, in base64.
    fn first(&self) -> String {
        self.text().split('"').nth(1).unwrap().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = outflow(args);
        command.env("OUTFLOW_LINK_KEYS", self.path());
        command
    }

    /// A link for anna.
    #[track_caller]
    fn link(&self, args: &[&str]) -> String {
        output(self.command(&["link", "create", "--recipient", "anna@example.org"]).args(args))
            .trim_end()
            .to_owned()
    }

    /// What `link show` says, and its exit code.
    #[track_caller]
    fn show(&self, link: &str) -> (Value, i32, String) {
        let Output { status, stdout, stderr } =
            ChildProgram::start(&mut self.command(&["link", "show", "--json", link])).finish();
        let said = serde_json::from_slice(&stdout).unwrap_or_default();
        (said, status.code().unwrap(), String::from_utf8(stderr).unwrap())
    }
}

fn outflow(args: &[&str]) -> Command {
    let mut command = binary();
    command.args(args);
    command
}

/// A command that fails: its exit code and what it says.
#[track_caller]
fn failure(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = ChildProgram::start(command).finish();
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_link_is_one_line_that_says_what_was_asked_for() {
    let keys = Keys::new();
    let link = keys.link(&[
        "https://example.org:8443/t/abc/?zip",
        "--expires=2099-12-24T18:00:00.5Z",
        "--max-downloads=3",
        "--file=a b.jpg",
        "--file=sub/",
        "--id=to-anna",
        "--operator",
    ]);
    assert!(link.starts_with("https://example.org:8443/l/") && link.ends_with("/t/abc/?zip"), "{link}");
    let (said, code, error) = keys.show(&link);
    assert_eq!((code, error.as_str()), (0, ""));
    let expected = serde_json::json!({
        "valid": true,
        "id": "to-anna",
        "key": "2026-11",
        "scope": "/t/abc/",
        "recipient": "anna@example.org",
        // To the second, and not earlier than was said.
        "expires": "2099-12-24T18:00:01Z",
        "max_downloads": 3,
        "files": ["a b.jpg", "sub/"],
        "password": false,
        "operator": true,
    });
    assert_eq!(said, expected);
    let text = output(&mut keys.command(&["link", "show", &link]));
    for line in ["id          to-anna", "recipient   anna@example.org", "file        sub/", "downloads   3"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // The same as JSON.
    let made = keys.link(&["abc", "--base-url=https://h/files/", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["scope"], &made["expires"]), (&"/t/abc/".into(), &Value::Null));
    assert!(made["url"].as_str().unwrap().starts_with("https://h/files/l/"), "{made}");
    assert_eq!(keys.show(made["url"].as_str().unwrap()).0["id"], made["id"]);
    // Each has a name of its own, that nobody guesses.
    let ids = [keys.link(&["/"]), keys.link(&["/"])].map(|link| keys.show(&link).0["id"].to_string());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0].len(), 24);
    // What an address may not have is encoded.
    assert!(keys.link(&["/a b/é"]).ends_with("/a%20b/%C3%A9"));
}

#[test]
fn what_can_be_no_link_is_wrong_usage() {
    let keys = Keys::new();
    for (args, says) in [
        (&["", "--recipient=a"][..], "empty"),
        (&["a/b", "--recipient=a"], "neither a URL"),
        (&["ftp://h/", "--recipient=a"], "http"),
        (&["https://h/t/../x", "--recipient=a"], "\"..\""),
        (&["https://h/t//x", "--recipient=a"], "empty"),
        (&["https://h/x#y", "--recipient=a"], "%23"),
        (&["https://u@h/x", "--recipient=a"], "user"),
        (&["/", "--recipient="], "recipient"),
        (&["/", "--recipient=a\tb"], "recipient"),
        (&["/", "--recipient=a", "--expires=2001-01-01T00:00:00Z"], "past"),
        (&["/", "--recipient=a", "--expires=tomorrow"], "30m, 12h, 7d"),
        (&["/", "--recipient=a", "--max-downloads=0"], "max-downloads"),
        (&["/t", "--recipient=a", "--file=x"], "slash at its end"),
        (&["/t/", "--recipient=a", "--file=../x"], "not a path below"),
        (&["/", "--recipient=a", "--id=a b"], "letters"),
        (&["/", "--recipient=a", "--password=secret"], "other users can see"),
        (&["/", "--recipient=a", "--base-url=example.org"], "no scheme"),
        (&["/"], "--recipient"),
    ] {
        let (code, error) = failure(keys.command(&["link", "create"]).args(args));
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let link = keys.link(&["https://h/t/abc/"]);
    let (code, error) = failure(&mut keys.command(&["link", "create", &link, "--recipient=a"]));
    assert!(code == 2 && error.contains("already a link"), "{error}");
}

#[test]
fn a_link_to_a_selection_says_that_it_is_for_more() {
    let keys = Keys::new();
    let made = |args: &[&str]| {
        let Output { status, stderr, .. } =
            ChildProgram::start(keys.command(&["link", "create", "--recipient=a"]).args(args)).finish();
        assert!(status.success());
        String::from_utf8(stderr).unwrap()
    };
    assert!(made(&["https://h/t/abc/?zip&file=a"]).contains("for all of /t/abc/; --file limits it"));
    assert_eq!(made(&["https://h/t/abc/?zip&file=a", "--file=a"]), "");
}

#[test]
fn keys_are_looked_at_before_they_are_used() {
    let keys = Keys::new();
    let link = keys.link(&["/t/abc/"]);
    let secret = keys.first();
    for (text, says) in [
        ("", "the file has no key"),
        ("2026-11 = \"c2VjcmV0\"", "line 1: the key 2026-11 is not 32 bytes"),
        (&format!("2026-11 = {secret}"), "line 1"),
    ] {
        keys.write(text);
        let (code, error) = failure(&mut keys.command(&["link", "show", &link]));
        assert_eq!(code, 1, "{error}");
        assert!(error.contains(says) && !error.contains(&secret) && !error.contains("c2Vj"), "{error}");
    }
    fs::remove_file(keys.path()).unwrap();
    let (code, error) = failure(&mut keys.command(&["link", "create", "/", "--recipient=a"]));
    assert!(code == 1 && error.contains("keys.toml"), "{error}");
    let (code, error) = failure(&mut outflow(&["link", "create", "/", "--recipient=a"]));
    assert!(code == 2 && error.contains("--link-keys"), "{error}");
    keys.write(&keys.line("x"));
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let Output { status, stderr, .. } =
        ChildProgram::start(&mut keys.command(&["link", "create", "/", "--recipient=a"])).finish();
    assert!(status.success() && String::from_utf8_lossy(&stderr).contains("chmod 600"));
}

#[test]
fn a_new_key_on_top_signs_and_the_old_ones_links_stay_good() {
    let keys = Keys::new();
    let old = keys.link(&["/t/abc/"]);
    keys.write(&(output(&mut outflow(&["link", "keygen"])) + &keys.text()));
    let new = keys.link(&["/t/abc/"]);
    let (said, code, _) = keys.show(&new);
    assert_eq!(code, 0);
    assert_ne!(said["key"], "2026-11");
    assert_eq!(keys.show(&old).1, 0);
    let without = keys.text().lines().next().unwrap().to_owned();
    keys.write(&without);
    let (said, code, error) = keys.show(&old);
    assert_eq!((code, &said["valid"]), (1, &Value::Bool(false)));
    assert!(error.contains("the key 2026-11 is not in"), "{error}");
    assert_eq!(keys.show(&new).1, 0);
}

#[test]
fn a_password_comes_from_anywhere_but_the_command_line() {
    let keys = Keys::new();
    let file = keys.temp.path().join("password");
    fs::write(&file, "secret\nmore\n").unwrap();
    let from_file = keys.link(&["/", "--id=one", &format!("--password=@{}", file.display())]);
    let mut typed = Vec::new();
    for flag in ["--password=-", "--password"] {
        let (program, mut input) = ChildProgram::start_with_input(&mut keys.command(&[
            "link",
            "create",
            "/",
            "--recipient=anna@example.org",
            "--id=one",
            flag,
        ]));
        input.write_all(b"secret\r\n").unwrap();
        drop(input);
        let made = program.finish();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        typed.push(String::from_utf8(made.stdout).unwrap().trim_end().to_owned());
    }
    assert_eq!(typed, [from_file.clone(), from_file.clone()], "the same terms are the same link");
    assert_eq!(keys.show(&from_file).0["password"], true);
    fs::write(&file, "\n").unwrap();
    let args = ["link", "create", "/", "--recipient=a", &format!("--password=@{}", file.display())];
    let (code, error) = failure(&mut keys.command(&args));
    assert!(code == 2 && error.contains("empty"), "{error}");
}

#[test]
fn a_link_that_is_not_valid_says_why() {
    needs!("python3");
    let keys = Keys::new();
    let good = keys.link(&["https://h/t/abc/"]);
    let altered = good.replacen("/l/eyJ", "/l/eyK", 1);
    let others = Keys::new().link(&["https://h/t/abc/"]);
    for (link, says) in [
        (altered.as_str(), "only a part"),
        (&others, "the signature is wrong"),
        ("https://h/t/abc/", "not a link"),
        ("nonsense", "not a link"),
    ] {
        let (_, code, error) = keys.show(link);
        assert!(code == 1 && error.contains(says), "{link}: {error}");
    }
    // A second that has passed by the time it is looked at.
    let soon = sign_py(&keys, &["/t/abc/", "expires=1000"]);
    let (said, code, error) = keys.show(&soon);
    assert_eq!((code, &said["expires"]), (1, &"1970-01-01T00:16:40Z".into()));
    assert!(error.contains("expired"), "{error}");
    let (_, code, error) = keys.show(&sign_py(&keys, &["/t/abc/", "uses=3"]));
    assert!(code == 1 && error.contains("not a link"), "{error}");
}

#[test]
fn a_revoked_link_is_shown_as_that() {
    let keys = Keys::new();
    let ledger = keys.temp.path().join("ledger.db");
    let address = format!("sqlite:{}", ledger.display());
    let (link, other) = (keys.link(&["/t/abc/", "--id=one"]), keys.link(&["/t/abc/"]));
    let (code, error) = failure(&mut outflow(&["link", "revoke", "one", "--ledger", &address]));
    assert!(code == 1 && error.contains("no ledger at"), "{error}");
    let (code, error) = failure(&mut outflow(&["link", "revoke", "no/id", "--ledger", &address]));
    assert!(code == 2 && error.contains("neither a link"), "{error}");
    assert!(!ledger.exists());
    // As a server makes it.
    fs::write(&ledger, "").unwrap();
    let shown = |link: &str| {
        let Output { status, stdout, stderr } =
            ChildProgram::start(keys.command(&["link", "show", link]).args(["--ledger", &address])).finish();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), text)
    };
    assert_eq!(shown(&link).0, 0, "{}", shown(&link).1);
    assert!(shown(&link).1.contains("receipts    0"));
    output(&mut outflow(&["link", "revoke", &link, "--ledger", &address]));
    output(&mut outflow(&["link", "revoke", "one", "--ledger", &address]));
    let (code, text) = shown(&link);
    assert!(code == 1 && text.contains("revoked"), "{text}");
    assert_eq!(shown(&other).0, 0);
    let list = output(&mut outflow(&["link", "list", "--ledger", &address]));
    assert!(list.starts_with("one  0 downloads  revoked 20") && list.lines().count() == 1, "{list}");
    let json = output(&mut outflow(&["link", "list", "--json", "--ledger", &address]));
    let row: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&row["id"], &row["receipts"]), (&"one".into(), &0.into()));
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/links").join(name)
}

fn sign_py(keys: &Keys, args: &[&str]) -> String {
    let mut command = program("python3");
    command.arg(example("sign.py")).args(["2026-11", &keys.first(), "https://example.org"]).args(args);
    output(&mut command).trim_end().to_owned()
}

#[test]
fn links_can_be_signed_in_four_languages() {
    needs!("java", "node", "python3");
    let keys = Keys::new();
    for (language, source) in
        [("python3", "sign.py"), ("node", "sign.mjs"), ("bash", "sign.sh"), ("java", "Sign.java")]
    {
        let mut command = program(language);
        command.arg(example(source)).args(["2026-11", &keys.first(), "https://example.org", "/t/a%20b/"]);
        command.args([
            r#"recipient="Zoë 😀 \"Z\"""#,
            "expires=4102444800",
            "max_downloads=2",
            r#"files=["ä b.jpg"]"#,
        ]);
        let link = output(&mut command).trim_end().to_owned();
        assert!(
            link.starts_with("https://example.org/l/") && link.ends_with("/t/a%20b/"),
            "{source}: {link}"
        );
        let (said, code, error) = keys.show(&link);
        assert_eq!((code, error.as_str()), (0, ""), "{source}");
        assert_eq!(said["recipient"], "Zoë 😀 \"Z\"", "{source}");
        assert_eq!((&said["scope"], &said["max_downloads"]), (&"/t/a%20b/".into(), &2.into()), "{source}");
        assert_eq!(
            (&said["expires"], &said["files"][0]),
            (&"2100-01-01T00:00:00Z".into(), &"ä b.jpg".into())
        );
        assert!(said["id"].as_str().unwrap().len() >= 22, "{source}: {said}");
        // Another byte of the signature, and another one of the payload.
        let dot = link.rfind('.').unwrap();
        for at in [dot + 10, dot - 10] {
            let other = if &link[at..=at] == "A" { "B" } else { "A" };
            let altered = format!("{}{other}{}", &link[..at], &link[at + 1..]);
            assert_eq!(keys.show(&altered).1, 1, "{source}: {altered}");
        }
    }
}
