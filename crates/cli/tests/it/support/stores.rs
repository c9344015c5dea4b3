//! Stores for one test: the double, and servers that are not ours, each a process with its own
//! folder.
//!
//! Moto and Garage are S3 servers, nginx is an HTTP origin. A port that the kernel chose is handed
//! to those that cannot choose one themselves; if somebody else was faster, they are started again
//! with another.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};
use outflow_testkit::s3::Double;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::daemon::{Daemon, with_ports};
use super::{Client, Setup, binary};

/// The bucket that every store here has.
pub(crate) const BUCKET: &str = Double::BUCKET;

/// An S3 store as `outflow` and other clients find it.
pub(crate) struct Access {
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) region: String,
}

impl Access {
    pub(crate) fn of(double: &Double) -> Access {
        Access {
            endpoint: double.endpoint(),
            key: Double::ACCESS_KEY.to_owned(),
            secret: Double::SECRET_KEY.to_owned(),
            region: Double::REGION.to_owned(),
        }
    }

    /// What `outflow` needs in its environment.
    pub(crate) fn env(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", &self.region),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }

    /// `outflow` with that environment, for commands that end.
    pub(crate) fn binary(&self) -> Command {
        let mut command = binary();
        command.envs(self.env());
        command
    }

    /// `outflow serve` of this bucket.
    pub(crate) fn serve(&self, prefix: &str) -> Setup {
        let address = format!("s3://{BUCKET}/{prefix}");
        self.env().into_iter().fold(Setup::of(address), |setup, (name, value)| setup.env(name, value))
    }

    /// The bucket by a client that is not ours.
    pub(crate) fn bucket(&self) -> Bucket {
        static TLS: Once = Once::new();
        // The client wants to know who encrypts, even where nobody does.
        TLS.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
        let client = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(BUCKET)
            .with_region(&self.region)
            .with_access_key_id(&self.key)
            .with_secret_access_key(&self.secret)
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Bucket { client, runtime }
    }
}

/// A bucket, to see what is in it and to put something there.
pub(crate) struct Bucket {
    client: AmazonS3,
    runtime: Runtime,
}

impl Bucket {
    /// Puts an object, and returns its ETag.
    pub(crate) fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) -> String {
        let (key, bytes) = (Key::parse(key).unwrap(), bytes.into());
        self.runtime.block_on(self.client.put(&key, bytes.into())).unwrap().e_tag.unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let key = Key::parse(key).unwrap();
        let read = async { self.client.get(&key).await?.bytes().await };
        self.runtime.block_on(read).unwrap_or_else(|error| panic!("{key}: {error}")).into()
    }

    /// All keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut objects = self.client.list(None);
        self.runtime.block_on(async {
            while let Some(object) = futures_util::StreamExt::next(&mut objects).await {
                keys.push(object.unwrap().location.to_string());
            }
        });
        keys.retain(|key| key.starts_with(prefix));
        keys.sort();
        keys
    }
}

/// An S3 server in Python. It takes any keys, and looks at no signature.
pub(crate) struct Moto {
    _daemon: Daemon,
    pub(crate) access: Access,
}

impl Moto {
    #[track_caller]
    pub(crate) fn start() -> Moto {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        let mut daemon = Daemon::start(&command, TempDir::new().unwrap());
        let addr = daemon.ready(|log| {
            let (_, rest) = log.split_once("Running on http://")?;
            rest.lines().next()?.trim().parse::<SocketAddr>().ok()
        });
        let addr = addr.unwrap_or_else(|error| panic!("moto (pip install 'moto[server]'): {error}"));
        let created = Client::connect(addr).fetch("PUT", &format!("/{BUCKET}"), "Content-Length: 0\r\n");
        created.expect(200);
        let access = Access {
            endpoint: format!("http://{addr}"),
            key: "moto".to_owned(),
            secret: "moto-secret".to_owned(),
            region: "us-east-1".to_owned(),
        };
        Moto { _daemon: daemon, access }
    }
}

/// An S3 server for production, as a cluster of one.
pub(crate) struct Garage {
    _daemon: Daemon,
    pub(crate) access: Access,
}

impl Garage {
    #[track_caller]
    pub(crate) fn start() -> Garage {
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
            // It says so before it does.
            daemon.ready(|log| (log.contains(&said) && TcpStream::connect(api).is_ok()).then_some(()))?;
            Ok(daemon)
        });
        let access = Access { endpoint: format!("http://{api}"), key, secret, region: "garage".to_owned() };
        Garage { _daemon: daemon, access }
    }
}

/// An HTTP origin: a folder by nginx.
pub(crate) struct Nginx {
    daemon: Daemon,
    pub(crate) addr: SocketAddr,
}

impl Nginx {
    /// Serves what is in [`Nginx::root`], and takes PUT and DELETE.
    #[track_caller]
    pub(crate) fn start() -> Nginx {
        Nginx::start_with("")
    }

    /// The same with further lines for the `server` block.
    #[track_caller]
    pub(crate) fn start_with(lines: &str) -> Nginx {
        let (daemon, [addr]) = with_ports(|[addr]| {
            let own = TempDir::new().unwrap();
            fs::create_dir(own.path().join("www")).unwrap();
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("{what}_temp_path tmp;\n"))
                .concat();
            // Whoever answers has to know this folder's name: another one may have been faster to
            // the port.
            let name = own.path().file_name().and_then(OsStr::to_str).unwrap();
            let config = format!(
                "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}\
                 access_log access.log;\nsendfile on;\nclient_max_body_size 0;\nserver {{\nlisten {addr};\nroot www;\n\
                 dav_methods PUT DELETE;\ncreate_full_put_path on;\n\
                 location = /.name {{ return 200 {name}; }}\n{lines}\n}}\n}}\n"
            );
            fs::write(own.path().join("nginx.conf"), config).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(own.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            let name = name.to_owned();
            let mut daemon = Daemon::start(&command, own);
            daemon.ready(|_| {
                TcpStream::connect(addr).ok()?;
                let reply = Client::connect(addr).get("/.name");
                (reply.status == 200 && reply.text() == name).then_some(())
            })?;
            Ok(daemon)
        });
        Nginx { daemon, addr }
    }

    /// The folder that is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.daemon.own.path().join("www")
    }

    /// The address of a path, for `outflow`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// The requests so far, a line each.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.daemon.own.path().join("access.log")).unwrap_or_default();
        log.lines().filter(|line| !line.contains("/.name")).map(str::to_owned).collect()
    }
}
