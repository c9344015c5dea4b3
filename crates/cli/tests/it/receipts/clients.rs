//! Receipts of downloads by curl, wget and aria2c: one each, whatever way the bytes took.

use std::fs;

use outflow_testkit::needs;
use outflow_testkit::process::{aria2c, begin_and_kill, curl, wget};
use tempfile::TempDir;

use crate::support::{FileTree, Server, assert_same, noise, output, until};

const BIG: usize = 24 << 20;

fn tree() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, BIG));
    tree.file("big.bin", &big);
    for number in 0..40 {
        tree.file(format!("folder/{number}.bin"), noise(100 + number, 400_000 + 1000 * number as usize));
    }
    (tree, big)
}

#[test]
fn sixteen_connections_make_one_receipt_of_a_file_and_one_of_an_archive() {
    needs!("aria2c");
    let (tree, big) = tree();
    let server = Server::of(tree.root());
    let folder = TempDir::new().unwrap();
    output(aria2c(folder.path(), "big.bin").arg(server.url("/big.bin")));
    assert_same(&fs::read(folder.path().join("big.bin")).unwrap(), &big, "aria2c");
    output(aria2c(folder.path(), "folder.zip").arg(server.url("/folder/?zip")));
    let ledger = server.close();
    let downloads = ledger.assert_completed(2);
    for download in &downloads {
        assert!(download["deliveries"].as_u64().unwrap() > 8, "many ranges: {download:#}");
        assert_eq!(download["generation"], 1);
    }
    assert_eq!(downloads[1]["files_done"], 40);
    assert_eq!(ledger.counts()["download.started"], 2);
}

#[test]
fn aria2c_that_is_killed_and_goes_on_makes_one_receipt() {
    needs!("aria2c");
    let (tree, big) = tree();
    let server = Server::of(tree.root());
    let folder = TempDir::new().unwrap();
    let mut begun = aria2c(folder.path(), "big.bin")
        .args(["--max-overall-download-limit=2M", "--auto-save-interval=1"])
        .arg(server.url("/big.bin"))
        .spawn()
        .unwrap();
    until("some of it has come and is noted", || {
        let noted = folder.path().join("big.bin.aria2").exists();
        (noted && server.deliveries("/big.bin").len() >= 4).then_some(())
    });
    begun.kill().unwrap();
    begun.wait().unwrap();
    output(aria2c(folder.path(), "big.bin").arg("-c").arg(server.url("/big.bin")));
    assert_same(&fs::read(folder.path().join("big.bin")).unwrap(), &big, "aria2c");
    let downloads = server.close().assert_completed(1);
    assert_eq!(downloads[0]["generation"], 1);
}

#[test]
fn curl_and_wget_that_were_killed_and_go_on_make_one_receipt_each() {
    needs!("curl", "wget");
    let (tree, big) = tree();
    let server = Server::of(tree.root());
    let folder = TempDir::new().unwrap();
    // From here on it has one layout only: curl and wget name no ETag.
    server.know_crcs("/folder/?zip");
    let archive = server.fetch("GET", "/folder/?zip", "User-Agent: test\r\n").expect(200);
    let mut expected = 2;
    for (path, whole) in [("/big.bin", &big), ("/folder/?zip", &archive.body)] {
        for cut in [1, 70_000, 5_000_001, whole.len() - 1] {
            let to = folder.path().join("to");
            let agent = format!("curl {cut}");
            begin_and_kill(curl().args(["--no-buffer", "-A", &agent]).arg(server.url(path)), cut, &to);
            output(curl().args(["-C", "-", "-A", &agent, "-o"]).arg(&to).arg(server.url(path)));
            assert_same(&fs::read(&to).unwrap(), whole, &format!("curl -C - of {path} at {cut}"));

            let agent = format!("wget {cut}");
            begin_and_kill(wget().args(["-U", &agent, "-O", "-"]).arg(server.url(path)), cut, &to);
            output(wget().args(["-c", "-U", &agent, "-O"]).arg(&to).arg(server.url(path)));
            assert_same(&fs::read(&to).unwrap(), whole, &format!("wget -c of {path} at {cut}"));
            expected += 2;
        }
    }
    let ledger = server.close();
    let mut completed: Vec<String> = ledger
        .events_of("download.completed")
        .iter()
        .map(|event| {
            let download = &event["data"]["download"];
            format!("{} {} {}", download["path"], download["user_agent"], download["generation"])
        })
        .collect();
    completed.sort_unstable();
    completed.dedup();
    assert_eq!(completed.len(), expected, "{completed:#?}");
    assert!(completed.iter().all(|one| one.ends_with(" 1")), "{completed:#?}");
    assert_eq!(ledger.counts()["download.completed"], expected);
    // Who was killed just before the end may have had all of it; the last byte is a new beginning
    // then.
    for download in ledger.downloads() {
        let straggles = download["generation"] == 2 && download["acked"] == 1;
        assert!(download["state"] == "completed" || straggles, "{download:#}");
    }
}

#[test]
fn recipients_at_other_addresses_are_others() {
    needs!("curl");
    let (tree, _) = tree();
    let server = Server::of(tree.root());
    for address in ["127.0.0.2", "127.0.0.3"] {
        output(curl().args(["--interface", address, "-o", "/dev/null"]).arg(server.url("/big.bin")));
    }
    let downloads = server.close().assert_completed(2);
    let mut clients: Vec<&str> =
        downloads.iter().map(|download| download["client"].as_str().unwrap()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["127.0.0.2", "127.0.0.3"]);
}
