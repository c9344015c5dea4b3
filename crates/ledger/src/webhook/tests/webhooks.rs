//! The real sender and receivers of all kinds.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jiff::Timestamp;
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::runtime::Handle;

use super::log::logged;
use super::outbox::Memory;
use super::receiver::{Receiver, Reply, Request};
use super::{Watch, event, until};
use crate::model::{Endpoint, EndpointTarget, EventFilter};
use crate::webhook::http_post::{WebhookLimits, WebhookSender};
use crate::webhook::outbox::AttemptVerdict;
use crate::webhook::resolver::HostLookup;
use crate::webhook::schedule::time_between;
use crate::webhook::sender::{AttemptOutcome, AttemptResult, EventSender};
use crate::webhook::signature::webhook_public_key;
use crate::webhook::{start, start_with, validate_endpoints};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD7D6x1v0FNpk=";
const SIGNING: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

fn webhook_with(url: &str, secrets: &[&str], limits: WebhookLimits) -> WebhookSender {
    let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    WebhookSender::new(url, &secrets, true, limits).ok().unwrap()
}

fn webhook(url: &str) -> WebhookSender {
    webhook_with(url, &[OLD], WebhookLimits::default())
}

/// A sender with short timeouts.
fn impatient(url: &str) -> WebhookSender {
    webhook_with(
        url,
        &[OLD],
        WebhookLimits { attempt: Duration::from_millis(300), ..WebhookLimits::default() },
    )
}

async fn send(webhook: &WebhookSender) -> AttemptResult {
    webhook.send(&event("evt_1"), Timestamp::now()).await
}

async fn answer_to(reply: Reply) -> AttemptResult {
    let receiver = Receiver::start(move |_| reply.clone()).await;
    send(&impatient(&receiver.url("/"))).await
}

fn headers(request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    headers
}

#[tokio::test]
async fn a_request_is_what_standard_webhooks_asks_for_and_verifies_with_each_secret() {
    let receiver = Receiver::start(|_| Reply::Status(204, "")).await;
    let webhook =
        webhook_with(&receiver.url("/hook?token=1"), &[OLD, NEW, SIGNING], WebhookLimits::default());
    let result = send(&webhook).await;
    assert_eq!((result.outcome, result.note.as_str()), (AttemptOutcome::Delivered, "204 No Content"));

    let request = receiver.taken().remove(0);
    assert_eq!(request.line, "POST /hook?token=1 HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["user-agent"], concat!("Outflow/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.headers["webhook-id"], "evt_1");
    assert_eq!(
        String::from_utf8(request.body.clone()).unwrap(),
        r#"{"type":"download.completed","timestamp":"2026-11-23T08:00:00.123Z","data":{"name":"ü.zip","total":18446744073709551615}}"#
    );
    let headers = headers(&request);
    for secret in [OLD, NEW] {
        let verifier = standardwebhooks::Webhook::new(secret).unwrap();
        verifier.verify(&request.body, &headers).unwrap();
        let mut altered = request.body.clone();
        altered[20] ^= 1;
        assert!(verifier.verify(&altered, &headers).is_err());
    }
    let other = standardwebhooks::Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    assert!(other.verify(&request.body, &headers).is_err());

    let signature = request.headers["webhook-signature"].clone();
    let parts: Vec<&str> = signature.split(' ').collect();
    assert_eq!(parts.len(), 3);
    let public = STANDARD.decode(&webhook_public_key(SIGNING).unwrap()["whpk_".len()..]).unwrap();
    let mut content = format!("evt_1.{}.", request.headers["webhook-timestamp"]).into_bytes();
    content.extend_from_slice(&request.body);
    let signed = STANDARD.decode(parts[2].strip_prefix("v1a,").unwrap()).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(&content, &signed).unwrap();
}

#[tokio::test]
async fn statuses_mean_what_the_specification_says() {
    for (status, fields, answer) in [
        (200, "", AttemptOutcome::Delivered),
        (201, "", AttemptOutcome::Delivered),
        (299, "", AttemptOutcome::Delivered),
        (300, "", AttemptOutcome::Failed),
        (304, "", AttemptOutcome::Failed),
        (400, "", AttemptOutcome::Failed),
        (401, "", AttemptOutcome::Failed),
        (404, "", AttemptOutcome::Failed),
        (410, "", AttemptOutcome::Gone),
        (500, "Retry-After: 9\r\n", AttemptOutcome::Failed),
        (599, "", AttemptOutcome::Failed),
        (429, "", AttemptOutcome::Overloaded { wait: None, counts: false }),
        (429, "Retry-After: soon\r\n", AttemptOutcome::Overloaded { wait: None, counts: false }),
        (
            429,
            "Retry-After: 120\r\n",
            AttemptOutcome::Overloaded { wait: Some(Duration::from_secs(120)), counts: false },
        ),
        (502, "", AttemptOutcome::Overloaded { wait: None, counts: true }),
        (
            503,
            "Retry-After: 7\r\n",
            AttemptOutcome::Overloaded { wait: Some(Duration::from_secs(7)), counts: true },
        ),
        (504, "", AttemptOutcome::Overloaded { wait: None, counts: true }),
        (
            503,
            "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
            AttemptOutcome::Overloaded { wait: Some(Duration::from_secs(86_400)), counts: true },
        ),
    ] {
        let result = answer_to(Reply::Status(status, fields)).await;
        assert_eq!(result.outcome, answer, "{status} {fields}");
        assert!(result.note.starts_with(&status.to_string()), "{}", result.note);
    }
}

#[tokio::test]
async fn what_a_failing_receiver_says_is_noted_but_not_for_the_log() {
    let result =
        answer_to(Reply::Say("HTTP/1.1 500 X\r\nContent-Length: 14\r\n\r\nno\r\n /?token=1".to_owned()))
            .await;
    assert_eq!(result.note, "500 Internal Server Error: no /?token=1");
    assert_eq!(result.brief, "500 Internal Server Error");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let target = listener.local_addr().unwrap();
    for status in [301, 302, 303, 307, 308] {
        let reply = format!("HTTP/1.1 {status} X\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
        let result = answer_to(Reply::Say(reply)).await;
        assert_eq!(result.outcome, AttemptOutcome::Failed);
        assert!(result.note.contains("redirects are not followed"), "{}", result.note);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody followed");
}

#[tokio::test]
async fn receivers_that_hang_trickle_or_close_have_failed_in_time() {
    for (reply, says) in [
        (Reply::Hang, "no answer within 300ms"),
        (Reply::Trickle, "no answer within 300ms"),
        (Reply::Close, "connection"),
        (Reply::Say("SSH-2.0-OpenSSH_9.2\r\n".to_owned()), "invalid HTTP"),
        (Reply::Fields, ""),
    ] {
        let result = answer_to(reply).await;
        assert_eq!(result.outcome, AttemptOutcome::Failed, "{}", result.note);
        assert!(result.note.contains(says), "{}", result.note);
    }
    // No process listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let result = send(&webhook(&format!("http://127.0.0.1:{port}/?token=SECRET"))).await;
    assert!(result.note.contains("cannot connect") && result.note.contains("refused"), "{}", result.note);
    assert!(!result.note.contains("SECRET"), "{}", result.note);
}

#[tokio::test]
async fn answers_without_end_are_not_read() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n",
    ] {
        let receiver = Receiver::start(move |_| Reply::Flood(head)).await;
        let result = send(&webhook(&receiver.url("/"))).await;
        assert_eq!(result.outcome == AttemptOutcome::Delivered, head.contains("200"));
        assert!(result.note.len() < 500, "{}", result.note.len());
        let flooded = receiver.flooded.load(Ordering::SeqCst);
        assert!(flooded < 64 << 20, "{flooded} bytes were taken");
    }
    let receiver = Receiver::start(|_| Reply::Fields).await;
    assert_eq!(send(&webhook(&receiver.url("/"))).await.outcome, AttemptOutcome::Failed);
    let flooded = receiver.flooded.load(Ordering::SeqCst);
    assert!(flooded < 64 << 20, "{flooded} bytes were taken");
}

#[tokio::test]
async fn a_slow_body_takes_nothing_back() {
    let begun = Instant::now();
    let result = answer_to(Reply::TrickleBody("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")).await;
    assert_eq!(result.outcome, AttemptOutcome::Delivered);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver = Receiver::start(|_| Reply::Status(200, "")).await;
    let webhook = webhook(&receiver.url("/"));
    for _ in 0..20 {
        assert_eq!(send(&webhook).await.outcome, AttemptOutcome::Delivered);
    }
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn names_that_lead_into_private_networks_are_refused_when_they_are_resolved() {
    let receiver = Receiver::start(|_| Reply::Status(200, "")).await;
    let port = receiver.address.port();
    let url = format!("http://hooks.example.org:{port}/");
    let secrets = [OLD.to_owned()];
    for private in ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254"] {
        let private: IpAddr = private.parse().unwrap();
        let lookup: HostLookup = Arc::new(move |_| Box::pin(async move { Ok(vec![private]) }));
        let webhook =
            WebhookSender::new(&url, &secrets, false, WebhookLimits { lookup, ..WebhookLimits::default() })
                .ok()
                .unwrap();
        let result = send(&webhook).await;
        assert_eq!(result.outcome, AttemptOutcome::Failed);
        assert!(result.note.contains("private network"), "{}", result.note);
    }
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 0);

    let lookup: HostLookup = Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) }));
    let webhook =
        WebhookSender::new(&url, &secrets, true, WebhookLimits { lookup, ..WebhookLimits::default() })
            .ok()
            .unwrap();
    assert_eq!(send(&webhook).await.outcome, AttemptOutcome::Delivered);
    assert_eq!(receiver.taken()[0].headers["host"], format!("hooks.example.org:{port}"));
}

#[tokio::test]
async fn a_name_that_changes_between_attempts_is_looked_at_each_time() {
    let receiver = Receiver::start(|_| Reply::Status(200, "")).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let lookup: HostLookup = Arc::new({
        let calls = Arc::clone(&calls);
        move |_| {
            // 192.0.2.1 is reserved for documentation: fail instead of calling a real host.
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move {
                if first { Err(ErrorKind::NotFound.into()) } else { Ok(vec!["127.0.0.1".parse().unwrap()]) }
            })
        }
    });
    let url = format!("http://rebind.example.org:{}/", receiver.address.port());
    let webhook = WebhookSender::new(
        &url,
        &[OLD.to_owned()],
        false,
        WebhookLimits { lookup, ..WebhookLimits::default() },
    )
    .ok()
    .unwrap();
    assert!(send(&webhook).await.note.contains("cannot connect"));
    assert!(send(&webhook).await.note.contains("private network"));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tls_that_is_none_fails_with_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut hello).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        hello
    });
    let result = send(&webhook(&url)).await;
    assert_eq!(answering.join().unwrap()[..2], [22, 3], "that was no TLS");
    assert_eq!(result.outcome, AttemptOutcome::Failed);
    assert!(result.note.contains("cannot connect"), "{}", result.note);
}

#[tokio::test]
async fn an_event_keeps_its_id_over_attempts_and_is_signed_anew() {
    let receiver =
        Receiver::start(|n| if n < 2 { Reply::Status(500, "") } else { Reply::Status(200, "") }).await;
    let watch = Watch::new();
    // The verifier has a clock of its own, and accepts a difference of five minutes.
    let now = time_between(watch.now(), Timestamp::now()).as_secs();
    watch.set(i64::try_from(now).unwrap() - 170);
    let outbox = Arc::new(Memory::new(&watch));
    let (lines, _guard) = logged();
    let workers = start_with(
        Arc::clone(&outbox) as Arc<Memory>,
        vec![("a".to_owned(), Arc::new(webhook(&receiver.url("/SECRET?SECRET"))) as Arc<dyn EventSender>)],
        watch.clock(),
        &Arc::default(),
        &Handle::current(),
    );
    outbox.add("a", "evt_7");
    for (attempts, wait) in [(1, 6), (2, 331)] {
        until(async || outbox.log("a", "evt_7").len() == attempts).await;
        watch.set(wait);
        outbox.wake();
    }
    until(async || outbox.last("a", "evt_7") == Some(AttemptVerdict::Delivered)).await;
    workers.stop().await;

    let requests = receiver.taken();
    assert_eq!(requests.len(), 3);
    let times: Vec<i64> =
        requests.iter().map(|request| request.headers["webhook-timestamp"].parse().unwrap()).collect();
    assert!(times[1] - times[0] >= 6 && times[2] - times[1] >= 331, "{times:?}");
    for request in &requests {
        assert_eq!(request.headers["webhook-id"], "evt_7");
        assert_eq!(request.body, requests[0].body);
        standardwebhooks::Webhook::new(OLD).unwrap().verify(&request.body, &headers(request)).unwrap();
    }
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("SECRET") && line.contains("http://127.0.0.1")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_told_is_named_and_stops_no_other() {
    let receiver = Receiver::start(|_| Reply::Status(200, "")).await;
    let endpoint = |id: &str, url: String| Endpoint {
        id: id.to_owned(),
        filter: EventFilter::default(),
        target: EndpointTarget::Webhook { url, secrets: vec![OLD.to_owned()], allow_private: true },
    };
    let watch = Watch::new();
    let now = time_between(watch.now(), Timestamp::now()).as_secs();
    watch.set(i64::try_from(now).unwrap());
    let outbox = Arc::new(Memory::new(&watch));
    let (lines, _guard) = logged();
    outbox.add("bad", "one");
    outbox.add("good", "one");
    let endpoints =
        vec![endpoint("bad", "ftp://example.org/".to_owned()), endpoint("good", receiver.url("/"))];
    let workers = start(Arc::clone(&outbox) as Arc<Memory>, endpoints, &Arc::default(), &Handle::current());
    until(async || outbox.last("good", "one") == Some(AttemptVerdict::Delivered)).await;
    workers.stop().await;
    assert_eq!(outbox.waiting(), 1);
    assert!(lines.lock().unwrap()[0].contains("bad"), "{lines:?}");
}

#[test]
fn endpoints_are_checked_before_anything_starts() {
    let endpoint = |id: &str, url: &str, secrets: &[&str], allow_private| Endpoint {
        id: id.to_owned(),
        filter: EventFilter::default(),
        target: EndpointTarget::Webhook {
            url: url.to_owned(),
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            allow_private,
        },
    };
    let program = |program: &str| Endpoint {
        id: "p".to_owned(),
        filter: EventFilter::default(),
        target: EndpointTarget::Command { program: program.into() },
    };
    let good = endpoint("a", "https://example.org/", &[OLD, SIGNING], false);
    validate_endpoints(&[]).unwrap();
    validate_endpoints(&[good.clone(), endpoint("b", "http://127.0.0.1:1/", &[NEW], true), program("sh")])
        .unwrap();
    for (endpoints, says) in [
        (vec![good.clone(), good.clone()], "two endpoints"),
        (vec![endpoint("", "https://example.org/", &[OLD], false)], "no id"),
        (vec![endpoint("a", "example.org", &[OLD], false)], "endpoint \"a\": its address is not a URL"),
        (vec![endpoint("a", "ftp://example.org", &[OLD], false)], "ftp:"),
        (vec![endpoint("a", "https://u:p@example.org", &[OLD], false)], "password"),
        (vec![endpoint("a", "https://127.0.0.1", &[OLD], false)], "private"),
        (vec![endpoint("a", "https://example.org", &[], false)], "no secret"),
        (vec![endpoint("a", "https://example.org", &[OLD, "hunter2"], false)], "whsec_"),
        (vec![program("/nowhere/at/all")], "cannot find"),
        (vec![program("no-such-program-here")], "PATH"),
        (vec![program("/")], "not a file"),
        (vec![program("/etc/passwd")], "chmod +x"),
        (vec![program("")], "is empty"),
    ] {
        let error = validate_endpoints(&endpoints).unwrap_err();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("hunter2") && !error.contains(OLD), "{error}");
    }
}
