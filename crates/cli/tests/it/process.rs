//! The command itself: what it prints, how it exits, what it says when it cannot begin.

use std::net::TcpListener;
use std::process::Output;

use crate::support::{ChildProgram, FileTree, Server, Setup, assert_fails, binary};
use outflow_testkit::needs;

fn run(args: &[&str]) -> Output {
    ChildProgram::start(binary().args(args)).finish()
}

#[test]
fn the_first_line_says_where_to_go() {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    let server = Server::of(tree.root());
    assert_ne!(server.addr.port(), 0, "the port that the kernel chose");
    assert_eq!(server.first_line, format!("listening on http://{}/", server.addr));
    // It means it: the first request is answered.
    server.get("/a.txt").expect(200);
}

#[test]
fn one_file_can_be_served() {
    let tree = FileTree::new();
    let file = tree.file("one.txt", "just this");
    tree.file("other.txt", "not this");
    let server = Server::of(file);
    assert_eq!(server.get("/one.txt").expect(200).text(), "just this");
    server.get("/other.txt").expect(404);
    assert_eq!(server.get("/?json").expect(200).json()["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn the_current_folder_is_served_when_none_is_named() {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    let own = tempfile::TempDir::new().unwrap();
    let mut command = binary();
    command.args(["serve", "--listen", "127.0.0.1:0", "--cache"]).arg(own.path()).current_dir(tree.root());
    let server = Server::spawn(command, own);
    assert_eq!(server.get("/a.txt").expect(200).text(), "public");
    let archive = server.fetch("HEAD", "/?zip", "").expect(200);
    assert_eq!(archive.header("content-disposition"), "attachment; filename=\"tree.zip\"");
}

#[test]
fn a_busy_port_is_an_error_that_says_what_to_do() {
    let tree = FileTree::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let output = run(&["serve", tree.root().to_str().unwrap(), "--listen", &addr]);
    assert_fails(&output, 1, &[&addr, "in use", "--listen"]);
}

#[test]
fn a_path_that_is_not_there_is_an_error_that_names_it() {
    let tree = FileTree::new();
    for path in [tree.at("nothing"), tree.beside("nothing/at/all")] {
        let output = run(&["serve", path.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        assert_fails(&output, 1, &[path.to_str().unwrap()]);
    }
    let output = run(&["serve", "/dev/null", "--listen", "127.0.0.1:0"]);
    assert_fails(&output, 1, &["/dev/null"]);
}

#[test]
fn wrong_usage_exits_with_2() {
    for (args, part) in [
        (&["serve", "--no-such-flag"][..], "--no-such-flag"),
        (&["serve", "--listen", "nonsense"], "nonsense"),
        (&["serve", "--listen", "127.0.0.1:99999"], "99999"),
        (&["serve", "--max-connections", "none"], "none"),
        (&["serve", "--max-connections", "0"], "0"),
        (&["serve", "--threads", "0"], "0"),
        (&["serve", "--drain", "-1"], "-1"),
        (&["serve", "--log-format", "xml"], "xml"),
        (&["serve", "--log-level", "loud"], "loud"),
        (&["serve", "one", "two"], "two"),
        (&["no-such-command"], "no-such-command"),
        (&[], "Usage"),
    ] {
        assert_fails(&run(args), 2, &[part]);
    }
}

#[test]
fn help_and_version_are_there() {
    for args in [&["--help"][..], &["help"], &["serve", "--help"], &["--version"]] {
        let output = run(args);
        assert!(output.status.success(), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let help = String::from_utf8(run(&["serve", "--help"]).stdout).unwrap();
    for flag in [
        "--listen",
        "--hidden",
        "--follow-symlinks",
        "--max-connections",
        "--cache",
        "--drain",
        "--threads",
        "--config",
        "--log-level",
        "--log-format",
        "OUTFLOW_LISTEN",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn a_cache_folder_that_cannot_be_used_is_a_warning() {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    let file = tree.beside("a file, not a folder");
    std::fs::write(&file, "").unwrap();
    let server = Setup::of(tree.root()).cache(&file).start();
    server.log_line(&["WARN", "cache"]);
    server.get("/?zip").expect(200);
}

#[test]
fn a_damaged_cache_is_started_anew() {
    needs!("curl");
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    let cache = tempfile::TempDir::new().unwrap();
    let server = Setup::of(tree.root()).cache(cache.path()).start();
    server.know_crcs("/?zip");
    let whole = server.get("/?zip").expect(200).body;
    server.stop();
    for damage in [&b""[..], b"x", &[0xff; 5000], &[0; 100_000]] {
        let mut damaged = 0;
        for entry in std::fs::read_dir(cache.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::write(path, damage).unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0, "there is a cache");
        let server = Setup::of(tree.root()).cache(cache.path()).start();
        let etag = server.get("/?zip").expect(200).header("etag").to_owned();
        server.await_other_etag("/?zip", &etag);
        assert_eq!(server.get("/?zip").expect(200).body, whole);
        server.stop();
    }
}
