//! The same keys in a file, in the environment and as flags, in that order of strength.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use outflow_testkit::s3::Double;
use tempfile::TempDir;

use crate::support::{ChildProgram, FileTree, Server, Setup, StoreAccess as _, binary};

/// A tree with a hidden file: whether it is served shows which setting won.
fn tree() -> FileTree {
    let tree = FileTree::new();
    tree.file(".hidden", "hidden");
    tree.file("a.txt", "public");
    tree
}

fn config(tree: &FileTree, text: &str) -> PathBuf {
    let path = tree.beside("outflow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[track_caller]
fn assert_hidden_served(server: &Server, is_served: bool) {
    assert_eq!(server.get("/.hidden").status, if is_served { 200 } else { 404 });
    server.get("/a.txt").expect(200);
}

#[test]
fn the_file_is_heard_when_nothing_else_speaks() {
    let tree = tree();
    let config = config(&tree, "hidden = true\nmax-connections = 10\ndrain = \"3s\"\n");
    assert_hidden_served(&Setup::of(tree.root()).start(), false);
    assert_hidden_served(&Setup::of(tree.root()).arg("--config").arg(&config).start(), true);
    assert_hidden_served(&Setup::of(tree.root()).env("OUTFLOW_CONFIG", &config).start(), true);
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let tree = tree();
    assert_hidden_served(&Setup::of(tree.root()).env("OUTFLOW_HIDDEN", "true").start(), true);
    let config = config(&tree, "hidden = true\n");
    let server = Setup::of(tree.root()).arg("--config").arg(&config).env("OUTFLOW_HIDDEN", "false").start();
    assert_hidden_served(&server, false);
}

#[test]
fn a_flag_is_stronger_than_both() {
    let tree = tree();
    let config = config(&tree, "hidden = false\n");
    let server = Setup::of(tree.root())
        .arg("--config")
        .arg(&config)
        .env("OUTFLOW_HIDDEN", "false")
        .arg("--hidden")
        .start();
    assert_hidden_served(&server, true);
}

#[test]
fn everything_can_be_said_without_a_flag() {
    let (tree, own) = (tree(), TempDir::new().unwrap());
    let text = format!(
        "path = {:?}\nlisten = \"127.0.0.1:0\"\ncache = {:?}\n",
        tree.root(),
        own.path().join("cache")
    );
    let config = config(&tree, &text);
    let mut command = binary();
    command.arg("serve").env("OUTFLOW_CONFIG", config);
    assert_hidden_served(&Server::spawn(command, own), false);

    let own = TempDir::new().unwrap();
    let mut command = binary();
    command.arg("serve").env("OUTFLOW_PATH", tree.root()).env("OUTFLOW_LISTEN", "127.0.0.1:0");
    command.env("OUTFLOW_CACHE", own.path().join("cache")).env("OUTFLOW_HIDDEN", "true");
    assert_hidden_served(&Server::spawn(command, own), true);
}

/// The message for a configuration file, and the exit code.
fn refused(tree: &FileTree, text: impl AsRef<[u8]>) -> (Option<i32>, String) {
    let path = tree.beside("outflow.toml");
    std::fs::write(&path, text).unwrap();
    let output =
        ChildProgram::start(binary().arg("serve").arg(tree.root()).arg("--config").arg(&path)).finish();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn mistakes_in_the_file_are_wrong_usage_with_file_line_and_key() {
    let tree = tree();
    for (text, line, part) in [
        ("hiden = true\n", 1, "unknown key hiden; did you mean hidden?"),
        ("\n\nLog_Level = 'warn'\n", 3, "did you mean log-level?"),
        ("max-conections = 1", 1, "did you mean max-connections?"),
        ("zzz = 1", 1, "outflow serve --help"),
        ("hidden = \"perhaps\"\n", 1, "hidden: write true or false"),
        ("hidden = 1", 1, "hidden: write true or false"),
        ("listen = \"nowhere\"\n", 1, "listen: an address is HOST:PORT"),
        ("listen = 8080", 1, "listen: an address is HOST:PORT; write 127.0.0.1:8080"),
        ("listen = true", 1, "listen: true and false are for switches"),
        ("listen = ['127.0.0.1:0']", 1, "listen takes one value, not a list"),
        ("threads = 0\n", 1, "threads: 0 is not in 1..=1024"),
        ("threads = 1.5", 1, "threads: write a whole number"),
        ("threads = 99999999999999999999", 1, "threads"),
        ("store-connections = 0", 1, "store-connections"),
        ("drain = 10", 1, "drain: a duration needs a unit: write 10s"),
        ("segment-memory = '1 apple'", 1, "segment-memory: a size is a number with a unit"),
        ("ledger-keep = 'soon'", 1, "ledger-keep"),
        ("trusted-proxies = ['10.0.0.0/8',\n'everybody']", 2, "trusted-proxies: a network is written like"),
        ("log-level = 'loud'", 1, "log-level: it is one of off, error"),
        ("path = 5", 1, "path"),
        ("hidden = true\nthreads = 2\nhidden = false", 3, "hidden: duplicate key"),
        ("hidden = \n", 1, "outflow.toml"),
        ("hidden", 1, "outflow.toml"),
        ("[serve]\nhidden = true\n", 1, "unknown table serve"),
        ("[channel]\ntokens = 'x'", 1, "did you mean [channels]?"),
        ("port = 8080", 1, "did you mean listen?"),
        ("\"\\u001b[31m\" = 1", 1, "unknown key \"\\u{1b}[31m\""),
        ("cache = ''", 1, "cache: it is empty"),
        ("channels = true", 1, "channels is a table: write [channels]"),
        ("[channels]\nsubscribe = 'nobody'", 2, "channels.subscribe: it is one of open, token"),
        ("[channels]\ntokenz = 'x'", 2, "did you mean tokens in [channels]?"),
        ("allow = ['a:1']", 1, "did you mean allow in [tunnel]?"),
        ("[tunnel]\nhidden = true", 2, "unknown key tunnel.hidden; did you mean hidden?"),
        ("[[webhooks]]\nurl = 'https://x'", 1, "webhooks: missing field `secrets`"),
        ("[[webhooks]]\nurl = 'https://x'\nsecrets = []\nevent = []", 1, "unknown field `event`"),
        ("[[webhooks]]\nurl = 'https://x'\nsecrets = 'sesame'", 1, "webhooks: a value has the wrong type"),
        ("webhooks = 'x'", 1, "webhooks"),
        ("config = 'other.toml'", 1, "unknown key config"),
        ("no-hidden = true", 1, "unknown key no-hidden"),
        ("hidden = true\r\nhiden = true\r\n", 2, "did you mean hidden?"),
        ("\u{feff}hidden = true\nhiden = true", 2, "did you mean hidden?"),
    ] {
        let (code, stderr) = refused(&tree, text);
        assert_eq!(code, Some(2), "{text}: {stderr}");
        let place = format!("outflow.toml:{line}: ");
        assert!(stderr.contains(&place) && stderr.contains(part), "{text}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{text}: {stderr}");
        assert!(!stderr.contains("sesame"), "{text}: {stderr}");
    }
}

#[test]
fn a_file_that_is_none_is_wrong_usage() {
    let tree = tree();
    let (code, stderr) = refused(&tree, b"hidden = true\n# \xff\n");
    assert!(code == Some(2) && stderr.contains("line 2 is not UTF-8"), "{stderr}");
    let (code, stderr) = refused(&tree, "# a long comment\n".repeat(600_000));
    assert!(code == Some(2) && stderr.contains("larger than 1 MiB"), "{stderr}");
    for (path, why) in
        [(tree.beside("missing.toml"), "no such file"), (tree.root().to_owned(), "is a folder")]
    {
        let output = ChildProgram::start(binary().arg("serve").arg("--config").arg(&path)).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(why) && stderr.contains(path.to_str().unwrap()), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_named_pipe_is_refused_and_a_pipe_is_read() {
    let tree = tree();
    let pipe = tree.beside("pipe.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let link = tree.beside("link.toml");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for path in [&pipe, &link] {
        for line in ["serve --config", "config check"] {
            let output = ChildProgram::start(binary().args(line.split(' ')).arg(path)).finish();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains("pipe; name a regular file"), "{stderr}");
        }
    }
    for (text, code) in [("hidden = true", 0), ("hiden = true", 2)] {
        for check in ["outflow config check <(echo \"$1\")", "echo \"$1\" | outflow config check /dev/stdin"]
        {
            let script = check.replace("outflow", env!("CARGO_BIN_EXE_outflow"));
            let output =
                std::process::Command::new("bash").args(["-c", &script, "bash", text]).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{check}: {output:?}");
        }
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let tree = tree();
    let config = config(&tree, "\u{feff}hidden = true\r\nlog-level = \"warn\"\r\n");
    assert_hidden_served(&Setup::of(tree.root()).arg("--config").arg(&config).start(), true);
}

#[test]
fn every_problem_of_a_file_is_found_by_config_check() {
    let tree = tree();
    let check = |text: &str| {
        let path = config(&tree, text);
        let output = ChildProgram::start(binary().args(["config", "check"]).arg(path)).finish();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, stderr, _) = check("hiden = true\ndrain = 5\n[tunnel]\nalow = 1\n");
    assert_eq!((code, stderr.lines().count()), (Some(2), 3), "{stderr}");
    for part in [
        "outflow.toml:1: unknown key hiden",
        "outflow.toml:2: drain",
        "outflow.toml:4: unknown key tunnel.alow",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    // Each key is right, together they are not.
    for (text, part) in [
        ("require-links = true", "--link-keys"),
        ("ledger = 'off'", "--ledger needs an address"),
        ("webhook-secret = 'sesame'", "--webhook-secret needs --webhook"),
        ("path = 'nfs://host/x'", "nfs"),
        ("[[webhooks]]\nurl = 'x'\nsecrets = []", ""),
        ("[tunnel]\nopen = true", "no target"),
        ("[channels]\nsubscribe = 'open'", "--channel-tokens"),
    ] {
        let (code, stderr, _) = check(text);
        assert!(code == Some(2) && stderr.contains(part) && !stderr.contains("sesame"), "{text}: {stderr}");
    }
    let (code, stderr, stdout) = check("hidden = true\n");
    assert!(code == Some(0) && stderr.is_empty() && stdout.contains("is valid"), "{stderr} {stdout}");
}

#[test]
fn a_list_of_the_file_is_a_list_and_paths_start_at_its_folder() {
    let tree = tree();
    let path = tree.beside("sub/outflow.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text =
        "acme = [\"a.test\", \"b.test\"]\nledger = \"sqlite:l.db\"\non-event = \"true\"\ncache = \"c\"\n";
    std::fs::write(&path, text).unwrap();
    let show = |arguments: &[&str]| {
        let mut command = binary();
        command.args(["config", "show", "--config"]).arg(&path).args(arguments);
        String::from_utf8(ChildProgram::start(&mut command).finish().stdout).unwrap()
    };
    let shown = show(&[]);
    assert!(shown.contains("acme = [\"a.test\", \"b.test\"]  # "), "{shown}");
    assert!(shown.contains(&format!("cache = {:?}  # ", tree.beside("sub/c"))), "{shown}");
    // The flag replaces the list of the file.
    let shown = show(&["--acme", "c.test, d.test"]);
    assert!(
        shown.contains("acme = [\"c.test, d.test\"]  # flag") || shown.contains("acme = [\"c.test\", "),
        "{shown}"
    );
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let tree = tree();
    let config = config(
        &tree,
        "hidden = true\ndrain = \"3s\"\nthreads = 3\ncache = \"c\"\n[channels]\nhistory = 7\norigin = [\"https://a\"]\ntokens = \"t\"\n",
    );
    let mut command = binary();
    command
        .args(["config", "show", "--threads", "2", "--channel-subscribe", "open"])
        .env("OUTFLOW_CONFIG", &config);
    command.env("OUTFLOW_DRAIN", "5s").env("OUTFLOW_THREADS", "9").env("OUTFLOW_HIDDEN", "");
    command.env("OUTFLOW_WEBHOOK_SECRET", "sesame");
    let output = ChildProgram::start(&mut command).finish();
    let shown = String::from_utf8(output.stdout).unwrap();
    let file = config.display();
    let cache = tree.beside("c");
    for line in [
        "listen = \"127.0.0.1:8080\"  # default".to_owned(),
        format!("hidden = true  # {file}:1"),
        "drain = \"5s\"  # OUTFLOW_DRAIN".to_owned(),
        "threads = 2  # flag".to_owned(),
        format!("cache = {cache:?}  # {file}:4"),
        "subscribe = \"open\"  # flag".to_owned(),
        format!("history = 7  # {file}:6"),
        format!("origin = [\"https://a\"]  # {file}:7"),
        "# webhook-secret is set and not shown  # OUTFLOW_WEBHOOK_SECRET".to_owned(),
        "# ledger is not set".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in {shown}");
    }
    // What it prints is a configuration file.
    let again = tree.beside("again.toml");
    std::fs::write(&again, &shown).unwrap();
    let check = ChildProgram::start(binary().args(["config", "check"]).arg(&again)).finish();
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn mistakes_in_the_environment_are_wrong_usage_and_are_named() {
    let tree = tree();
    for (name, value) in
        [("OUTFLOW_THREADS", "many"), ("OUTFLOW_LISTEN", "nowhere"), ("OUTFLOW_HIDDEN", "perhaps")]
    {
        let output = ChildProgram::start(binary().arg("serve").arg(tree.root()).env(name, value)).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains(value) && stderr.contains(name), "{name}: {stderr}");
    }
    let latin = std::ffi::OsStr::from_bytes(b"\xff");
    for (name, code) in [("OUTFLOW_THREADS", 2), ("OUTFLOW_LEDGER", 2), ("OUTFLOW_PATH", 1)] {
        let output = ChildProgram::start(binary().arg("serve").env(name, latin)).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        assert!(code == 1 || stderr.contains(name), "{name}: {stderr}");
    }
}

#[test]
fn switches_in_the_environment_have_the_usual_words_and_empty_is_none() {
    let tree = tree();
    let config = config(&tree, "hidden = true\n");
    for (value, is_served) in
        [("1", true), ("yes", true), ("on", true), ("0", false), ("no", false), ("off", false), ("", true)]
    {
        let server = Setup::of(tree.root()).arg("--config").arg(&config).env("OUTFLOW_HIDDEN", value).start();
        assert_hidden_served(&server, is_served);
    }
    let server = Setup::of(tree.root()).env("OUTFLOW_HIDDEN", "1").arg("--no-hidden").start();
    assert_hidden_served(&server, false);
}

#[test]
fn logs_are_as_loud_as_they_are_told_to_be() {
    let tree = tree();
    let server = Setup::of(tree.root()).arg("--log-level").arg("warn").start();
    server.get("/a.txt").expect(200);
    server.get("/nothing").expect(404);
    assert_eq!(server.log(), Vec::<String>::new());
    let server = Setup::of(tree.root()).arg("--log-level").arg("info").start();
    server.get("/a.txt?x=y").expect(200);
    let line = server.delivery("/a.txt?x=y", "completed");
    assert_eq!((&line["method"], &line["status"], &line["bytes"]), (&"GET".into(), &200.into(), &6.into()));
    assert_eq!(line["client"], "127.0.0.1");
}

#[test]
fn a_password_in_or_for_the_address_of_a_ledger_is_in_no_message() {
    let tree = tree();
    // A port that nothing listens on.
    let address = "postgres://outflow@127.0.0.1:1/outflow";
    let password_file = tree.beside("pgpass");
    std::fs::write(&password_file, "sesame\n").unwrap();
    std::fs::set_permissions(&password_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (address, part) in [
        (format!("{address}?passwd=sesame"), "has the parameter passwd, which is not supported"),
        (format!("{address}?sslmode=disable&sesame"), "has the parameter sesame, which"),
        ("postgres://outflow:123?sesame@127.0.0.1/outflow".to_owned(), "a parameter, which"),
        (format!("{address}?password=sesame"), "cannot be reached"),
        (address.to_owned(), "cannot be reached"),
    ] {
        for format in ["text", "json"] {
            let setup = Setup::of(tree.root()).args(["--log-level", "trace", "--log-format", format]);
            let (code, stderr) = setup.env("PGPASSFILE", &password_file).ledger(&address).fail();
            assert!(code.is_some_and(|code| code > 0) && stderr.contains(part), "{address}: {stderr}");
            let is_shown = stderr.replace("the parameter sesame", "").contains("sesame");
            assert!(!is_shown, "{address}: {stderr}");
        }
    }
}

#[test]
fn no_level_of_the_log_shows_the_secrets_of_a_store_a_webhook_or_a_client() {
    let double = Double::start().unwrap();
    let manifest = r#"{"version": 1, "id": "a", "created": "2026-11-01T09:30:00Z",
        "files": [{"name": "f", "key": "f", "size": 6}]}"#;
    double.put("p/a/manifest.json", manifest.as_bytes().to_vec());
    double.put("p/a/f", b"public".to_vec());
    let server = double
        .access()
        .serve("p")
        .args(["--log-level", "trace", "--webhook-allow-private", "--webhook"])
        .arg("http://127.0.0.1:1/hook?token=sesame-query")
        .args(["--webhook-secret", "whsec_c2VzYW1lLXNlc2FtZS1zZXNhbWUtc2VzYW1l"])
        .start();
    let credentials = "Authorization: Bearer sesame-token\r\nCookie: sesame-cookie\r\n";
    assert_eq!(server.fetch("GET", "/t/a/f", credentials).expect(200).body, b"public");
    server.log_line(&["endpoint"]);
    let ledger = server.ledger.clone();
    let log = server.log();
    drop((server, ledger));
    // The log is as loud as it gets.
    assert!(log.iter().any(|line| line.contains("TRACE") && line.contains("hyper")), "{}", log.join("\n"));
    for secret in ["sesame", "c2VzYW1l", Double::SECRET_KEY, "X-Amz-Signature", "Signature="] {
        let line = log.iter().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
