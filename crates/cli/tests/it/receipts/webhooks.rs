//! Which receivers are notified of events, how often, and that no receiver delays another.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Answer, ChildProgram, FileTree, Receiver, SECRET, Server, Setup, Told, noise, once_each, until,
};

fn tree() -> FileTree {
    let tree = FileTree::new();
    for number in 0..10 {
        tree.file(format!("{number}.bin"), noise(number, 100_000));
    }
    tree
}

fn get(server: &Server, who: &str, path: &str) {
    server.fetch("GET", path, &format!("User-Agent: {who}\r\n")).expect(200);
}

/// A configuration with these webhooks: id, address, further lines.
fn config(tree: &FileTree, webhooks: &[(&str, String, &str)]) -> Setup {
    let mut text = String::new();
    for (id, url, lines) in webhooks {
        text += &format!("[[webhooks]]\nid = {id:?}\nurl = {url:?}\nsecrets = [{SECRET:?}]\n{lines}\n");
    }
    let path = tree.beside("outflow.toml");
    fs::write(&path, text).unwrap();
    Setup::of(tree.root()).arg("--config").arg(path)
}

const PRIVATE: &str = "allow-private = true";

/// What is told is what the ledger has.
#[track_caller]
fn assert_told(told: &[Told], events: &[Value]) {
    let told = once_each(told);
    let by_id: HashMap<&str, &Value> =
        events.iter().map(|event| (event["id"].as_str().unwrap(), event)).collect();
    assert_eq!(by_id.len(), events.len(), "an id twice");
    assert_eq!(told.len(), events.len(), "{told:#?}\n{events:#?}");
    for (id, told) in &told {
        let event = by_id.get(id.as_str()).unwrap_or_else(|| panic!("{id} is not in the ledger"));
        for key in ["type", "timestamp", "data"] {
            assert_eq!(told.body[key], event[key], "{key} of {id}");
        }
    }
}

/// A program that notes each line it is given in a file of its own.
fn sink(tree: &FileTree) -> (PathBuf, PathBuf) {
    let folder = tree.beside("told");
    fs::create_dir(&folder).unwrap();
    let program = tree.beside("tell.sh");
    let text = format!(
        "#!/bin/sh\nto=$(mktemp {}/XXXXXX) && cat >\"$to\" && mv \"$to\" \"$to.json\"\n",
        folder.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, folder)
}

fn lines_in(folder: &PathBuf) -> Vec<Value> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(path).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
            lines.push(serde_json::from_str(&text).unwrap());
        }
    }
    lines
}

#[test]
fn a_webhook_and_a_program_are_told_the_same_with_the_same_id() {
    let tree = tree();
    let receiver = Receiver::start();
    let (program, folder) = sink(&tree);
    let server = receiver.of(Setup::of(tree.root())).arg("--on-event").arg(program).start();
    get(&server, "anna", "/0.bin");
    get(&server, "ben", "/?zip");
    receiver.wait_for("download.completed", 2);
    receiver.wait_for("download.started", 2);
    until("the program was told", || (lines_in(&folder).len() == 4).then_some(()));
    let ledger = server.close();
    let events = ledger.events();
    assert_eq!(events.len(), 4);
    assert_told(&receiver.told(), &events);
    for line in lines_in(&folder) {
        let event = events.iter().find(|event| event["id"] == line["id"]);
        assert_eq!(Some(&line), event, "as it is in the ledger");
    }
    for event in &events {
        let detail = ledger.event(event["id"].as_str().unwrap());
        let sends = detail["sends"].as_array().unwrap();
        assert_eq!(sends.len(), 2, "{detail:#}");
        assert!(sends.iter().all(|send| send["state"] == "delivered"), "{detail:#}");
    }
}

#[test]
fn a_receiver_that_was_down_is_told_later() {
    let tree = tree();
    let mut receiver = Receiver::start();
    receiver.down();
    let server = receiver.of(Setup::of(tree.root())).start();
    get(&server, "anna", "/0.bin");
    let event = server.ledger.await_events("download.completed", 1).remove(0);
    let id = event["id"].as_str().unwrap().to_owned();
    let first = until("a first attempt has failed", || {
        let detail = server.ledger.event(&id);
        let log = detail["sends"][0]["log"].as_array()?.clone();
        log.first().cloned()
    });
    assert!(first["note"].as_str().unwrap().contains("refused"), "{first}");
    receiver.up();
    // Five seconds later.
    receiver.wait_taken(&id);
    let ledger = server.close();
    let sends = ledger.event(&id)["sends"].clone();
    assert_eq!((&sends[0]["state"], &sends[0]["attempts"]), (&"delivered".into(), &2.into()), "{sends:#}");
}

#[test]
fn a_receiver_that_was_down_is_told_by_the_next_server() {
    let tree = tree();
    let address = format!("sqlite:{}", tree.beside("ledger.sqlite").display());
    let mut receiver = Receiver::start();
    receiver.down();
    let server = receiver.of(Setup::of(tree.root())).ledger(&address).start();
    get(&server, "anna", "/0.bin");
    server.ledger.await_events("download.completed", 1);
    let ledger = server.close();
    receiver.up();
    let events = ledger.events();
    let next = receiver.of(Setup::of(tree.root())).ledger(&address).start();
    for event in &events {
        receiver.wait_taken(event["id"].as_str().unwrap());
    }
    assert_told(&receiver.told(), &next.close().events());
}

#[test]
fn whoever_hangs_fails_floods_or_redirects_keeps_nobody_waiting() {
    let tree = tree();
    let good = Receiver::start();
    let hangs = Receiver::answering(|_, _| Answer::Hang);
    let closes = Receiver::answering(|_, _| Answer::Close);
    let fails = Receiver::answering(|_, _| Answer::Status(500));
    let floods = Receiver::answering(|_, _| Answer::Huge(1 << 30));
    // Something inside that nobody outside may reach.
    let inner = TcpListener::bind("127.0.0.1:0").unwrap();
    inner.set_nonblocking(true).unwrap();
    let to = format!("Location: http://{}/admin\r\n", inner.local_addr().unwrap());
    let redirects = Receiver::answering(move |_, _| Answer::With(307, to.clone()));
    let all = [&good, &hangs, &closes, &fails, &floods, &redirects];
    let ids = ["good", "hangs", "closes", "fails", "floods", "redirects"];
    let webhooks: Vec<_> = ids.iter().zip(all).map(|(id, receiver)| (*id, receiver.url(), PRIVATE)).collect();
    let server = config(&tree, &webhooks).start();
    for number in 0..10 {
        get(&server, "anna", &format!("/{number}.bin"));
    }
    good.wait_for("download.completed", 10);
    good.wait_for("download.started", 10);
    let event = server.ledger.events_of("download.completed").remove(0);
    let id = event["id"].as_str().unwrap();
    let note = |endpoint: &str| {
        until(&format!("an attempt of {endpoint} is noted"), || {
            let detail = server.ledger.event(id);
            let sends = detail["sends"].as_array()?;
            let send = sends.iter().find(|send| send["endpoint"] == endpoint)?.clone();
            let note = send["log"][0]["note"].as_str()?.to_owned();
            Some((send["state"].as_str()?.to_owned(), note))
        })
    };
    let (state, said) = note("fails");
    assert!(state == "waiting" && said.contains("500"), "{state}: {said}");
    let (state, said) = note("redirects");
    assert!(state == "waiting" && said.contains("307"), "{state}: {said}");
    // Who answers 200 has taken it, whatever follows.
    let (state, said) = note("floods");
    assert!(state == "delivered" && said.contains("200"), "{state}: {said}");
    let (state, said) = note("closes");
    assert!(state == "waiting" && !said.is_empty(), "{state}: {said}");
    let (state, said) = note("hangs");
    assert!(state == "waiting" && said.contains("no answer"), "{state}: {said}");
    assert!(inner.accept().is_err(), "somebody followed the redirect");
    assert!(floods.huge_taken() < 256 << 20, "{} bytes of answers were taken", floods.huge_taken());
    let ledger = server.close();
    assert_told(&good.told(), &ledger.events());
    ledger.assert_completed(10);
}

#[test]
fn private_targets_are_refused_unless_they_are_allowed() {
    let tree = tree();
    let receiver = Receiver::start();
    let url = receiver.url();
    // Other names are looked at when they are looked up.
    for url in [url.clone(), url.replace("127.0.0.1", "localhost"), "http://[::1]/hook".to_owned()] {
        let setup = Setup::of(tree.root()).arg("--webhook").arg(url).arg("--webhook-secret").arg(SECRET);
        let (code, said) = setup.fail();
        assert!(code == Some(2) && said.contains("private network"), "{code:?}: {said}");
    }
    assert!(receiver.told().is_empty());
}

#[test]
fn who_says_gone_is_not_called_any_more_and_the_others_learn_of_it() {
    let tree = tree();
    let good = Receiver::start();
    let gone = Receiver::answering(|_, _| Answer::Status(410));
    let server = config(&tree, &[("good", good.url(), PRIVATE), ("gone", gone.url(), PRIVATE)]).start();
    get(&server, "anna", "/0.bin");
    let disabled = good.wait_for("endpoint.disabled", 1).remove(0);
    assert_eq!(disabled.body["data"]["endpoint"]["id"], "gone", "{:#}", disabled.body);
    get(&server, "anna", "/1.bin");
    good.wait_for("download.completed", 2);
    let calls = gone.told().len();
    assert!(calls <= 2, "called {calls} times");
    let ledger = server.close();
    for (endpoint, code, part) in [
        ("nosuch", 1, "outflow: no endpoint nosuch: no event was ever for it"),
        ("good", 0, "good will receive"),
        ("gone", 0, "gone will receive"),
    ] {
        let output = ChildProgram::start(&mut ledger.outflow(&["endpoint", "enable", endpoint])).finish();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(code) && said.starts_with(part), "{endpoint}: {said}");
    }
    assert_told(&good.told(), &ledger.events());
    assert_eq!(gone.told().len(), calls);
}

#[test]
fn everybody_is_told_what_they_want_to_know() {
    let tree = tree();
    tree.file("photos/1.jpg", noise(1, 1000));
    let receivers: Vec<Receiver> = (0..3).map(|_| Receiver::start()).collect();
    let lines = [
        "allow-private = true\nevents = ['download.completed']",
        "allow-private = true\npath = '/photos/'",
        "allow-private = true\nevents = ['link.exhausted', 'download.aborted']",
    ];
    let webhooks: Vec<_> = ["completed", "photos", "nothing"]
        .into_iter()
        .zip(&receivers)
        .zip(lines)
        .map(|((id, receiver), lines)| (id, receiver.url(), lines))
        .collect();
    let server = config(&tree, &webhooks).start();
    get(&server, "anna", "/0.bin");
    get(&server, "anna", "/photos/1.jpg");
    receivers[0].wait_for("download.completed", 2);
    receivers[1].wait_for("download.completed", 1);
    receivers[1].wait_for("download.started", 1);
    let ledger = server.close();
    assert_eq!(receivers[0].told().len(), 2);
    assert_eq!(receivers[1].told().len(), 2);
    assert!(receivers[1].told().iter().all(|told| told.body["data"]["download"]["path"] == "/photos/1.jpg"));
    assert!(receivers[2].told().is_empty());
    assert_eq!(ledger.events().len(), 4);
}

#[test]
fn what_was_told_can_be_told_again_with_the_same_id() {
    let tree = tree();
    let receiver = Receiver::start();
    let address = format!("sqlite:{}", tree.beside("ledger.sqlite").display());
    let start = || config(&tree, &[("app", receiver.url(), PRIVATE)]).ledger(&address).start();
    let server = start();
    get(&server, "anna", "/0.bin");
    let first = receiver.wait_for("download.completed", 1).remove(0);
    let ledger = server.close();
    let said = ledger.run(&["event", "replay", &first.id, "--endpoint", "app"]);
    assert!(said.contains('1'), "{said}");
    let unknown = ledger.outflow(&["event", "replay", "evt_nothing", "--endpoint", "app"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1), "{}", String::from_utf8_lossy(&unknown.stdout));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no event evt_nothing"));
    // By the next server at once; by one that runs already within a minute.
    let _next = start();
    let again = receiver.wait_for("download.completed", 2).remove(1);
    assert_eq!((&again.id, &again.body), (&first.id, &first.body));
}

#[test]
fn progress_is_told_if_asked_for() {
    let tree = tree();
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).arg("--progress-events").start();
    let mut client = server.client();
    for part in 0..10 {
        let range = format!("{}-{}", part * 10_000, part * 10_000 + 9_999);
        client.get_range("/0.bin", &range).expect(206);
        // Told when it is written down, which is when the delivery has ended.
        receiver.wait_for("download.started", 1);
    }
    drop(client);
    receiver.wait_for("download.completed", 1);
    let ledger = server.close();
    let counts = ledger.counts();
    let progress = counts.get("download.progress").copied().unwrap_or(0);
    assert!((1..10).contains(&progress), "{counts:?}");
    let steps: Vec<u64> = ledger
        .events_of("download.progress")
        .iter()
        .map(|event| event["data"]["download"]["acked"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted() && steps.iter().all(|acked| (10_000..100_000).contains(acked)), "{steps:?}");
}

#[test]
fn who_is_busy_is_asked_again_when_it_said() {
    let tree = tree();
    let receiver = Receiver::answering(|_, _| Answer::With(503, "Retry-After: 2\r\n".to_owned()));
    let server = receiver.of(Setup::of(tree.root())).start();
    get(&server, "anna", "/0.bin");
    let first = receiver.wait_for("download.completed", 1).remove(0);
    receiver.answer(|_, _| Answer::Status(204));
    let again = receiver.wait_taken(&first.id);
    assert!(again.at - first.at >= Duration::from_secs(2), "after {:?}", again.at - first.at);
    assert_eq!(again.body, first.body);
    let agent = again.headers["user-agent"].to_str().unwrap().to_lowercase();
    assert!(agent.starts_with("outflow/"), "{agent}");
}
