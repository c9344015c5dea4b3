//! S3 servers that are not ours: moto and Garage.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::http::HttpClient;
use crate::process::{Daemon, program, with_ports};

/// The bucket that every S3 server of the tests has.
pub const BUCKET: &str = "outflow";

/// Where an S3 server is, and the key for it.
pub struct S3Access {
    /// Its URL.
    pub endpoint: String,
    /// The access key's id.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// Its region.
    pub region: String,
}

impl S3Access {
    /// The environment for S3 clients.
    #[must_use]
    pub fn env(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", &self.region),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }
}

/// moto, an S3 server in Python, which accepts any key and checks no signature.
pub struct Moto {
    _daemon: Daemon,
    /// How to reach it.
    pub access: S3Access,
}

impl Moto {
    /// Starts one with an empty [`BUCKET`].
    #[track_caller]
    #[must_use]
    pub fn start() -> Moto {
        let mut command = program("python3");
        command.args(["-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        let mut daemon = Daemon::start(&command, TempDir::new().unwrap());
        let addr = daemon.ready(|log| {
            let (_, rest) = log.split_once("Running on http://")?;
            rest.lines().next()?.trim().parse::<SocketAddr>().ok()
        });
        let addr = addr.unwrap_or_else(|error| panic!("moto (scripts/test packages installs it): {error}"));
        let created = HttpClient::connect(addr).fetch("PUT", &format!("/{BUCKET}"), "Content-Length: 0\r\n");
        assert_eq!(created.status, 200, "{created:?}");
        let access = S3Access {
            endpoint: format!("http://{addr}"),
            key: "moto".to_owned(),
            secret: "moto-secret".to_owned(),
            region: "us-east-1".to_owned(),
        };
        Moto { _daemon: daemon, access }
    }
}

/// Garage, an S3 server for production, as a cluster of one node.
pub struct Garage {
    _daemon: Daemon,
    /// How to reach it.
    pub access: S3Access,
}

impl Garage {
    /// Starts one with an empty [`BUCKET`].
    #[track_caller]
    #[must_use]
    pub fn start() -> Garage {
        let (key, secret) = (format!("GK{:024x}", 1), format!("{:064x}", 0xabcd));
        let (daemon, [api, _]) = with_ports(|[api, rpc]| {
            let own = TempDir::new().unwrap();
            let config = own.path().join("garage.toml");
            let (meta, data) = (own.path().join("meta"), own.path().join("data"));
            let text = format!(
                "metadata_dir = {meta:?}\ndata_dir = {data:?}\ndb_engine = \"sqlite\"\n\
                 replication_factor = 1\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
                 rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{api}\"\n"
            );
            fs::write(&config, text).unwrap();
            let mut command = Command::new("garage");
            command.arg("-c").arg(config).args(["server", "--single-node"]);
            command.args(["--default-access-key", "--default-bucket"]);
            command.env("GARAGE_DEFAULT_ACCESS_KEY", &key).env("GARAGE_DEFAULT_SECRET_KEY", &secret);
            command.env("GARAGE_DEFAULT_BUCKET", BUCKET);
            let mut daemon = Daemon::start(&command, own);
            let said = format!("S3 API server listening on http://{api}");
            // It logs this before it listens.
            daemon.ready(|log| (log.contains(&said) && TcpStream::connect(api).is_ok()).then_some(()))?;
            Ok(daemon)
        });
        let access = S3Access { endpoint: format!("http://{api}"), key, secret, region: "garage".to_owned() };
        Garage { _daemon: daemon, access }
    }
}
