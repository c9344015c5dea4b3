//! `outflow file`: what kcup does, what it should have done, and content that is swapped under
//! load.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use outflow_testkit::needs;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    Authority, ChildProgram, FileTree, Server, assert_fails, assert_same, binary, noise, output, program,
    replace, until,
};

fn command(arguments: &[&str]) -> Command {
    let mut command = binary();
    for name in ["HOST", "PORT", "FILE", "STDIN_READ_TIMEOUT_SECONDS", "TLS_KEY", "TLS_CERT", "LOG_LEVEL"] {
        command.env_remove(name);
    }
    command.arg("file").args(arguments);
    command
}

/// On a port that the kernel chooses.
fn serve(arguments: &[&str]) -> Server {
    let mut command = command(arguments);
    command.args(["--port", "0", "--log-format", "json"]);
    Server::spawn(command, TempDir::new().unwrap())
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_kcup_does_is_done() {
    let tree = FileTree::new();
    let file = tree.file("policy.txt", "version: STSv1\n");
    // By kcup's flag, by our argument, and by the environment.
    let by_flag = serve(&["-f", text(&file)]);
    let by_argument = serve(&[text(&file), "--host", "localhost"]);
    let mut command = command(&["--log-format", "json"]);
    command.env("FILE", &file).env("PORT", "0").env("HOST", "127.0.0.1").env("LOG_LEVEL", "warn");
    let by_environment = Server::spawn(command, TempDir::new().unwrap());
    for server in [by_flag, by_argument, by_environment] {
        for path in ["/", "/any/path", "/a?b"] {
            assert_eq!(server.get(path).expect(200).text(), "version: STSv1\n", "{path}");
        }
    }
}

#[test]
fn what_kcup_does_wrong_is_right() {
    let tree = FileTree::new();
    let bytes = noise(3, 100_000);
    let file = tree.file("film.mp4", &bytes);
    let server = serve(&[text(&file), "--path", "/film", "--cache-control", "max-age=60"]);
    let whole = server.get("/film").expect(200);
    assert_same(&whole.body, &bytes, "bytes that are no text");
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("cache-control"), "max-age=60");
    let etag = whole.header("etag").to_owned();
    let modified = whole.header("last-modified").to_owned();
    let head = server.fetch("HEAD", "/film", "").expect(200);
    assert_eq!((head.length(), head.header("etag")), (100_000, &etag[..]));
    server.get("/other").expect(404);
    let refused = server.fetch("DELETE", "/film", "").expect(405);
    assert!(refused.header("allow").contains("GET"), "{refused:?}");
    let part = server.fetch("GET", "/film", "Range: bytes=-10\r\n").expect(206);
    assert_same(&part.body, &bytes[99_990..], "the last ten bytes");
    assert_eq!(part.header("content-range"), "bytes 99990-99999/100000");
    server.fetch("GET", "/film", &format!("If-None-Match: {etag}\r\n")).expect(304);
    server.fetch("GET", "/film", &format!("If-Modified-Since: {modified}\r\n")).expect(304);
    server.fetch("GET", "/film", "If-Match: \"x\"\r\n").expect(412);
    server.fetch("GET", "/film", "Range: bytes=100000-\r\n").expect(416);
    server.fetch("GET", "/film", "Range: bytes=1-\r\nIf-Range: \"x\"\r\n").expect(200);
}

#[test]
fn several_files_are_one_after_the_other() {
    let tree = FileTree::new();
    let (first, second) = (noise(1, 70_000), noise(2, 30_001));
    let (a, b) = (tree.file("a", &first), tree.file("b", &second));
    let server = serve(&[text(&a), text(&b)]);
    assert_same(&server.get("/").expect(200).body, &[first, second].concat(), "both");
}

#[test]
fn standard_input_is_served_and_what_is_none_is_refused() {
    let mut piped = command(&["--port", "0", "--log-format", "json"]);
    piped.stdin(Stdio::from(std::fs::File::open(FileTree::new().file("in", b"\xff\x00\xfe")).unwrap()));
    let server = Server::spawn(piped, TempDir::new().unwrap());
    assert_eq!(server.get("/").expect(200).body, b"\xff\x00\xfe");

    let empty = ChildProgram::start(&mut command(&["--port", "0"])).finish();
    assert_fails(&empty, 1, &["standard input ended without a byte"]);

    // A pipe whose writing end stays open, and says nothing.
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let mut silent = command(&["--port", "0", "--stdin-timeout", "1s"]);
    silent.stdin(Stdio::from(reader));
    let output = ChildProgram::start(&mut silent).finish();
    assert_fails(&output, 1, &["did not end within 1 s", "--stdin-timeout"]);
}

#[test]
fn what_cannot_be_served_says_what_to_do() {
    let tree = FileTree::new();
    let (empty, file) = (tree.file("empty", ""), tree.file("a", "a"));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for (arguments, code, parts) in [
        (&[text(&empty)][..], 1, &["empty"][..]),
        (&[text(&tree.at("missing"))], 1, &["missing", "check the path"]),
        (&[text(&tree.root())], 1, &["outflow serve"]),
        (&[text(&file), "--port", "70000"], 2, &["70000"]),
        (&[text(&file), "--port", &port], 1, &[&port, "--port"]),
        (&[text(&file), "--port", "0", "--host", "no such host"], 1, &["--host"]),
        (&[text(&file), "--tls-cert", "x.pem"], 2, &["--tls-key"]),
        (&[text(&file), "--tls-key", "x.pem"], 2, &["--tls-cert"]),
        (&[text(&file), "--path", "relative"], 2, &["begins with /"]),
        (&["-", "-"], 2, &["standard input"]),
    ] {
        assert_fails(&ChildProgram::start(&mut command(arguments)).finish(), code, parts);
    }
}

#[test]
fn compressed_forms_are_the_same_content() {
    needs!("curl");
    let tree = FileTree::new();
    let words: String = (0..4_000).map(|n| format!("line {n} of a text that repeats itself\n")).collect();
    let file = tree.file("words.txt", &words);
    let server = serve(&[text(&file)]);
    let plain = server.get("/").expect(200);
    assert_same(&plain.body, words.as_bytes(), "as it is");
    let mut tags = vec![plain.header("etag").to_owned()];
    for coding in ["gzip", "br", "zstd"] {
        let lines = format!("Accept-Encoding: {coding}, identity;q=0.1\r\n");
        let reply = until("the compressed forms are there", || {
            let reply = server.fetch("GET", "/", &lines).expect(200);
            (reply.find("content-encoding") == Some(coding)).then_some(reply)
        });
        assert!(reply.body.len() < words.len() / 4, "{coding}: {}", reply.body.len());
        assert_eq!(reply.header("vary").to_ascii_lowercase(), "accept-encoding");
        let part = server.fetch("GET", "/", &format!("{lines}Range: bytes=100-199\r\n")).expect(206);
        assert_same(&part.body, &reply.body[100..200], "a range of the form that was chosen");
        tags.push(reply.header("etag").to_owned());
    }
    let seen = output(program("curl").args(["-sS", "--compressed", &server.url("/")]));
    assert_same(seen.as_bytes(), words.as_bytes(), "what curl makes of it");
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "each form has a tag of its own: {tags:?}");
}

/// While it is swapped, each answer is wholly one content or wholly the other, with the tag of that
/// one.
#[test]
fn a_changed_file_is_swapped_as_a_whole() {
    let tree = FileTree::new();
    let contents = [noise(7, 300_000), noise(8, 200_001)];
    for by_signal in [true, false] {
        let file = tree.file("a.bin", &contents[0]);
        let more: &[&str] = if by_signal { &[] } else { &["--watch"] };
        let server = serve(&[&[text(&file)], more].concat());
        let first = server.etag("/");
        let over = AtomicBool::new(false);
        // Which content each client has seen last.
        let seen: [AtomicUsize; 3] = Default::default();
        std::thread::scope(|scope| {
            let asks = |last: &AtomicUsize| {
                let mut client = server.client();
                while !over.load(Ordering::Relaxed) {
                    let reply = client.get("/").expect(200);
                    let which = usize::from(reply.header("etag") != first);
                    assert_same(&reply.body, &contents[which], "one of both");
                    last.store(which, Ordering::Relaxed);
                }
            };
            let asking: Vec<_> = seen.iter().map(|last| scope.spawn(move || asks(last))).collect();
            for n in 1..=6 {
                let etag = server.etag("/");
                replace(&file, &contents[n % 2]);
                if by_signal {
                    server.signal(Signal::HUP);
                }
                until("the content is another", || (server.etag("/") != etag).then_some(()));
                until("every client has seen it", || {
                    seen.iter().all(|last| last.load(Ordering::Relaxed) == n % 2).then_some(())
                });
            }
            over.store(true, Ordering::Relaxed);
            for asked in asking {
                asked.join().unwrap();
            }
        });
        // What cannot be read replaces nothing.
        let etag = server.etag("/");
        std::fs::remove_file(&file).unwrap();
        server.signal(Signal::HUP);
        server.log_line(&["stays the same"]);
        assert_eq!(server.etag("/"), etag);
    }
}

#[test]
fn it_speaks_tls_and_http_2() {
    needs!("curl");
    let (tree, authority) = (FileTree::new(), Authority::new());
    let (certificate, key) = authority.files("a", &["localhost"]);
    let bytes = noise(5, 1_000_000);
    let file = tree.file("a.bin", &bytes);
    let server = serve(&[text(&file), "--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    assert!(server.first_line.starts_with("listening on https://"), "{}", server.first_line);
    for (version, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let to = tree.beside(number);
        let mut curl = program("curl");
        curl.args(["-sS", version, "-w", "%{http_version}", "--cacert"])
            .arg(authority.root())
            .arg("-o")
            .arg(&to);
        let url = format!("https://localhost:{}/", server.addr.port());
        curl.arg("--resolve").arg(format!("localhost:{}:127.0.0.1", server.addr.port()));
        assert_eq!(output(curl.arg(url)), number);
        assert_same(&std::fs::read(to).unwrap(), &bytes, version);
    }
}
