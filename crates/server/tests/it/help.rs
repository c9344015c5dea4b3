//! A served folder, and requests to it.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use outflow_catalog::{Root, RootOptions};
use outflow_server::{DownloadOptions, DownloadService, ResponseBody};
use outflow_wire::PeerAddr;
use rawzip::{CompressionMethod, ZipArchive};
use tempfile::TempDir;
use tower_service::Service as _;

/// A folder in a folder of its own, so that there is something outside it.
pub(crate) struct Site {
    temp: TempDir,
    pub(crate) service: DownloadService,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) async fn of(response: Response<ResponseBody>) -> Reply {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The names and texts that another reader finds in the body, a ZIP. Their CRC-32s are right.
    #[track_caller]
    pub(crate) fn archive(&self) -> Vec<(String, String)> {
        let archive = ZipArchive::from_slice(&self.body).unwrap();
        let read = archive.entries().map(|record| {
            let record = record.unwrap();
            let file = archive.get_entry(record.wayfinder()).unwrap();
            let data = match record.compression_method() {
                CompressionMethod::Store => file.data().to_vec(),
                // While CRC-32s are unknown: stored blocks of deflate.
                CompressionMethod::Deflate => {
                    let mut data = Vec::new();
                    flate2::read::DeflateDecoder::new(file.data()).read_to_end(&mut data).unwrap();
                    data
                }
                method => panic!("method {method:?}"),
            };
            assert_eq!(record.crc32(), crc32fast::hash(&data));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(record.file_path().as_ref()), text(&data))
        });
        read.collect()
    }
}

/// Nothing is computed behind the test's back, and no plan is used again unasked.
pub(crate) fn settings() -> DownloadOptions {
    DownloadOptions {
        crc_background: false,
        plan_fresh: std::time::Duration::ZERO,
        ..DownloadOptions::default()
    }
}

impl Site {
    pub(crate) fn new(files: &[(&str, &str)]) -> Site {
        Site::with(files, RootOptions::default(), &settings())
    }

    pub(crate) fn with(files: &[(&str, &str)], options: RootOptions, settings: &DownloadOptions) -> Site {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("served")).unwrap();
        let served = temp.path().join("served");
        for (name, text) in files {
            let path = served.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let service = DownloadService::folder(Root::new(&served, options).unwrap(), settings);
        Site { temp, service }
    }

    /// The same folder served anew, as after a restart.
    pub(crate) fn restart(&mut self, settings: &DownloadOptions) {
        self.service =
            DownloadService::folder(Root::new(&self.at(""), RootOptions::default()).unwrap(), settings);
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join("served").join(name)
    }

    pub(crate) fn at_raw(&self, name: &[u8]) -> PathBuf {
        self.at("").join(Path::new(std::ffi::OsStr::from_bytes(name)))
    }

    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        Reply::of(self.service.clone().call(request).await.unwrap()).await
    }

    pub(crate) async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(request(method, target, headers, Bytes::new())).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[]).await
    }

    pub(crate) async fn post(&self, target: &str, form: impl Into<Bytes>) -> Reply {
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        self.send(request("POST", target, &form_type, form.into())).await
    }
}

pub(crate) fn request(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = PeerAddr(SocketAddr::from(([10, 0, 0, 1], 5000)));
    request.extension(client).body(Full::new(body)).unwrap()
}
