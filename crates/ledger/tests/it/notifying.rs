//! Events reach endpoints: from a delivery to a receiver that verifies its requests.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName};
use outflow_ledger::{Endpoint, EndpointTarget, EventFilter, EventKind, LedgerOptions, SendState};

use crate::common::{Book, Place, both, content, opening, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Requests that a receiver got: path, headers, body.
type Taken = Arc<Mutex<Vec<(String, HeaderMap, Vec<u8>)>>>;

/// A receiver that answers 410 at `/gone`. It ends with the test's process.
fn receiver() -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Taken::default();
    std::thread::spawn({
        let taken = Arc::clone(&taken);
        move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || while take(stream.as_ref().unwrap(), &taken).is_some() {});
            }
        }
    });
    (address, taken)
}

fn take(mut stream: &TcpStream, taken: &Taken) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let mut body = vec![0; headers["content-length"].to_str().unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let status = if path == "/gone" { "410 Gone" } else { "204 No Content" };
    taken.lock().unwrap().push((path, headers, body));
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).ok()
}

fn webhook(id: &str, receiver: SocketAddr) -> Endpoint {
    let url = format!("http://{receiver}/{id}");
    let target = EndpointTarget::Webhook { url, secrets: vec![SECRET.into()], allow_private: true };
    Endpoint { id: id.into(), filter: EventFilter::default(), target }
}

fn telling(endpoints: Vec<Endpoint>) -> LedgerOptions {
    outflow_ledger::validate_endpoints(&endpoints).unwrap();
    LedgerOptions { endpoints, server: true, ..LedgerOptions::default() }
}

/// Ids of the events that were received at `/path` and passed the independent verifier.
fn verified(taken: &Taken, path: &str) -> Vec<String> {
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    let taken = taken.lock().unwrap();
    let mine = taken.iter().filter(|(other, _, _)| other == path);
    let mut ids: Vec<String> = mine
        .map(|(_, headers, body)| {
            verifier.verify(body, headers).unwrap();
            headers["webhook-id"].to_str().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    ids
}

fn states(book: &Book) -> HashMap<(EventKind, String), SendState> {
    let mut states = HashMap::new();
    for event in book.events() {
        let detail = book.wait(book.ledger.event(&event.id)).unwrap().unwrap();
        states.extend(detail.sends.into_iter().map(|send| ((event.kind, send.endpoint), send.state)));
    }
    states
}

fn sorted_ids(book: &Book) -> Vec<String> {
    let mut ids: Vec<String> = book.events().into_iter().map(|event| event.id).collect();
    ids.sort();
    ids
}

#[test]
fn a_receipt_is_told_once_by_webhook_and_by_program_and_an_endpoint_that_is_gone_is_an_event() {
    both(|place| {
        let (address, taken) = receiver();
        let lines = place.folder.path().join("lines");
        let program = place.folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\nread -r line\necho \"$line\" >>'{}'\n", lines.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut gone = webhook("gone", address);
        gone.filter.kinds = vec![EventKind::Completed];
        let command = Endpoint {
            id: "program".into(),
            filter: EventFilter::default(),
            target: EndpointTarget::Command { program },
        };
        let book = place.open(telling(vec![webhook("good", address), gone, command]));
        book.deliver(&opening(&content(1, 1000), "anna"), 0..1000);

        let told = [EventKind::Started, EventKind::Completed, EventKind::EndpointDisabled];
        let all = || {
            let states = states(&book);
            told.iter().all(|kind| {
                ["good", "program"]
                    .iter()
                    .all(|id| states.get(&(*kind, (*id).to_owned())) == Some(&SendState::Delivered))
            })
        };
        until("all events are told", all);
        let mut kinds = book.kinds();
        kinds.sort();
        assert_eq!(kinds, told);
        assert_eq!(verified(&taken, "/good"), sorted_ids(&book));
        let mut ids: Vec<String> = fs::read_to_string(&lines)
            .unwrap()
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
            })
            .collect();
        ids.sort();
        assert_eq!(ids, sorted_ids(&book));
        assert_eq!(verified(&taken, "/gone").len(), 1);
        assert_eq!(states(&book)[&(EventKind::Completed, "gone".to_owned())], SendState::Waiting);
        assert!(!book.wait(book.ledger.enable_endpoint("nosuch")).unwrap());
        // It was never disabled.
        assert!(book.wait(book.ledger.enable_endpoint("good")).unwrap());
        assert!(book.wait(book.ledger.enable_endpoint("gone")).unwrap());
        until("it is asked again", || verified(&taken, "/gone").len() == 2);
        book.close();
    });
}

#[test]
fn what_was_not_told_before_a_restart_is_told_after_it_under_its_id() {
    both(|place| {
        let (address, taken) = receiver();
        let endpoints = vec![webhook("good", address)];
        let silent = LedgerOptions { server: false, ..telling(endpoints.clone()) };
        let book = place.open(silent);
        for number in 0..5 {
            book.deliver(&opening(&content(number, 1000), "anna"), 0..1000);
        }
        book.settle(0);
        let ids = sorted_ids(&book);
        assert_eq!(ids.len(), 10);
        book.close();
        assert!(taken.lock().unwrap().is_empty());

        let book = place.open(telling(endpoints));
        until("all events are told", || states(&book).values().all(|state| *state == SendState::Delivered));
        assert_eq!(verified(&taken, "/good"), ids);
        book.close();
    });
}

#[test]
fn two_nodes_on_one_database_tell_each_event_once() {
    outflow_testkit::needs!("postgres");
    let place = Place::postgres();
    let (address, taken) = receiver();
    let nodes = [(); 2].map(|()| place.open(telling(vec![webhook("good", address)])));
    for number in 0..40 {
        nodes[usize::from(number) % 2].deliver(&opening(&content(number, 1000), "anna"), 0..1000);
    }
    until("all events are told", || {
        let events = nodes[0].events().len();
        events == 80 && taken.lock().unwrap().len() >= 80
    });
    until("all is noted", || states(&nodes[0]).values().all(|state| *state == SendState::Delivered));
    assert_eq!(verified(&taken, "/good"), sorted_ids(&nodes[0]));
    nodes.into_iter().for_each(Book::close);
}
