//! Symbolic links: out of the served folder, within it, to nowhere, in circles.

use std::fs;

use crate::support::{FileTree, Server, Setup, output, program};
use outflow_testkit::needs;

fn tree() -> FileTree {
    let tree = FileTree::new();
    fs::create_dir(tree.beside("outside")).unwrap();
    fs::write(tree.beside("outside/secret.txt"), "secret").unwrap();
    tree.file("a.txt", "public");
    tree.file("sub/b.txt", "public as well");
    // Out of the root.
    tree.link("out-file", "../outside/secret.txt");
    tree.link("out-folder", "../outside");
    tree.link("sub/out-deep", "../../outside/secret.txt");
    tree.link("out-absolute", tree.beside("outside/secret.txt"));
    tree.link("out-absolute-folder", tree.beside("outside"));
    // By way of another link.
    tree.link("out-by-two", "out-folder/secret.txt");
    // Within the root.
    tree.link("in-file", "a.txt");
    tree.link("in-folder", "sub");
    tree.link("sub/in-up", "../a.txt");
    tree.link("in-absolute", tree.at("a.txt"));
    tree.link("in-by-two", "in-folder/b.txt");
    // To nowhere.
    tree.link("dangling", "nothing");
    tree.link("dangling-out", "../nothing");
    // In circles.
    tree.link("self", "self");
    tree.link("left", "right");
    tree.link("right", "left");
    tree.link("sub/above", "..");
    tree
}

const OUT: [&str; 8] = [
    "/out-file",
    "/out-folder/",
    "/out-folder/secret.txt",
    "/sub/out-deep",
    "/out-absolute",
    "/out-absolute-folder/",
    "/out-absolute-folder/secret.txt",
    "/out-by-two",
];
const IN: [(&str, &str); 6] = [
    ("/in-file", "public"),
    ("/in-folder/b.txt", "public as well"),
    ("/sub/in-up", "public"),
    ("/in-absolute", "public"),
    ("/in-by-two", "public as well"),
    ("/sub/above/sub/above/a.txt", "public"),
];

fn listed_archive(server: &Server, tree: &FileTree) -> Vec<String> {
    let archive = tree.beside("all.zip");
    fs::write(&archive, server.get("/?zip").expect(200).body).unwrap();
    output(program("unzip").arg("-tqq").arg(&archive));
    output(program("bsdtar").arg("-tf").arg(&archive)).lines().map(str::to_owned).collect()
}

#[test]
fn links_out_of_the_root_are_refused() {
    let tree = tree();
    let server = Server::of(tree.root());
    let mut client = server.client();
    for path in OUT {
        let reply = client.get(path).expect(403);
        assert!(!reply.body.windows(6).any(|window| window == b"secret"), "{path}");
    }
    for (path, text) in IN {
        assert_eq!(client.get(path).expect(200).text(), text, "{path}");
    }
    client.get("/dangling").expect(404);
    let status = client.get("/dangling-out").status;
    assert!(matches!(status, 403 | 404), "{status}");
    for path in ["/self", "/left", "/right/x"] {
        let status = client.get(path).status;
        assert!(matches!(status, 403 | 404), "{path}: {status}");
    }
    let listing = client.get("/?json").expect(200);
    assert!(!listing.text().contains("\"out-file\""), "what is refused is not offered: {}", listing.text());
}

#[test]
fn an_archive_has_no_link_that_leads_out_and_ends_although_links_go_in_circles() {
    needs!("bsdtar", "unzip");
    let tree = tree();
    let server = Server::of(tree.root());
    let names = listed_archive(&server, &tree);
    for name in &names {
        assert!(!name.contains("out-") && !name.contains("dangling"), "{name} in {names:?}");
        assert!(!["self", "left", "right"].contains(&name.as_str()), "{name} in {names:?}");
    }
    for name in ["a.txt", "in-file", "in-absolute", "in-by-two", "in-folder/b.txt", "sub/b.txt", "sub/in-up"]
    {
        assert!(names.iter().any(|other| other == name), "no {name} in {names:?}");
    }
    for selection in ["out-file", "out-folder/", "sub/out-deep"] {
        let reply = server.get(&format!("/?zip&file={selection}"));
        assert!(matches!(reply.status, 403 | 404), "{selection}: {}", reply.status);
    }
    server.get("/out-folder/?zip").expect(403);
}

#[test]
fn links_out_of_the_root_are_followed_when_that_is_wanted() {
    needs!("bsdtar", "unzip");
    let tree = tree();
    let server = Setup::of(tree.root()).arg("--follow-symlinks").start();
    let mut client = server.client();
    for path in OUT.into_iter().filter(|path| !path.ends_with('/')) {
        assert_eq!(client.get(path).expect(200).text(), "secret", "{path}");
    }
    for (path, text) in IN {
        assert_eq!(client.get(path).expect(200).text(), text, "{path}");
    }
    client.get("/out-folder/").expect(200);
    client.get("/dangling").expect(404);
    // Following links does not mean that addresses may climb.
    client.get("/out-folder/../outside/secret.txt").expect(400);
    client.get("/../outside/secret.txt").expect(400);
    for path in ["/self", "/left"] {
        let status = client.get(path).status;
        assert!(matches!(status, 403 | 404), "{path}: {status}");
    }
    let names = listed_archive(&server, &tree);
    for name in ["out-file", "out-folder/secret.txt", "out-absolute", "sub/out-deep", "in-file"] {
        assert!(names.iter().any(|other| other == name), "no {name} in {names:?}");
    }
}

#[test]
fn the_root_itself_may_be_a_link() {
    let tree = tree();
    std::os::unix::fs::symlink(tree.root(), tree.beside("by-link")).unwrap();
    let server = Server::of(tree.beside("by-link"));
    assert_eq!(server.get("/a.txt").expect(200).text(), "public");
    server.get("/out-file").expect(403);
}
