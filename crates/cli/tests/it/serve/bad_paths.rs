//! Addresses that try to get out, and things that are neither files nor folders.

use std::os::unix::net::UnixListener;

use outflow_testkit::needs;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

use crate::support::{FileTree, Server, Setup, output, program, python};

#[test]
fn addresses_that_try_to_get_out_are_refused() {
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    tree.file("sub/b.txt", "public");
    std::fs::write(tree.beside("secret.txt"), "secret").unwrap();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for (path, status) in [
        ("/..", 400),
        ("/../secret.txt", 400),
        ("/../../../../etc/passwd", 400),
        ("/sub/..", 400),
        ("/sub/../../secret.txt", 400),
        ("/sub/../a.txt", 400),
        ("/./a.txt", 400),
        ("/%2e%2e/secret.txt", 400),
        ("/%2E%2e/secret.txt", 400),
        ("/.%2e/secret.txt", 400),
        ("/%2e/a.txt", 400),
        ("/..%2fsecret.txt", 400),
        ("/%2e%2e%2fsecret.txt", 400),
        ("/sub%2fb.txt", 400),
        ("/%2fetc%2fpasswd", 400),
        ("/a.txt%00", 400),
        ("/%00", 400),
        ("/a.txt%00.jpg", 400),
        ("/..\\secret.txt", 400),
        ("/..%5csecret.txt", 400),
        ("/sub\\b.txt", 400),
        ("/a.txt%", 400),
        ("/a.txt%2", 400),
        ("/a%zz.txt", 400),
        // Decoded once, these are strange but harmless names that nothing has.
        ("/%252e%252e/secret.txt", 404),
        ("/%252e%252e%252fsecret.txt", 404),
        ("/..%252fsecret.txt", 404),
        ("/.../a.txt", 404),
        ("/%c0%ae%c0%ae/secret.txt", 404),
        ("/%uff0e%uff0e/secret.txt", 400),
        ("//", 404),
        ("//etc/passwd", 404),
        ("/sub//b.txt", 404),
        ("/a.txt/", 404),
        ("/a.txt/b", 404),
        ("/~root", 404),
        ("/A.TXT", 404),
        ("/a.txt", 200),
        ("/%61.txt", 200),
        ("/sub/b.txt?anything=../..", 200),
    ] {
        // A server may also refuse to read such a request line at all; it does so with 400 as well.
        let mut own;
        let reply = if path.contains('\\') {
            own = server.client();
            own.get(path)
        } else {
            client.get(path)
        };
        assert_eq!(reply.status, status, "{path}: {}", String::from_utf8_lossy(&reply.body));
        assert!(!reply.body.windows(6).any(|window| window == b"secret"), "{path}");
        if status >= 400 && reply.find("content-type") == Some("application/problem+json") {
            assert_eq!(reply.json()["status"], status, "{path}");
        }
    }
}

#[test]
fn selections_that_try_to_get_out_are_refused() {
    let tree = FileTree::new();
    tree.file("sub/b.txt", "public");
    tree.file("a.txt", "public");
    std::fs::write(tree.beside("secret.txt"), "secret").unwrap();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for file in [
        "..",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "/etc/passwd",
        "/",
        "",
        ".",
        "./b.txt",
        "b.txt%00",
        "../a.txt",
        "b.txt/..",
        "b%zz",
    ] {
        let reply = client.get(&format!("/sub/?zip&file={file}"));
        assert!(matches!(reply.status, 400 | 404), "{file}: {}", reply.status);
        let reply = client.post("/sub/?zip", &format!("file={file}"));
        assert!(matches!(reply.status, 400 | 404), "{file}: {}", reply.status);
    }
    // Neither a decoded slash nor its lack makes a difference within a value.
    client.get("/sub/?zip&file=b%2etxt").expect(200);
    client.get("/?zip&file=sub%2fb.txt").expect(200);
}

#[test]
fn fifos_sockets_and_devices_are_refused_without_waiting_for_them() {
    needs!("bsdtar");
    let tree = FileTree::new();
    tree.file("a.txt", "public");
    rustix::fs::mknodat(CWD, tree.at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _socket = UnixListener::bind(tree.at("socket")).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let device = rustix::fs::mknodat(
        CWD,
        tree.at("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        null,
    );
    let server = Server::of(tree.root());
    let mut client = server.client();
    for path in ["/fifo", "/socket", "/fifo?download"] {
        let reply = client.get(path).expect(403);
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    match device {
        Ok(()) => assert_eq!(client.get("/null").status, 403),
        // Only root may make one.
        Err(errno) => {
            assert_eq!(errno, Errno::PERM);
            assert_eq!(client.get("/null").status, 404);
        }
    }
    client.get("/fifo/").expect(403);

    // An archive has the file and nothing else.
    let archive = tree.beside("all.zip");
    std::fs::write(&archive, client.get("/?zip").expect(200).body).unwrap();
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&archive)), "a.txt\n");
    let reply = client.get("/?zip&file=fifo");
    assert!(matches!(reply.status, 403 | 404), "{}", reply.status);
    let names: Vec<String> = names(&client.get("/?json").expect(200).json());
    assert!(!names.contains(&"fifo".to_owned()), "{names:?}");
}

fn names(listing: &serde_json::Value) -> Vec<String> {
    let entries = listing["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn hidden_names_are_not_there_unless_they_are_asked_for() {
    needs!("bsdtar", "python3");
    let tree = FileTree::new();
    tree.file(".secret", "hidden");
    tree.file(".git/config", "hidden");
    tree.file("sub/.hidden/file", "hidden");
    tree.file("a.txt", "public");
    let archive = tree.beside("all.zip");

    let server = Server::of(tree.root());
    let mut client = server.client();
    for path in [
        "/.secret",
        "/.git/config",
        "/.git/",
        "/.git",
        "/sub/.hidden/file",
        "/?zip&file=.secret",
        "/.git/?zip",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    assert_eq!(names(&client.get("/?json").json()), ["a.txt", "sub"]);
    std::fs::write(&archive, client.get("/?zip").expect(200).body).unwrap();
    assert_eq!(output(program("bsdtar").arg("-tf").arg(&archive)), "a.txt\nsub/\n");

    let server = Setup::of(tree.root()).arg("--hidden").start();
    let mut client = server.client();
    for path in ["/.secret", "/.git/config", "/sub/.hidden/file"] {
        assert_eq!(client.get(path).expect(200).text(), "hidden", "{path}");
    }
    client.get("/..").expect(400);
    std::fs::write(&archive, client.get("/?zip").expect(200).body).unwrap();
    let report = output(python("check_zip.py").arg(&archive));
    assert_eq!(report.matches("hidden/file").count(), 1, "{report}");
    assert_eq!(names(&client.get("/?json").json()), [".git", ".secret", "a.txt", "sub"]);
}
