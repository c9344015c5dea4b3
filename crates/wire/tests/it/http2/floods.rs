//! Clients that send more than anybody needs: each connection has an end, and none takes memory.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use outflow_wire::ServerOptions;

use super::abuse::{attacked, attacked_with};
use crate::support::frames::{
    CANCEL, CONTINUATION, END, END_HEADERS, ENHANCE_YOUR_CALM, Framed, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use crate::support::{PATIENCE, alone, memory};

const SHORT: Duration = Duration::from_millis(200);

/// Sends `piece` again and again until the server has ended the connection, `most` bytes at the
/// most; what came back, if somebody reads it meanwhile. The server takes no more of it than it
/// can.
fn flood(client: &mut Framed, piece: &[u8], most: usize, reads: bool) -> usize {
    let piece = piece.repeat((64 * 1024 / piece.len()).max(1));
    let mut room = vec![0; 64 * 1024];
    client.client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    client.client.stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let mut sent = 0;
    while sent < most {
        match client.client.stream.write(&piece[sent % piece.len()..]) {
            Ok(n) => sent += n,
            // It has ended the connection, or it does not read any more, since nobody reads what it
            // answers.
            Err(_) => break,
        }
        if reads && client.client.stream.read(&mut room).is_ok_and(|n| n == 0) {
            break;
        }
    }
    client.client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    sent
}

#[test]
fn continuations_without_an_end_end_the_connection() {
    alone("http2::floods::continuations_without_an_end_end_the_connection", || {
        let mut attacked = attacked();
        let before = memory();
        for payload in [&[][..], &block(&[("a", "b")]), &block(&[("field", &"x".repeat(1000))])] {
            let mut client = attacked.client();
            client.send(HEADERS, END, 1, &get("/"));
            let most = 64 * 1024 * 1024;
            let sent = flood(&mut client, &frame(CONTINUATION, 0, 1, payload), most, true);
            assert!(sent < most, "all of it was taken");
            attacked.goes_on();
        }
        let grown = memory().saturating_sub(before);
        assert!(grown < 40 * 1024 * 1024, "{grown} bytes more");
    });
}

/// A client that reads no answers is no longer read; one that reads them costs no more than the
/// answers.
#[test]
fn floods_of_questions_take_no_memory() {
    alone("http2::floods::floods_of_questions_take_no_memory", || {
        let mut attacked = attacked();
        for (what, piece) in [
            ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
            ("empty settings", frame(SETTINGS, 0, 0, &[])),
            ("pings", frame(PING, 0, 0, b"question")),
            ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 255])),
            ("unknown frames", frame(0xbb, 0, 0, b"unknown")),
            ("room", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ] {
            for reads in [false, true] {
                let before = memory();
                let mut client = attacked.client();
                client.get(1, "/never");
                flood(&mut client, &piece, 16 * 1024 * 1024, reads);
                let grown = memory().saturating_sub(before);
                assert!(grown < 40 * 1024 * 1024, "{what}: {grown} bytes more");
                attacked.goes_on();
            }
        }
    });
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    alone("http2::floods::streams_that_are_opened_and_reset_at_once_end_the_connection", || {
        let mut attacked = attacked();
        for path in ["/never", "/large", "/"] {
            let before = memory();
            let mut client = attacked.client();
            client.client.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            // All in one go: reset before anybody has looked at them.
            let mut all = Vec::new();
            for n in 0..50_000 {
                all.extend(frame(HEADERS, END | END_HEADERS, 2 * n + 1, &get(path)));
                all.extend(frame(RST_STREAM, 0, 2 * n + 1, &CANCEL.to_be_bytes()));
            }
            // The connection may end while they are sent.
            let _ = client.client.stream.write_all(&all);
            assert_eq!(client.goaway(), Some(ENHANCE_YOUR_CALM), "{path}");
            let grown = memory().saturating_sub(before);
            assert!(grown < 40 * 1024 * 1024, "{grown} bytes more");
            attacked.goes_on();
        }
    });
}

#[test]
fn streams_that_are_reset_when_they_are_under_way_end_the_connection_in_the_end() {
    let mut attacked = attacked();
    let mut client = attacked.client();
    let mut stream = 1;
    let code = loop {
        assert!(stream < 4_000, "for ever");
        client.get(stream, "/large");
        // Its task has begun.
        match client.frame() {
            Ok(mut frame) => {
                while !(frame.kind == HEADERS && frame.stream == stream || frame.kind == GOAWAY) {
                    frame = match client.frame() {
                        Ok(frame) => frame,
                        Err(_) => break,
                    };
                }
                if frame.kind == GOAWAY {
                    break frame.code();
                }
            }
            Err(error) => panic!("{error} without a word"),
        }
        client.reset(stream, CANCEL);
        stream += 2;
    };
    assert_eq!(code, ENHANCE_YOUR_CALM);
    attacked.goes_on();
}

/// Somebody who now and then does not want what it asked for is not one of them.
#[test]
fn a_client_that_resets_some_of_its_streams_goes_on() {
    let mut attacked = attacked();
    let mut client = attacked.client();
    let mut stream = 1;
    for _ in 0..300 {
        client.get(stream, "/large");
        while client.next(&[HEADERS, GOAWAY]).stream != stream {}
        client.reset(stream, CANCEL);
        assert_eq!(client.get(stream + 2, "/").body(stream + 2), (b"fine".to_vec(), None));
        stream += 4;
    }
    attacked.goes_on();
}

/// Errors that are the client's, on stream after stream, cost resets of ours; not for ever.
#[test]
fn streams_that_are_opened_to_be_refused_end_the_connection() {
    alone("http2::floods::streams_that_are_opened_to_be_refused_end_the_connection", || {
        let mut attacked = attacked();
        let mut client = attacked.client();
        client.client.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let before = memory();
        let mut all = Vec::new();
        for n in 0..50_000 {
            all.extend(frame(HEADERS, END | END_HEADERS, 2 * n + 1, &block(&[(":method", "GET")])));
        }
        let _ = client.client.stream.write_all(&all);
        assert_eq!(client.goaway(), Some(ENHANCE_YOUR_CALM));
        let grown = memory().saturating_sub(before);
        assert!(grown < 40 * 1024 * 1024, "{grown} bytes more");
        attacked.goes_on();
    });
}

/// Every stream's answer is refused by its client as it comes, for ever: no one else has less of
/// the server for it.
#[test]
fn a_client_that_takes_nothing_holds_no_more_than_its_share() {
    alone("http2::floods::a_client_that_takes_nothing_holds_no_more_than_its_share", || {
        let options = ServerOptions { stall_timeout: SHORT, min_rate: u32::MAX, ..ServerOptions::default() };
        let mut attacked = attacked_with(options);
        let before = memory();
        let mut clients = Vec::new();
        for _ in 0..20 {
            // 128 streams, no windows: nothing but the heads can leave.
            let mut client = Framed::over(attacked.server.client(), &[(4, 0)]);
            for n in 0..128 {
                client.get(2 * n + 1, "/large");
            }
            clients.push(client);
        }
        attacked.goes_on();
        for client in &mut clients {
            for _ in 0..128 {
                let reset = client.next(&[RST_STREAM, GOAWAY]);
                assert_eq!((reset.kind, reset.code()), (RST_STREAM, CANCEL));
            }
        }
        let grown = memory().saturating_sub(before);
        assert!(grown < 64 * 1024 * 1024, "{grown} bytes more");
        attacked.goes_on();
    });
}
