//! What a server allows.

use std::time::Duration;

use super::access::{Allow, Keys, Users};
use super::dial::{self, Lookup};
use super::quota::Most;
use crate::carry;

/// What a server allows.
pub struct Settings {
    /// What may be reached, by everybody who has no list of their own.
    pub allow: Allow,
    /// At which addresses of the server clients may have something listen, likewise.
    pub listen: Allow,
    /// Who may use it.
    pub users: Users,
    /// Whether those without a token may, too.
    pub open: bool,
    /// Web pages that may, where everybody may: as browsers name them, such as `https://example.org`. Any page in a browser
    /// near the server could otherwise reach what the server can.
    pub origins: Vec<String>,
    /// By which addresses for one target are signed.
    pub keys: Option<Keys>,
    /// How many tunnels.
    pub most: Most,
    /// How long a target, its name included, may take to answer. 10 seconds.
    pub connect_timeout: Duration,
    /// When a tunnel is given up.
    pub limits: carry::Limits,
    /// For how long a tunnel whose client was lost waits for it to come back; `None`: not at all. 60 seconds.
    pub resume: Option<Duration>,
    /// By whom names are resolved.
    pub lookup: Lookup,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            allow: Allow::default(),
            listen: Allow::default(),
            users: Users::default(),
            open: false,
            origins: Vec::new(),
            keys: None,
            most: Most::default(),
            connect_timeout: Duration::from_secs(10),
            limits: carry::Limits::default(),
            resume: Some(Duration::from_secs(60)),
            lookup: dial::system(),
        }
    }
}
