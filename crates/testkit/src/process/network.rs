//! A slow network between a client and a server.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{output, program, record_skip};

/// A network namespace behind a pair of virtual interfaces; removed when this is dropped.
pub struct Network {
    /// The namespace's name.
    pub name: String,
    /// This end's address.
    pub here: Ipv4Addr,
    /// The other end's.
    pub there: Ipv4Addr,
}

impl Network {
    /// The other end sends at `rate` (in `tc`'s notation), from a queue of `limit` bytes. `None` if
    /// the test lacks the privileges for this.
    #[track_caller]
    pub fn with_rate(rate: &str, limit: u32) -> Option<Network> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        if !rustix::process::geteuid().is_root() {
            record_skip("root");
            return None;
        }
        // From the range for network benchmarks, 198.18.0.0/15, which nothing else uses.
        let pid = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::SeqCst) % 32;
        let ip = |host: u8| {
            Ipv4Addr::new(
                198,
                18 + (pid & 1) as u8,
                (pid >> 1) as u8,
                (number << 2 | host) | ((pid >> 9 & 1) as u8) << 7,
            )
        };
        let name = format!("outflow-{pid}-{number}");
        let network = Network { here: ip(1), there: ip(2), name };
        if !ip_command(&["netns", "add", &network.name]).output().unwrap().status.success() {
            record_skip("network namespaces");
            return None;
        }
        let (near, name) = (format!("of{pid}-{number}"), &network.name);
        let cable = ["link", "add", &near, "type", "veth", "peer", "name", "far", "netns", name];
        if !ip_command(&cable).output().unwrap().status.success() {
            record_skip("virtual network interfaces");
            return None;
        }
        let address = |ip: Ipv4Addr| format!("{ip}/30");
        output(&mut ip_command(&["address", "add", &address(network.here), "dev", &near]));
        output(&mut ip_command(&["link", "set", &near, "up"]));
        output(&mut ip_command(&["-n", name, "address", "add", &address(network.there), "dev", "far"]));
        output(&mut ip_command(&["-n", name, "link", "set", "lo", "up"]));
        output(&mut ip_command(&["-n", name, "link", "set", "far", "up"]));
        let mut tc = program("tc");
        tc.args(["-n", name, "qdisc", "add", "dev", "far", "root", "tbf", "rate", rate, "burst", "16kb"]);
        output(tc.args(["limit", &limit.to_string()]));
        Some(network)
    }
}

fn ip_command(args: &[&str]) -> std::process::Command {
    let mut ip = program("ip");
    ip.args(args);
    ip
}

impl Drop for Network {
    fn drop(&mut self) {
        // The interfaces go with it.
        let _ = ip_command(&["netns", "delete", &self.name]).output();
    }
}
