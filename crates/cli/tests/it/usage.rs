//! Wrong command lines: each gets exit code 2 and one message that says what to type.

use crate::support::{ChildProgram, FileTree, binary};

/// A line as it is typed behind `outflow`, and what the message has to contain.
const WRONG_LINES: &[(&str, &str)] = &[
    // Flags of other servers.
    ("serve --port 8000", "--listen 127.0.0.1:8000"),
    ("serve -p 8000", "--listen 127.0.0.1:8000"),
    ("serve --port=8000", "--listen 127.0.0.1:8000"),
    ("serve --host 0.0.0.0", "--listen 0.0.0.0:8080"),
    ("serve --host ::1", "--listen [::1]:8080"),
    ("serve --bind 0.0.0.0", "--listen 0.0.0.0:8080"),
    ("serve --host ::1 --port=9000", "choose the address and the port with --listen [::1]:9000"),
    ("serve --port 9000 --bind 0.0.0.0", "choose the address and the port with --listen 0.0.0.0:9000"),
    ("tunnel serve -p 9000 -b 10.0.0.1", "with --listen 10.0.0.1:9000"),
    ("serve -l :8080", "--listen HOST:PORT"),
    ("serve --root /srv", "outflow serve /srv"),
    ("serve --directory /srv", "outflow serve /srv"),
    ("serve --cert a.pem --key a.key", "--tls-cert a.pem"),
    ("serve --cert a.pem --key a.key", "; and no option --key; name the private key with --tls-key a.key"),
    ("serve --tls", "--acme DOMAIN"),
    ("serve --workers 4", "--threads 4"),
    ("serve --verbose", "--log-level debug"),
    ("serve -v", "--log-level debug"),
    ("serve --auth anna:secret", "--link-keys"),
    ("serve --enable-zip", "?zip"),
    ("serve --all", "--hidden"),
    ("serve --db ledger.sqlite", "--ledger sqlite:PATH"),
    ("file --listen 127.0.0.1:80 x", "--host HOST and --port PORT"),
    ("relay --listen :80 db:5432", "outflow relay LISTEN TARGET"),
    // Misspelt and half-remembered.
    ("serve --hiden", "--hidden"),
    ("serve --follow-symlink", "--follow-symlinks"),
    ("serve --max-conections 5", "--max-connections"),
    ("serve --log_level debug", "--log-level"),
    ("serve --trusted-proxy 10.0.0.1", "--trusted-proxies"),
    ("serve --no-hiden", "--no-hidden"),
    ("serv .", "outflow serve"),
    ("sevre .", "outflow serve"),
    // Values and units.
    ("serve --drain 10", "write 10s"),
    ("serve --drain=10sec", "45s, 30m"),
    ("serve --hsts 300", "write 300s"),
    ("serve --hsts", "--hsts TIME"),
    ("serve --listen 8080", "127.0.0.1:8080"),
    ("serve --listen :8080", "0.0.0.0:8080"),
    ("serve --listen", "--listen ADDR"),
    ("serve --segment-memory 256MB", "256MiB"),
    ("serve --segment-memory 1.5GiB", "a number with a unit"),
    ("serve --threads 0", "1..=1024"),
    ("serve --log-level verbose", "debug, trace"),
    ("serve --ledger-keep 90", "write 90s, 90m, 90h or 90d"),
    ("serve --hidden true .", "--no-hidden"),
    ("serve --hidden=false .", "--no-hidden"),
    ("serve --trusted-proxies all", "10.0.0.0/8"),
    ("publish x --to file:///tmp --expires 7", "7d"),
    ("link create /a --link-keys k --recipient a --max-downloads 0", "1.."),
    // Order and number.
    ("serve one two", "takes PATH"),
    ("serve one two three", "\"two\""),
    ("relay 127.0.0.1:0", "TARGET"),
    ("publish x", "--to"),
    ("link create", "URL"),
    ("link create /a --recipient anna", "--link-keys"),
    ("transfer remove", "ID"),
    ("--config outflow.toml serve", "outflow serve --config"),
    // Commands of earlier versions, of others, and of hope.
    ("link", "create"),
    ("link-key", "outflow link keygen"),
    ("links", "outflow link list"),
    ("link new /a", "outflow link create"),
    ("downloads list", "outflow download list"),
    ("events list", "outflow event list"),
    ("event enable app", "outflow endpoint enable"),
    ("unpublish abc", "outflow transfer remove"),
    ("transfers --store file:///tmp", "outflow transfer list"),
    ("webhook-secret", "outflow endpoint keygen"),
    ("upload film.mp4", "outflow publish"),
    ("run .", "outflow serve"),
    ("./folder", "outflow serve ./folder"),
    ("s3://bucket/prefix --plain", "outflow serve s3://bucket/prefix --plain"),
    ("completion bash", "outflow completions"),
    ("completions basch", "bash"),
    ("config validate outflow.toml", "outflow config check"),
    ("tunnel server", "outflow tunnel serve"),
    ("tunnel connect https://h a 1 --token abc", "--token-file"),
    ("tunnel connect https://h a 99999", "wrong for PORT"),
    ("tunnel listen 127.0.0.1:0 https://h a 22 --insecure", "--cacert"),
    ("link show x --link-keys k --keys k", "--link-keys"),
    // Found by trying.
    ("serve --threads -1", "wrong for --threads"),
    ("serve --threads two", "a whole number"),
    ("serve --listen http://0.0.0.0:80", "write 0.0.0.0:80"),
    ("serve --listen *:80", "write 0.0.0.0:80"),
    ("serve --ledger off", "sqlite:PATH"),
    ("serve --webhook-secret whsec_x", "--webhook"),
    ("serve --no-hidden=true", "--hidden takes no value"),
    ("-p 80 serve", "-p is not an option"),
    ("link create /a --link-keys k --recipient a --password hunter2", "after an equals sign"),
    ("event replay --endpoint x", "ID or --since TIME"),
    ("serve --verison", "--version"),
    ("relay a:1 b:2 --timeout 5s", "--connect-timeout"),
];

#[test]
fn wrong_command_lines_get_a_message_that_says_what_to_type() {
    let tree = FileTree::new();
    for (line, part) in WRONG_LINES {
        let output =
            ChildProgram::start(binary().current_dir(tree.root()).args(line.split_whitespace())).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "outflow {line}: {stderr}");
        assert!(stderr.contains(part), "outflow {line}: no {part:?} in: {stderr}");
        assert!(stderr.starts_with("outflow: ") || stderr.contains("Usage: "), "outflow {line}: {stderr}");
        assert!(stderr.lines().count() <= 2 || stderr.contains("Usage: "), "outflow {line}: {stderr}");
        assert!(output.stdout.is_empty(), "outflow {line}");
    }
}

#[test]
fn a_secret_in_a_wrong_value_is_not_repeated() {
    for line in [
        "serve --webhooks sesame",
        "serve --webhooks {\"url\":\"x\",\"secrets\":\"a\\\"sesame\\\"\"}",
        "serve --webhook-secret sesame --webhook-secret",
        "link create /a --link-keys k --recipient a --password sesame",
    ] {
        let output = ChildProgram::start(binary().args(line.split_whitespace())).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(!stderr.contains("sesame"), "{line}: {stderr}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    for argument in ["a\u{1b}[31mb", "--\u{1b}[31m", "a\u{202e}b"] {
        let output = ChildProgram::start(binary().args(["serve", "x", argument])).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(!stderr.contains(['\u{1b}', '\u{202e}']), "{stderr:?}");
    }
}

#[test]
fn the_last_of_several_flags_wins() {
    let shown = |line: &str| {
        let output = ChildProgram::start(binary().args(["config", "show"]).args(line.split_whitespace()));
        String::from_utf8(output.finish().stdout).unwrap()
    };
    for (line, part) in [
        ("--threads 1 --threads 2", "threads = 2  # flag\n"),
        ("--hidden --no-hidden", "hidden = false  # flag\n"),
        ("--no-hidden --hidden", "hidden = true  # flag\n"),
        ("--no-sendfile --sendfile", "sendfile = true  # flag\n"),
        ("--no-http2", "http2 = false  # flag\n"),
        ("--tls-cert /a --tls-cert /b --tls-key /c --tls-key /d", "tls-cert = [\"/a\", \"/b\"]  # flag\n"),
        ("/srv", "path = \"/srv\"  # argument\n"),
        ("--ledger postgres://outflow:sesame@db/outflow", "# ledger is set and not shown  # flag\n"),
    ] {
        let shown = shown(line);
        assert!(shown.contains(part), "{line}: {shown}");
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

#[test]
fn man_pages_and_completions_are_made_for_every_command() {
    let folder = tempfile::TempDir::new().unwrap();
    let man = ChildProgram::start(binary().arg("man").arg(folder.path().join("man1"))).finish();
    assert_eq!(man.status.code(), Some(0), "{}", String::from_utf8_lossy(&man.stderr));
    for page in ["outflow.1", "outflow-serve.1", "outflow-link-create.1", "outflow-tunnel-serve.1"] {
        let text = std::fs::read_to_string(folder.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".TH "), "{page}");
    }
    let serve = std::fs::read_to_string(folder.path().join("man1/outflow-serve.1")).unwrap();
    assert!(serve.contains("OUTFLOW_LISTEN") && serve.contains("max\\-connections"), "{serve}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ChildProgram::start(binary().args(["completions", shell])).finish();
        let script = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(script.contains("max-connections") && script.contains("keygen"), "{shell}");
    }
}

#[test]
fn what_help_does_not_show_is_not_completed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ChildProgram::start(binary().args(["completions", shell])).finish();
        let script = String::from_utf8(output.stdout).unwrap();
        for hidden in ["no-hidden", "webhooks", "reference"] {
            assert!(!script.contains(hidden), "{shell}: {hidden}");
        }
        for shown in ["webhook-secret", "version", "transfer"] {
            assert!(script.contains(shown), "{shell}: {shown}");
        }
    }
}

#[test]
fn under_h_an_option_and_what_it_does_are_in_one_line() {
    for command in ["serve", "file", "publish", "link create", "tunnel serve", "tunnel connect", "relay"] {
        let line = command.split(' ').chain(["-h"]);
        let output = ChildProgram::start(binary().env("COLUMNS", "100").args(line)).finish();
        let help = String::from_utf8(output.stdout).unwrap();
        let option = |line: &&str| line.starts_with("  -") || line.starts_with("      --");
        let options: Vec<&str> = help.lines().filter(option).map(str::trim).collect();
        assert!(options.len() > 3, "{command}: {help}");
        for option in options {
            assert!(option.contains("  "), "{command}: {option} stands alone");
        }
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let script = ChildProgram::start(binary().args(["completions", "bash"])).finish().stdout;
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("outflow.bash");
    std::fs::write(&path, script).unwrap();
    let probe = "source \"$0\"; COMP_WORDS=(outflow serve --max); COMP_CWORD=2; \
                 _outflow outflow --max serve; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash").args(["-c", probe]).arg(&path).output().unwrap();
    let completions = String::from_utf8(output.stdout).unwrap();
    assert_eq!(completions, "--max-connections\n", "{}", String::from_utf8_lossy(&output.stderr));
}
