//! Networks as people write them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use outflow_texts::{ConsoleText, console};

/// A network or one address: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkArg(pub(crate) IpNet);

impl FromStr for NetworkArg {
    type Err = ConsoleText;

    fn from_str(text: &str) -> Result<NetworkArg, ConsoleText> {
        let text = text.trim();
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let net = text.parse::<IpNet>().or_else(|_| address());
        net.map(NetworkArg).map_err(|_| console!(network_wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_small_network() {
        for (text, net) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<NetworkArg>().unwrap().0.to_string(), net);
        }
        for wrong in ["", "localhost", "10.0.0.0/33", "10.0.0"] {
            assert!(wrong.parse::<NetworkArg>().is_err(), "{wrong}");
        }
    }
}
