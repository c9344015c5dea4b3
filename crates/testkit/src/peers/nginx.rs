//! nginx as an HTTP origin and as a proxy.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::http::HttpClient;
use crate::process::{Daemon, program, with_ports};

/// nginx, which serves a folder.
pub struct Nginx {
    daemon: Daemon,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Nginx {
    /// Serves the files in [`Nginx::root`], and accepts PUT and DELETE.
    #[track_caller]
    #[must_use]
    pub fn start() -> Nginx {
        Nginx::start_with("")
    }

    /// The same with further lines in the `server` block.
    #[track_caller]
    #[must_use]
    pub fn start_with(lines: &str) -> Nginx {
        let (daemon, [addr]) = with_ports(|[addr]| {
            let own = TempDir::new().unwrap();
            fs::create_dir(own.path().join("www")).unwrap();
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("{what}_temp_path tmp;\n"))
                .concat();
            // It has to answer with its folder's name: another process may have taken the port.
            let name = own.path().file_name().and_then(OsStr::to_str).unwrap();
            let config = format!(
                "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}\
                 access_log access.log;\nsendfile on;\nclient_max_body_size 0;\nserver {{\nlisten {addr};\nroot www;\n\
                 dav_methods PUT DELETE;\ncreate_full_put_path on;\n\
                 location = /.name {{ return 200 {name}; }}\n{lines}\n}}\n}}\n"
            );
            fs::write(own.path().join("nginx.conf"), config).unwrap();
            let mut command = program("nginx");
            command.arg("-p").arg(own.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            let name = name.to_owned();
            let mut daemon = Daemon::start(&command, own);
            daemon.ready(|_| {
                TcpStream::connect(addr).ok()?;
                let reply = HttpClient::connect(addr).get("/.name");
                (reply.status == 200 && reply.text() == name).then_some(())
            })?;
            Ok(daemon)
        });
        Nginx { daemon, addr }
    }

    /// The folder that it serves.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.daemon.own.path().join("www")
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// The access log so far, a line for each request.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.daemon.own.path().join("access.log")).unwrap_or_default();
        log.lines().filter(|line| !line.contains("/.name")).map(str::to_owned).collect()
    }
}
