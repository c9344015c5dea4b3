//! The example receiver of webhooks: publish, a link, a download that breaks off, and one event
//! that reports its end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use outflow_testkit::needs;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ChildProgram, FileTree, Setup, binary, noise, output, program, until};

/// `examples/events/receiver.py`.
struct Receiver {
    child: Child,
    address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn start(secret: &str) -> Receiver {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/events/receiver.py");
        let mut command = program("python3");
        let mut child = command.arg(script).args([secret, "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("receiving on ").unwrap().to_owned();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            reader.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Receiver { child, address, lines }
    }

    fn heard(&self, of: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(of)).cloned().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line that a command prints.
fn line(command: &mut Command) -> String {
    output(command).trim().to_owned()
}

#[test]
fn the_example_receiver_reports_a_resumed_download_once() {
    needs!("curl", "python3", "unzip");
    let (demo, own) = (FileTree::new(), TempDir::new().unwrap());
    demo.file("film.mp4", noise(1, 20_000_000));
    for photo in 1..=4 {
        demo.file(format!("photos/{photo}.jpg"), noise(photo, 3_000_000));
    }
    let (store, keys, ledger) =
        (own.path().join("store"), own.path().join("keys.toml"), own.path().join("l"));
    std::fs::create_dir(&store).unwrap();
    let store = format!("file://{}", store.display());
    let mut publish = binary();
    publish.arg("publish").arg(demo.root()).args(["--to", &store, "--title", "Summer", "--id", "summer26"]);
    assert_eq!(line(&mut publish), "/t/summer26/");
    std::fs::write(&keys, line(binary().args(["link", "keygen"]))).unwrap();
    let secret = line(binary().args(["endpoint", "keygen"]));
    let receiver = Receiver::start(&secret);

    let server = Setup::of(&store)
        .arg("--ledger")
        .arg(format!("sqlite:{}", ledger.display()))
        .arg("--link-keys")
        .arg(&keys)
        .arg("--require-links")
        .arg("--webhook-allow-private")
        .arg("--webhook")
        .arg(&receiver.address)
        .env("OUTFLOW_WEBHOOK_SECRET", &secret)
        .start();
    let base = format!("http://{}", server.addr);
    let mut link = binary();
    link.args(["link", "create", "summer26", "--base-url", &base, "--recipient", "anna@example.org"]);
    let link = line(link.arg("--link-keys").arg(&keys).args(["--expires", "7d", "--max-downloads", "1"]));
    assert!(link.starts_with(&format!("{base}/l/")) && link.ends_with("/t/summer26/"), "{link}");

    // The connection breaks off in the middle.
    let (archive, url) = (own.path().join("summer.zip"), format!("{link}?zip"));
    let begin = format!("curl -s '{url}' | head -c 5000000 > '{}'", archive.display());
    output(program("bash").args(["-c", &begin]));
    until("it is told that the download broke off", || {
        (!receiver.heard("download.aborted").is_empty()).then_some(())
    });
    output(program("curl").args(["-sf", "-C", "-", "-o"]).arg(&archive).arg(&url));
    assert!(output(program("unzip").arg("-tq").arg(&archive)).contains("No errors"));

    until("it is told that the download is complete", || {
        (!receiver.heard("download.completed").is_empty()).then_some(())
    });
    until("it is told that the link is exhausted", || {
        (!receiver.heard("link.exhausted").is_empty()).then_some(())
    });
    let length = std::fs::metadata(&archive).unwrap().len();
    let told = format!("download.completed Summer.zip by anna@example.org {length} of {length} bytes");
    assert_eq!(receiver.heard("download.completed"), [told]);
    assert_eq!(receiver.heard("link.exhausted"), ["link.exhausted by anna@example.org"]);
    until("it is told how it began", || (!receiver.heard("download.started").is_empty()).then_some(()));

    // The link has done what it is for.
    let gone = ChildProgram::start(program("curl").args(["-s", "-w", "%{http_code}", &url])).finish();
    let gone = String::from_utf8(gone.stdout).unwrap();
    assert!(gone.ends_with("410") && gone.contains("link-exhausted"), "{gone}");
    server.get("/t/summer26/").expect(403);

    let mut list = binary();
    list.args(["download", "list", "--json", "--ledger"]).arg(&ledger);
    let listed: Value = serde_json::from_str(&output(&mut list)).unwrap();
    let downloads = listed["downloads"].as_array().unwrap();
    assert_eq!(downloads.len(), 1);
    let download = &downloads[0];
    assert_eq!(
        (&download["state"], &download["recipient"]),
        (&"completed".into(), &"anna@example.org".into())
    );
    assert_eq!((&download["files_done"], &download["files"]), (&5.into(), &5.into()));
    let id = download["id"].as_str().unwrap();
    let mut show = binary();
    let shown = output(show.args(["download", "show", id, "--ledger"]).arg(&ledger));
    assert!(shown.contains("files       5 of 5") && shown.contains("✓ film.mp4"), "{shown}");
    // The log contains no link.
    assert!(!server.log().concat().contains(link.split('/').nth(4).unwrap()));
}
