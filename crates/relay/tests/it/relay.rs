//! Relays: which target gets which client, PROXY headers, limits, and what happens when a target
//! fails.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outflow_relay::flow::{FlowCounters, FlowTimeouts};
use outflow_relay::{
    BalancePolicy, ProxyVersion, Relay, RelayAddress, RelayHandle, RelayListener, RelayOptions,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{is_reset, read, write};

const MIB: usize = 1024 * 1024;

struct Running {
    address: SocketAddr,
    handle: RelayHandle,
    counters: Arc<FlowCounters>,
    running: JoinHandle<std::io::Result<()>>,
}

fn run(targets: &[RelayAddress], options: RelayOptions) -> Running {
    run_on("127.0.0.1:0", targets, options)
}

fn run_on(address: &str, targets: &[RelayAddress], options: RelayOptions) -> Running {
    let listener = std::net::TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let relay = Relay::new(targets.to_vec(), options).unwrap();
    let (handle, counters) = (relay.handle(), relay.counters());
    Running { address, handle, counters, running: tokio::spawn(relay.run([RelayListener::from(listener)])) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn target() -> (TcpListener, RelayAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = address_of(&listener);
    (listener, address)
}

fn address_of(listener: &TcpListener) -> RelayAddress {
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

fn unix(path: &Path) -> RelayAddress {
    format!("unix:{}", path.display()).parse().unwrap()
}

/// An address that refuses connections, and that no other program can take.
fn refusing() -> (std::net::TcpListener, RelayAddress) {
    // Bound and not listening. std cannot make such a socket, so this one is shut down again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    (listener, address.to_string().parse().unwrap())
}

/// A target that sends its letter to each client and then ends.
fn speaking(listener: TcpListener, letter: u8) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = client.write_all(&[letter]).await;
                let _ = client.shutdown().await;
                let _ = client.read(&mut [0]).await;
            });
        }
    })
}

/// The letter that a new client receives.
async fn letter(relay: &Running) -> char {
    let mut client = relay.connect().await;
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), 1);
    received[0].into()
}

async fn letters(relay: &Running, count: usize) -> String {
    let mut all = String::new();
    for _ in 0..count {
        all.push(letter(relay).await);
    }
    all
}

#[tokio::test]
async fn bytes_come_over_both_ways_by_the_kernel() {
    let (listener, address) = target().await;
    let relay = run(&[address], RelayOptions::default());
    let far = tokio::spawn(async move {
        let (reading, mut writing) = listener.accept().await.unwrap().0.into_split();
        tokio::join!(read(reading, 1, 30 * MIB, 500_000), async {
            write(&mut writing, 2, 20 * MIB, 500_000).await;
            writing.shutdown().await.unwrap();
        });
    });
    let (reading, mut writing) = relay.connect().await.into_split();
    tokio::join!(read(reading, 2, 20 * MIB, 500_000), async {
        write(&mut writing, 1, 30 * MIB, 500_000).await;
        writing.shutdown().await.unwrap();
    });
    far.await.unwrap();
    let bytes = relay.counters.bytes();
    assert_eq!(bytes.total(), 50 * MIB as u64);
    assert!(bytes.spliced > bytes.copied * 4, "{bytes:?}");
}

#[tokio::test]
async fn unix_sockets_are_listened_on_and_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    let listener = UnixListener::bind(&far).unwrap();
    let relay = Relay::new(vec![unix(&far)], RelayOptions::default()).unwrap();
    let handle = relay.handle();
    let running = tokio::spawn(relay.run([RelayListener::unix(&near).unwrap()]));
    let mut client = UnixStream::connect(&near).await.unwrap();
    let (mut target, _) = listener.accept().await.unwrap();
    client.write_all(b"hello").await.unwrap();
    target.read_exact(&mut [0; 5]).await.unwrap();
    drop(client);
    assert_eq!(target.read(&mut [0]).await.unwrap(), 0);
    drop(target);
    handle.drain(Duration::from_secs(60));
    running.await.unwrap().unwrap();
    assert!(!near.exists());
}

#[tokio::test]
async fn clients_go_to_targets_in_turn_or_to_those_with_the_fewest() {
    let ((one, a), (other, b)) = (target().await, target().await);
    let _targets = (speaking(one, b'a'), speaking(other, b'b'));
    let relay = run(&[a, b], RelayOptions::default());
    assert_eq!(letters(&relay, 5).await, "ababa");

    let ((one, a), (other, b)) = (target().await, target().await);
    let relay =
        run(&[a, b], RelayOptions { policy: BalancePolicy::LeastConnections, ..RelayOptions::default() });
    let mut held = Vec::new();
    for listener in [&one, &other, &one, &other] {
        let client = relay.connect().await;
        held.push((client, listener.accept().await.unwrap().0));
    }
}

#[tokio::test]
async fn whoever_refuses_is_passed_over() {
    let (_held, gone) = refusing();
    let (listener, there) = target().await;
    let _target = speaking(listener, b'b');
    let relay = run(&[gone, "unix:/no/such/socket".parse().unwrap(), there], RelayOptions::default());
    assert_eq!(letters(&relay, 6).await, "bbbbbb");
}

/// The kernel does not answer a client for which a listening socket has no room in its queue.
#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_is_passed_over_in_time() {
    let hanging =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let hanging = hanging.unwrap();
    rustix::net::bind(&hanging, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&hanging, 0).unwrap();
    let hanging = std::net::TcpListener::from(hanging);
    let address = hanging.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(client) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queue.push(client.unwrap());
    }
    let (listener, there) = target().await;
    let _target = speaking(listener, b'b');
    let relay = run(&[address.to_string().parse().unwrap(), there], RelayOptions::default());
    let begin = Instant::now();
    assert_eq!(letter(&relay).await, 'b');
    assert!((5..=6).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    // The second client does not wait.
    assert_eq!(letter(&relay).await, 'b');
    assert!(begin.elapsed().as_secs() <= 6);
}

#[tokio::test]
async fn a_client_for_whom_there_is_nobody_is_reset() {
    let (_held, gone) = refusing();
    let relay = run(&[gone], RelayOptions::default());
    is_reset(relay.connect().await.read(&mut [0]).await);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_is_found_by_time_or_by_a_check() {
    for health_interval in [None, Some(Duration::from_millis(500))] {
        let (first, a) = target().await;
        let (other, b) = target().await;
        let here = first.local_addr().unwrap();
        let (first, _other) = (speaking(first, b'a'), speaking(other, b'b'));
        let relay = run(&[a, b], RelayOptions { health_interval, ..RelayOptions::default() });
        assert_eq!(letters(&relay, 4).await, "abab");
        first.abort();
        let _ = first.await;
        if health_interval.is_some() {
            // Paused time: long enough for a check to find out, so that no client has to.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(letters(&relay, 4).await, "bbbb");
        let again = speaking(TcpListener::bind(here).await.unwrap(), b'A');
        // Longer than the first rest and than a check takes, shorter than the rest after a failed
        // check.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let received = letters(&relay, 4).await;
        assert!(["AbAb", "bAbA"].contains(&&*received), "{received} {health_interval:?}");
        again.abort();
        relay.handle.stop();
        relay.running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn targets_are_told_who_the_client_is() {
    for (listen, family) in [("127.0.0.1:0", "TCP4"), ("[::1]:0", "TCP6")] {
        let (listener, address) = target().await;
        let options = RelayOptions { proxy_protocol: Some(ProxyVersion::V1), ..RelayOptions::default() };
        let relay = run_on(listen, &[address], options);
        let mut client = relay.connect().await;
        let (mut target, _) = listener.accept().await.unwrap();
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let want = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
        // Before the client sends a byte.
        let mut got = vec![0; want.len()];
        target.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), want);
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        target.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"hello");
    }
    let (listener, address) = target().await;
    let relay =
        run(&[address], RelayOptions { proxy_protocol: Some(ProxyVersion::V2), ..RelayOptions::default() });
    let client = relay.connect().await;
    let (mut target, _) = listener.accept().await.unwrap();
    let mut got = [0; 28];
    target.read_exact(&mut got).await.unwrap();
    let mut want = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    want.extend(client.local_addr().unwrap().port().to_be_bytes());
    want.extend(relay.address.port().to_be_bytes());
    assert_eq!(got[..], want);
}

#[tokio::test]
async fn no_more_clients_than_allowed_are_there_and_the_next_one_waits() {
    let (listener, address) = target().await;
    let relay = run(&[address], RelayOptions { max_connections: 2, ..RelayOptions::default() });
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let client = relay.connect().await;
        pairs.push((client, listener.accept().await.unwrap().0));
    }
    let mut third = relay.connect().await;
    third.write_all(b"third").await.unwrap();
    // Lets everything happen that can.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(listener.poll_accept(&mut cx).is_pending());
    pairs.pop();
    let (mut target, _) = listener.accept().await.unwrap();
    let mut got = [0; 5];
    target.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"third");
}

#[tokio::test]
async fn no_target_has_more_clients_than_allowed() {
    let ((one, a), (other, b)) = (target().await, target().await);
    let relay = run(&[a, b], RelayOptions { max_per_target: 1, ..RelayOptions::default() });
    let first = (relay.connect().await, one.accept().await.unwrap());
    let _second = (relay.connect().await, other.accept().await.unwrap());
    is_reset(relay.connect().await.read(&mut [0]).await);
    drop(first);
    // The target is free again once the relay has seen the end.
    loop {
        let client = relay.connect().await;
        tokio::select! {
            accepted = one.accept() => break drop(accepted.unwrap()),
            reset = async { let mut client = client; client.read(&mut [0]).await } => is_reset(reset),
        }
    }
}

#[tokio::test]
async fn draining_lets_clients_finish_and_takes_no_new_ones() {
    let (listener, address) = target().await;
    let relay = run(&[address], RelayOptions::default());
    let mut client = relay.connect().await;
    let (mut target, _) = listener.accept().await.unwrap();
    relay.handle.drain(Duration::from_secs(600));
    while TcpStream::connect(relay.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    target.write_all(b"the rest").await.unwrap();
    drop(target);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"the rest");
    assert!(!relay.running.is_finished());
    drop(client);
    relay.running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_in_time_is_reset() {
    let (listener, address) = target().await;
    let timeouts = FlowTimeouts { idle: None, half_closed: None };
    let relay = run(&[address], RelayOptions { timeouts, ..RelayOptions::default() });
    let mut client = relay.connect().await;
    let (mut target, _) = listener.accept().await.unwrap();
    client.write_all(b"half").await.unwrap();
    target.read_exact(&mut [0; 4]).await.unwrap();
    let begin = Instant::now();
    relay.handle.drain(Duration::from_secs(30));
    is_reset(client.read(&mut [0]).await);
    is_reset(target.read(&mut [0]).await);
    relay.running.await.unwrap().unwrap();
    assert!((30..=31).contains(&begin.elapsed().as_secs()));
}
