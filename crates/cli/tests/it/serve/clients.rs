//! curl, wget and aria2c: whole files, parts, and downloads that were cut, compared byte by byte.

use std::fs;

use outflow_testkit::needs;
use outflow_testkit::process::{aria2c, begin_and_kill, curl, scratch, wget};
use tempfile::TempDir;

use crate::support::{FileTree, Server, assert_same, noise, output, program, until};

const BIG: usize = 24 << 20;

/// A tree with one large file and a folder of files, and what they have in them.
fn big_and_folder() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, BIG));
    tree.file("big.bin", &big);
    for number in 0..40 {
        tree.file(format!("folder/{number}.bin"), noise(100 + number, 150_000 + 1000 * number as usize));
    }
    (tree, big)
}

/// More than one range of `path` was sent.
#[track_caller]
fn await_ranges(server: &Server, path: &str) {
    until("several ranges were sent", || {
        let ranges = server.deliveries(path).iter().filter(|delivery| delivery["status"] == 206).count();
        (ranges >= 2).then_some(())
    });
}

#[test]
fn curl_downloads_a_file_and_sees_its_head() {
    needs!("curl");
    let (tree, big) = big_and_folder();
    let server = Server::of(tree.root());
    let (_folder, to) = scratch("big.bin");
    output(curl().arg("-o").arg(&to).arg(server.url("/big.bin")));
    assert_same(&fs::read(&to).unwrap(), &big, "curl");

    let head = output(curl().arg("-I").arg(server.url("/big.bin"))).to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for field in [format!("content-length: {BIG}\r\n"), "accept-ranges: bytes\r\n".into(), "etag: \"".into()]
    {
        assert!(head.contains(&field), "{field} in {head}");
    }
}

#[test]
fn curl_resumes_a_file_that_was_cut_anywhere() {
    needs!("curl");
    let (tree, big) = big_and_folder();
    let server = Server::of(tree.root());
    let url = server.url("/big.bin");
    for cut in [1, 65_536, 5_000_001, BIG - 1] {
        let (_folder, to) = scratch("big.bin");
        begin_and_kill(curl().arg("--no-buffer").arg(&url), cut, &to);
        output(curl().args(["-C", "-", "-o"]).arg(&to).arg(&url));
        assert_same(&fs::read(&to).unwrap(), &big, &format!("resumed at {cut}"));
    }
}

#[test]
fn curl_resumes_an_archive_that_was_cut_anywhere() {
    needs!("curl");
    let (tree, _) = big_and_folder();
    for layout in ["streamed", "stored"] {
        let server = Server::of(tree.root());
        let url = server.url("/folder/?zip");
        if layout == "stored" {
            server.know_crcs("/folder/?zip");
        }
        let whole = server.get("/folder/?zip").expect(200);
        let (_folder, to) = scratch("folder.zip");
        for cut in [1, 29, 200_000, 3_000_000, whole.body.len() - 30] {
            // As a download leaves it behind that was begun above.
            fs::write(&to, &whole.body[..cut]).unwrap();
            output(curl().args(["-C", "-", "-o"]).arg(&to).arg(&url));
            assert_same(&fs::read(&to).unwrap(), &whole.body, &format!("{layout}, resumed at {cut}"));
        }
    }
}

#[test]
fn curl_resumes_an_archive_that_it_began_itself() {
    needs!("curl", "unzip");
    let (tree, _) = big_and_folder();
    let server = Server::of(tree.root());
    let (_folder, to) = scratch("folder.zip");
    begin_and_kill(curl().arg("--no-buffer").arg(server.url("/folder/?zip")), 2_000_000, &to);
    let begun = fs::read(&to).unwrap();
    // The background pass learns the CRC-32s meanwhile, so that a new download would be another
    // one.
    let before =
        server.fetch("GET", "/folder/?zip", "Range: bytes=0-0\r\n").expect(206).header("etag").to_owned();
    server.await_other_etag("/folder/?zip", &before);
    output(curl().args(["-C", "-", "-o"]).arg(&to).arg(server.url("/folder/?zip")));
    let resumed = fs::read(&to).unwrap();
    assert_same(&resumed[..begun.len()], &begun, "what was there");
    let reply = server.fetch("GET", "/folder/?zip", &format!("If-Match: {before}\r\n")).expect(200);
    assert_same(&resumed, &reply.body, "the archive that was begun");
    output(program("unzip").arg("-tqq").arg(&to));
}

#[test]
fn curl_gets_ranges() {
    needs!("curl");
    let (tree, big) = big_and_folder();
    let server = Server::of(tree.root());
    let len = big.len();
    for (range, slice) in [
        ("0-0", 0..1),
        ("0-99999", 0..100_000),
        ("-1000", len - 1000..len),
        ("20000000-", 20_000_000..len),
        ("25165823-99999999999", len - 1..len),
    ] {
        let (_folder, to) = scratch("part");
        output(curl().args(["-r", range, "-o"]).arg(&to).arg(server.url("/big.bin")));
        assert_same(&fs::read(&to).unwrap(), &big[slice], range);
    }
}

#[test]
fn curl_that_can_decompress_gets_the_same_bytes() {
    needs!("curl");
    let (tree, big) = big_and_folder();
    let text = "the same words again and again\n".repeat(10_000);
    tree.file("text.txt", &text);
    let server = Server::of(tree.root());
    for (path, bytes) in [("/big.bin", &big[..]), ("/text.txt", text.as_bytes())] {
        let (_folder, to) = scratch("whole");
        output(curl().args(["--compressed", "-o"]).arg(&to).arg(server.url(path)));
        assert_same(&fs::read(&to).unwrap(), bytes, path);
    }
}

#[test]
fn curl_saves_under_the_name_that_the_server_gives() {
    needs!("curl");
    let (tree, _) = big_and_folder();
    let server = Server::of(tree.root());
    let folder = TempDir::new().unwrap();
    for path in ["/folder/?zip", "/folder/3.bin?download", "/?zip&file=folder/"] {
        output(curl().current_dir(folder.path()).args(["-OJ"]).arg(server.url(path)));
    }
    let names = FileTree::read(folder.path()).into_keys().collect::<Vec<_>>();
    assert_eq!(names, ["3.bin", "folder.zip", "tree.zip"]);
}

#[test]
fn wget_downloads_and_resumes() {
    needs!("wget");
    let (tree, big) = big_and_folder();
    let server = Server::of(tree.root());
    let archive = server.get("/folder/?zip").expect(200).body;
    for (path, whole) in [("/big.bin", &big), ("/folder/?zip", &archive)] {
        let (_folder, to) = scratch("to");
        output(wget().arg("-O").arg(&to).arg(server.url("/big.bin")));
        assert_same(&fs::read(&to).unwrap(), &big, "wget");
        for cut in [1, 700_000, whole.len() - 1, whole.len()] {
            fs::write(&to, &whole[..cut]).unwrap();
            output(wget().arg("-c").arg("-O").arg(&to).arg(server.url(path)));
            assert_same(&fs::read(&to).unwrap(), whole, &format!("wget -c {path} from {cut}"));
        }
    }
}

#[test]
fn aria2c_downloads_a_file_over_many_connections() {
    needs!("aria2c");
    let (tree, big) = big_and_folder();
    let server = Server::of(tree.root());
    let (folder, to) = scratch("big.bin");
    output(aria2c(folder.path(), "big.bin").arg(server.url("/big.bin")));
    assert_same(&fs::read(&to).unwrap(), &big, "aria2c");
    await_ranges(&server, "/big.bin");
}

#[test]
fn aria2c_downloads_an_archive_over_many_connections_in_both_layouts() {
    needs!("aria2c");
    let (tree, _) = big_and_folder();
    let server = Server::of(tree.root());
    let path = "/folder/?zip";
    let streamed_tag = server.etag(path);
    let (folder, to) = scratch("folder.zip");
    output(aria2c(folder.path(), "folder.zip").arg(server.url(path)));
    let streamed = server.fetch("GET", path, &format!("If-Match: {streamed_tag}\r\n")).expect(200);
    assert_same(&fs::read(&to).unwrap(), &streamed.body, "aria2c, streamed layout");
    await_ranges(&server, path);

    server.await_other_etag(path, &streamed_tag);
    let stored = server.get(path).expect(200);
    assert_ne!(stored.body.len(), streamed.body.len());
    output(aria2c(folder.path(), "stored.zip").arg(server.url(path)));
    assert_same(&fs::read(folder.path().join("stored.zip")).unwrap(), &stored.body, "aria2c, stored layout");
}
