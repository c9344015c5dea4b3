//! A link that is slower than both ends: most of what has been sent waits on the way.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use outflow_content::{AbortReason, BodyMap, Ending, Observer, SpanError};
use outflow_testkit::needs;
use outflow_wire::ServerOptions;
use rustix::net::sockopt;

use crate::support::{TestFile, noise, serve_content_with, temp};

/// Set where the loopback is slow.
const SLOW: &str = "OUTFLOW_TEST_SLOW_LINK";

/// Says how much had been read when something was told.
struct Witness {
    read: Arc<AtomicU64>,
    told: Sender<Told>,
}

/// Bytes that were told of, and bytes that had been read.
#[derive(Debug)]
enum Told {
    Sent(u64, u64),
    Acked(u64, u64),
    Completed(u64, u64),
    Broken,
}

impl Witness {
    fn tell(&self, of: impl Fn(u64) -> Told) {
        // The test may have ended.
        let _ = self.told.send(of(self.read.load(Ordering::SeqCst)));
    }
}

impl Observer for Witness {
    fn started(&mut self, _: &BodyMap) {}
    fn sent(&mut self, _: u64, sum: u64) {
        self.tell(|read| Told::Sent(sum, read));
    }
    fn acked(&mut self, sum: u64) {
        self.tell(|read| Told::Acked(sum, read));
    }
    fn completed(&mut self, ending: &Ending) {
        self.tell(|read| Told::Completed(ending.sent, read));
    }
    fn aborted(&mut self, _: &Ending, _: &AbortReason) {
        self.tell(|_| Told::Broken);
    }
    fn failed(&mut self, _: &Ending, _: &SpanError) {
        self.tell(|_| Told::Broken);
    }
    fn cleanup(&mut self) {}
}

/// The loopback of a network namespace of its own is made slow, which ends with the process that it
/// is for: this test once more.
#[test]
fn over_a_slow_link_the_completion_comes_not_before_the_last_buffer_is_read() {
    if std::env::var_os(SLOW).is_none() {
        needs!("unshare", "ip", "tc");
        return run_on_a_slow_loopback(
            "slow_link::over_a_slow_link_the_completion_comes_not_before_the_last_buffer_is_read",
        );
    }
    let total = 3_000_000;
    let (_folder, path) = temp("file", &noise(93, total));
    let file = TestFile::open(&path);
    let (read, (sender, told)) = (Arc::new(AtomicU64::new(0)), channel());
    let seen = Arc::clone(&read);
    // Nothing but the last acknowledgement is waited for.
    let options = ServerOptions { confirm_timeout: Duration::from_millis(1), ..ServerOptions::default() };
    let server = serve_content_with(options, move |_| {
        file.content().observer(Witness { read: Arc::clone(&seen), told: sender.clone() })
    });
    // Of a known size: the kernel would let it grow.
    let mut client = server.narrow_client(128 * 1024);
    client.request("GET", "/", "").take_until(b"\r\n\r\n").expect("a head");
    let mut room = vec![0; 1 << 16];
    while read.load(Ordering::SeqCst) < total as u64 {
        let n = client.take_some(&mut room);
        assert_ne!(n, 0, "an early end");
        read.fetch_add(n as u64, Ordering::SeqCst);
    }
    let buffer = sockopt::socket_recv_buffer_size(&client.stream).expect("known") as u64;
    let total = total as u64;
    let (mut ahead, mut acks) = (0, 0);
    for told in &told {
        match told {
            Told::Sent(sent, read) => ahead = ahead.max(sent.saturating_sub(read)),
            Told::Acked(acked, read) => {
                acks += 1;
                assert!(acked <= read + buffer, "{acked} acknowledged, {read} read, a buffer of {buffer}");
            }
            Told::Completed(all, read) => {
                assert_eq!(all, total);
                assert!(read + buffer >= total, "complete when {} bytes were missing", total - read);
                break;
            }
            Told::Broken => panic!("broken off"),
        }
    }
    // So it was worth the trouble: "sent" says little here, and there was time to be told of what
    // arrived.
    assert!(ahead > 50_000, "{ahead} bytes under way at the most");
    assert!(acks > 2, "told of arrivals {acks} times");
    client.finish().expect_closed();
}

/// Runs one test in a namespace of its own, whose loopback carries a megabyte a second.
fn run_on_a_slow_loopback(test: &str) {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let slow = "PATH=$PATH:/usr/sbin:/sbin && ip link set lo up mtu 1500 \
                && tc qdisc add dev lo root tbf rate 8mbit burst 16kb limit 200kb && exec \"$@\"";
    command.args(["--net", "sh", "-c", slow, "sh"]).arg(std::env::current_exe().expect("this program"));
    let output = command.args([test, "--exact"]).env(SLOW, "1").output().expect("unshare, of util-linux");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
}
