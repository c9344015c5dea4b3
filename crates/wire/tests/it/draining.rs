//! Ending in good order, ending at once, and how many may come in.

use outflow_wire::ServerOptions;
use parking_lot::Mutex;

use crate::support::{HttpClient, PATIENCE, serve, serve_with, text};

#[test]
fn draining_closes_idle_connections_of_every_thread() {
    let server = serve_with(ServerOptions::default(), 4, |_| async { Ok(text("hello")) });
    let mut clients: Vec<HttpClient> = (0..12).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", "/", "").reply().text(), "hello");
    }
    server.handle.drain(PATIENCE);
    for client in &mut clients {
        client.expect_closed();
    }
    server.join();
}

#[test]
fn a_request_that_is_being_answered_while_the_server_drains_is_told_to_close() {
    let (asked, heard) = std::sync::mpsc::channel();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let server = serve(move |_| {
        let wait = wait.lock().take();
        let _ = asked.send(());
        async move {
            let Some(wait) = wait else { return Ok(text("at once")) };
            wait.await.map_err(|error| error.to_string())?;
            Ok(text("late"))
        }
    });
    let mut client = server.client();
    client.request("GET", "/", "").request("GET", "/second", "");
    heard.recv_timeout(PATIENCE).expect("a request");
    let mut idle = server.client();
    assert_eq!(idle.request("GET", "/", "").reply().text(), "at once");
    server.handle.drain(PATIENCE);
    idle.expect_closed();
    go.send(()).expect("the service waits");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.find("connection")), ("late", Some("close")));
    client.expect_closed();
    server.join();
}

#[test]
fn one_more_than_may_come_in_waits_until_another_leaves() {
    let options = ServerOptions { max_connections: 2, ..ServerOptions::default() };
    let server = serve_with(options, 2, |request| {
        let path = request.uri().path().to_owned();
        async move { Ok(text(path)) }
    });
    let mut first = server.client();
    let mut second = server.client();
    assert_eq!(first.request("GET", "/1", "").reply().text(), "/1");
    assert_eq!(second.request("GET", "/2", "").reply().text(), "/2");
    let mut third = server.client();
    third.request("GET", "/3", "");
    for _ in 0..20 {
        assert_eq!(first.request("GET", "/1", "").reply().text(), "/1");
        assert_eq!(second.request("GET", "/2", "").reply().text(), "/2");
    }
    assert_eq!(server.counters.connections.get(), 2);
    drop(first);
    assert_eq!(third.reply().text(), "/3");
    assert_eq!(second.request("GET", "/2", "").reply().text(), "/2");
    assert_eq!(server.counters.connections.get(), 3);
}
