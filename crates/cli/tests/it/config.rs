//! The same keys in a file, in the environment and as flags, in that order of strength.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{ChildProgram, FileTree, Server, Setup, binary};

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
    let config = config(&tree, "hidden = true\nmax-connections = 10\ndrain = 3\n");
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

#[test]
fn mistakes_in_the_file_are_wrong_usage_and_are_named() {
    let tree = tree();
    for (text, part) in [
        ("hiden = true\n", "hiden"),
        ("hidden = \"perhaps\"\n", "hidden"),
        ("listen = \"nowhere\"\n", "listen"),
        ("threads = 0\n", "threads"),
        ("hidden = \n", "outflow.toml"),
        ("[serve]\nhidden = true\n", "serve"),
    ] {
        let config = config(&tree, text);
        let output =
            ChildProgram::start(binary().arg("serve").arg(tree.root()).arg("--config").arg(&config)).finish();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {stderr}");
        assert!(stderr.contains(part) && stderr.contains("outflow.toml"), "{text}: {stderr}");
    }
    let missing = tree.beside("missing.toml");
    let output = ChildProgram::start(binary().arg("serve").arg("--config").arg(&missing)).finish();
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("missing.toml"));
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
        assert!(stderr.contains(value), "{name}: {stderr}");
    }
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
