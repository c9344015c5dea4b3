//! Channels as the programs of others hear them: curl, Chromium, and whatever speaks TLS or HTTP/2.

use std::io::Read as _;
use std::process::Stdio;

use super::delivery::{PUBLISH, setup};
use crate::support::{Authority, Browser, FileTree, Transport, python};
use outflow_testkit::needs;

/// What the header line of a token is for curl.
fn token() -> &'static str {
    PUBLISH.trim_end()
}

#[test]
fn curl_hears_events_by_every_way() {
    needs!("curl");
    let authority = Authority::new();
    for transport in Transport::ALL {
        let tree = FileTree::new();
        let server = transport.serve(setup(&tree), &authority);
        let mut client = transport.client(&server, &authority);
        let mut curl = transport.curl(&authority);
        curl.args(["--no-buffer", "--header", token()]).arg(transport.url(&server, "/channels/a"));
        let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
        let mut heard = child.stdout.take().unwrap();
        let mut count = |wanted: u64| {
            crate::support::until("so many subscribers", || {
                let told = client.fetch("GET", "/channels/a?count", PUBLISH).expect(200).json();
                (told["subscribers"] == wanted).then_some(())
            });
        };
        count(1);
        let mut post = |data: &str| {
            let mut curl = transport.curl(&authority);
            curl.args(["--header", token(), "--data-binary", data])
                .arg(transport.url(&server, "/channels/a"));
            let told: serde_json::Value = serde_json::from_str(&crate::support::output(&mut curl)).unwrap();
            format!("id: {}\ndata: {data}\n\n", told["id"].as_str().unwrap())
        };
        let expected: String = ["one", "two"].map(&mut post).concat();
        let mut all = String::new();
        while !all.ends_with(&expected) {
            let mut byte = [0];
            heard.read_exact(&mut byte).unwrap_or_else(|error| panic!("{transport:?}: {error} behind {all}"));
            // Heartbeats come when they are due.
            all = (all + str::from_utf8(&byte).unwrap()).replace("\n\n:\n\n", "\n\n");
        }
        // The end, in good order.
        let mut curl = transport.curl(&authority);
        curl.args(["--header", token(), "--request", "DELETE"]).arg(transport.url(&server, "/channels/a"));
        crate::support::output(&mut curl);
        heard.read_to_end(&mut Vec::new()).unwrap();
        assert!(child.wait().unwrap().success(), "{transport:?}");
        count(0);
    }
}

#[test]
fn websocket_within_tls_is_the_same() {
    needs!("python3");
    let (authority, tree) = (Authority::new(), FileTree::new());
    let server = Transport::Tls.serve(setup(&tree), &authority);
    let mut script = python("channels_websocket.py");
    script.arg("127.0.0.1").arg(server.addr.port().to_string()).arg(authority.root());
    crate::support::output(&mut script);
    server.log_line(&["subscriber closed", "1002"]);
}

#[test]
fn a_page_hears_events_and_frames_and_comes_back_where_it_was() {
    needs!("chromium", "curl");
    // Each event that is heard becomes a request, which the server's log shows.
    const PAGE: &str = r#"<!doctype html><script>
        const token = "?token=fedcba9876543210";
        const events = new EventSource("/channels/news.sse" + token);
        events.addEventListener("up", event => fetch("/heard?sse=" + event.data));
        events.addEventListener("over", () => fetch("/heard?over=" + events.readyState));
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/channels/news.ws" + token);
        socket.onmessage = message => fetch("/heard?ws=" + JSON.parse(message.data).data);
        socket.onclose = closed => fetch("/heard?closed=" + closed.code);
    </script>"#;
    let authority = Authority::new();
    // Within HTTP/2, a browser asks on the connection that it has: there is no other way back.
    for (transport, asked, status) in [(Transport::Plain, "GET", 101), (Transport::TlsHttp2, "CONNECT", 200)]
    {
        let tree = FileTree::new();
        tree.file("page.html", PAGE);
        tree.file("heard", "");
        let server = transport.serve(setup(&tree), &authority);
        let mut client = transport.client(&server, &authority);
        let _browser = Browser::open(transport.url(&server, "/page.html"));
        for name in ["sse", "ws"] {
            let path = format!("/channels/news.{name}");
            crate::support::until("the page subscribes", || {
                let told = client.fetch("GET", &format!("{path}?count"), PUBLISH).expect(200).json();
                (told["subscribers"] == 1).then_some(())
            });
            let mut post = transport.curl(&authority);
            post.args(["--header", token(), "--data-binary", "one"]);
            crate::support::output(post.arg(transport.url(&server, &format!("{path}?event=up"))));
            server.log_line(&[&format!("/heard?{name}=one")]);
            client.fetch("DELETE", &path, PUBLISH).expect(200);
        }
        server.log_line(&["/heard?closed=1000"]);
        let method = format!("\"method\":\"{asked}\"");
        server.log_line(&["\"path\":\"/channels/news.ws\"", &method, &format!("\"status\":{status}")]);
        // The end makes it come back, with the id of the last event; and the 204 makes it stay
        // away.
        server.log_line(&["\"path\":\"/channels/news.sse\"", "\"status\":204"]);
    }
}
