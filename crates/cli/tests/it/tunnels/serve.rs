//! `outflow tunnel serve`, with clients that know nothing of it: curl, OpenSSH, browsers, and
//! proxies in between.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use outflow_testkit::needs;
use tempfile::TempDir;

use super::tunnel::Tunnel;
use crate::support::legs::{LegProtocol, TOKEN, TestLeg, TestTarget};
use crate::support::{
    Authority, Browser, ChildProgram, FileTree, Nginx, Server, Sshd, assert_same, binary, noise, output,
    program, python,
};

fn curl() -> Command {
    let mut curl = program("curl");
    curl.args(["--disable", "-sS", "--noproxy", ""]);
    curl
}

#[test]
fn curl_takes_it_for_a_proxy() {
    needs!("curl");
    let tree = FileTree::new();
    let bytes = noise(7, 5_000_000);
    tree.file("film", &bytes);
    let origin = Server::of(tree.root());
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", origin.addr.port())]);
    let got = tree.root().join("got");
    let through = |user: &str| {
        let mut curl = curl();
        curl.args(["--proxytunnel", "--proxy", &format!("http://{}", tunnel.addr), "--proxy-user", user]);
        curl.arg("-o").arg(&got);
        curl
    };
    let anna = format!("anna:{TOKEN}");
    output(through(&anna).arg(origin.url("/film")));
    assert_same(&fs::read(&got).unwrap(), &bytes, "film");
    let line = tunnel.log_line(&["tunnel ended", "\"user\":\"user anna\"", "\"carrier\":\"connect\""]);
    assert!(line.contains("\"end\":\"complete\""), "{line}");
    for (user, target, status) in [
        ("anna:guessed", origin.url("/film"), "407"),
        (&*anna, format!("http://{}/", tunnel.addr), "403"),
        (&*anna, "http://169.254.169.254/latest/meta-data/".to_owned(), "403"),
    ] {
        let refused = ChildProgram::start(through(user).arg(&target)).finish();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(status), "{target}: {said}");
        let line = tunnel.log_line(&["tunnel refused", &format!("\"status\":{status}")]);
        assert!(!line.contains(TOKEN), "{line}");
    }
}

#[test]
fn curl_takes_it_for_a_proxy_that_speaks_tls() {
    needs!("curl");
    let tree = FileTree::new();
    let bytes = noise(8, 3_000_000);
    tree.file("film", &bytes);
    let origin = Server::of(tree.root());
    let authority = Authority::new();
    let (certificate, key) = authority.files("a", &["127.0.0.1", "localhost"]);
    let allow = format!("127.0.0.1:{}", origin.addr.port());
    let tunnel = Tunnel::start(&[
        "--allow",
        &allow,
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    let got = tree.root().join("got");
    let mut curl = curl();
    curl.args(["--proxytunnel", "--proxy", &format!("https://localhost:{}", tunnel.addr.port())]);
    curl.args(["--proxy-user", &format!("anna:{TOKEN}"), "--proxy-cacert"]).arg(authority.root());
    output(curl.arg("-o").arg(&got).arg(origin.url("/film")));
    assert_same(&fs::read(&got).unwrap(), &bytes, "film");
}

#[test]
fn ssh_goes_through_it_with_the_helpers_that_there_are() {
    needs!("scp", "ssh", "sshd");
    let sshd = Sshd::start();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", sshd.addr.port())]);
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("auth");
    fs::write(&secret, format!("anna:{TOKEN}\n")).unwrap();
    let bytes = noise(9, 20_000_000);
    fs::write(folder.path().join("there"), &bytes).unwrap();
    let (ip, port) = (tunnel.addr.ip(), tunnel.addr.port());
    for (helper, way) in [
        ("corkscrew", format!("corkscrew {ip} {port} %h %p {}", secret.display())),
        ("proxytunnel", format!("proxytunnel -q -p {ip}:{port} -P anna:{TOKEN} -d %h:%p")),
    ] {
        let got = folder.path().join(helper);
        let mut scp = sshd.client("scp", &way);
        scp.arg(folder.path().join("there")).arg(sshd.there(&got));
        output(&mut scp);
        assert_same(&fs::read(&got).unwrap(), &bytes, helper);
        let mut ssh = sshd.client("ssh", &way);
        ssh.args(["127.0.0.1", "cat; echo that was all"]);
        let (running, mut input) = ChildProgram::start_with_input(&mut ssh);
        input.write_all(b"asked\n").unwrap();
        // Its end reaches the program there, whose answer reaches us.
        drop(input);
        let said = running.finish();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "asked\nthat was all\n", "{said:?}");
    }
}

/// A page that speaks to a VNC server's greeting by WebSocket, and says by what it fetches how that
/// went.
const PAGE: &str = "<!doctype html><script>
const socket = new WebSocket('WHERE', ['binary'])
socket.binaryType = 'arraybuffer'
const sent = new Uint8Array(300000)
for (let at = 0; at < sent.length; at += 65536) crypto.getRandomValues(sent.subarray(at, at + 65536))
let got = [], greeted = false
socket.onmessage = message => {
    got.push(...new Uint8Array(message.data))
    if (!greeted && got.length >= 12) {
        greeted = String.fromCharCode(...got.splice(0, 12)) === 'RFB 003.008\\n'
        socket.send(sent)
    }
    if (greeted && got.length === sent.length) {
        fetch(got.every((byte, at) => byte === sent[at]) ? 'equal.txt' : 'different.txt')
        socket.close(1000)
    }
}
socket.onclose = event => fetch(event.wasClean && event.code === 1000 ? 'clean.txt' : 'broken.txt')
</script>";

#[test]
fn a_browser_reaches_one_target_by_an_address_for_it() {
    needs!("chromium", "curl");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let vnc = std::thread::spawn(move || {
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"RFB 003.008\n").unwrap();
        let mut echo = far.try_clone().unwrap();
        std::io::copy(&mut far, &mut echo).unwrap();
        echo.shutdown(Shutdown::Write).unwrap();
    });
    let tree = FileTree::new();
    let key = tree.file("key", noise(1, 48).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let tunnel = Tunnel::start(&[
        "--allow",
        &format!("127.0.0.1:{}", target.port()),
        "--link-key",
        key.to_str().unwrap(),
    ]);
    let mut link = binary();
    link.args(["tunnel", "link", &format!("ws://{}", tunnel.addr), "127.0.0.1", &target.port().to_string()]);
    let url = output(link.arg("--link-key").arg(&key));
    tree.file("page.html", PAGE.replace("WHERE", url.trim()));
    for name in ["equal.txt", "different.txt", "clean.txt", "broken.txt"] {
        tree.file(name, name);
    }
    let pages = Server::of(tree.root());
    let _browser = Browser::open(pages.url("/page.html"));
    pages.delivery("/equal.txt", "completed");
    pages.delivery("/clean.txt", "completed");
    vnc.join().unwrap();
    tunnel.log_line(&["tunnel ended", "\"carrier\":\"websocket\"", "\"end\":\"complete\""]);
    // The address was good for that one.
    let mut again = curl();
    again.args([
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: connect-tcp",
    ]);
    again.args(["-H", "Capsule-Protocol: ?1"]).arg(url.trim().replace("ws://", "http://"));
    assert_eq!(output(&mut again), "403");
}

/// Sends all of `bytes`, ends the direction, and reads the other one to its end.
fn speak(mut stream: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard
    })
}

#[test]
fn behind_nginx_each_direction_still_ends_by_itself() {
    needs!("nginx");
    let tunnel = Tunnel::start(&["--allow", "127.0.0.1:*"]);
    let nginx = Nginx::start_with(&format!(
        "location /.well-known/masque/ {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_read_timeout 1h; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        tunnel.addr
    ));
    for protocol in [LegProtocol::Capsules, LegProtocol::WebSocket] {
        for (asked, answered) in [(6_000_000, 7), (7, 6_000_000), (4_000_000, 4_000_000)] {
            let (request, response) = (noise(1, asked), noise(2, answered));
            // The client ends first, and is answered then.
            let target = TestTarget::new();
            let mut leg = TestLeg::open(nginx.addr, protocol, target.addr);
            let mut far = target.accept();
            let (mut sender, sent) = (leg.try_clone(), request.clone());
            let client = std::thread::spawn(move || {
                sender.send(&sent).unwrap();
                sender.end();
            });
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).unwrap();
            assert_same(&heard, &request, "what the target got");
            let speaking = speak(far, response.clone());
            assert_same(&leg.read_to_end().unwrap(), &response, "what the client got");
            client.join().unwrap();
            assert_eq!(speaking.join().unwrap(), b"");
            // The target ends first, and hears the rest.
            let target = TestTarget::new();
            let mut leg = TestLeg::open(nginx.addr, protocol, target.addr);
            let far = speak(target.accept(), response.clone());
            assert_same(&leg.read_to_end().unwrap(), &response, "what the client got");
            leg.send(&request).unwrap();
            leg.end();
            assert_same(&far.join().unwrap(), &request, "what the target got");
        }
    }
}

#[test]
fn a_server_of_files_has_tunnels_beside_them_if_its_configuration_says_so() {
    let target = TestTarget::new();
    let tree = FileTree::new();
    tree.file("files/a.txt", "a file");
    tree.file("config/users.toml", format!("[[user]]\nname = \"anna\"\ntoken = \"{TOKEN}\"\n"));
    let tunnel =
        format!("[tunnel]\nallow = [\"127.0.0.1:{}\"]\nusers = \"users.toml\"\n", target.addr.port());
    let config = tree.file("config/outflow.toml", format!("path = \"../files\"\n{tunnel}"));
    let mut command = binary();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--ledger",
        "none",
        "--log-format",
        "json",
        "--config",
    ]);
    command.arg(config);
    let server = Server::spawn(command, TempDir::new().unwrap());
    assert_eq!(server.get("/a.txt").expect(200).text(), "a file");
    let mut leg = TestLeg::open(server.addr, LegProtocol::Capsules, target.addr);
    leg.send(b"hello").unwrap();
    leg.end();
    let mut heard = String::new();
    target.accept().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    // Without that there are none.
    let plain = Server::of(tree.root().join("files"));
    let request = LegProtocol::Capsules.request(target.addr, &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(TestLeg::ask(plain.addr, LegProtocol::Capsules, &request).err().unwrap().0.status, 404);
}

fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = binary();
    let ended =
        ChildProgram::start(command.args(["tunnel", "serve", "--listen", "127.0.0.1:0"]).args(arguments))
            .finish();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn what_would_let_nobody_or_everybody_in_by_mistake_is_said_at_the_start() {
    let tree = FileTree::new();
    let short = tree.file("short.toml", "[[user]]\nname = \"anna\"\ntoken = \"secret\"\n");
    let broken =
        tree.file("broken.toml", "[[user]]\nname = \"anna\"\ntoken = \"0123456789abcdef\"\nmay = 1\n");
    let empty = tree.file("empty.toml", "");
    let users = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    for (arguments, code, said) in [
        (vec!["--allow", "127.0.0.1:22"], 2, "no client could use this tunnel"),
        (vec!["--open"], 2, "--allow HOST:PORT"),
        (vec!["--open", "--allow", "127.0.0.1"], 2, "the port is missing"),
        (vec!["--open", "--allow", "127.0.0.1:22", "--connect-timeout", "soon"], 2, "a number with a unit"),
        (vec!["--allow", "127.0.0.1:22", "--users", "/no/such/file"], 1, "/no/such/file"),
        (vec!["--allow", "127.0.0.1:22", "--users", &users(&short)], 1, "too short"),
        (vec!["--allow", "127.0.0.1:22", "--users", &users(&broken)], 1, "may"),
        (vec!["--allow", "127.0.0.1:22", "--users", &users(&empty)], 1, "it has no user"),
        (vec!["--allow", "127.0.0.1:22", "--link-key", &users(&empty)], 1, "openssl rand"),
        (
            vec!["--allow", "127.0.0.1:22", "--link-key", &users(&short), "--origin", "https://a.test"],
            2,
            "--open",
        ),
    ] {
        let (ended, stderr) = fails(&arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("0123456789abcdef") && !stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn ten_thousand_half_open_attempts_keep_nobody_out() {
    needs!("python3");
    let target = TestTarget::new();
    let tunnel = Tunnel::start(&["--allow", &format!("127.0.0.1:{}", target.addr.port())]);
    let before = tunnel.memory();
    let mut many = python("half_open.py");
    many.args([tunnel.addr.ip().to_string(), tunnel.addr.port().to_string(), "10000".to_owned()]);
    let mut many = many.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(many.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "open\n");
    let mut leg = TestLeg::open(tunnel.addr, LegProtocol::Capsules, target.addr);
    leg.send(b"hello").unwrap();
    leg.end();
    let mut heard = String::new();
    target.accept().read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    // A client that has begun a head has one buffer of 48 KiB, touched as far as there is something
    // in it, and a task.
    let each = (tunnel.memory() - before) / 10_000;
    assert!(each < 56 * 1024, "{each} bytes for each");
    drop(many.stdin.take());
    many.wait().unwrap();
}

#[test]
fn nothing_else_is_there() {
    let tunnel = Tunnel::start(&["--allow", "127.0.0.1:22"]);
    let reply = tunnel.get("/").expect(404);
    assert!(reply.text().contains("nothing at this address"), "{reply:?}");
    let address: SocketAddr = tunnel.addr;
    let request = LegProtocol::Capsules.request(address, "");
    assert_eq!(TestLeg::ask(address, LegProtocol::Capsules, &request).err().unwrap().0.status, 401);
}
