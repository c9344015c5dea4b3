//! Any HTTP origin. Over plain HTTP its objects can be fetched on plain sockets.

use std::sync::Arc;

use object_store::http::HttpBuilder;
use object_store::path::Path;
use url::Url;

use crate::client::address::{self, StoreAddress};
use crate::client::kind::{Backend, ConnectionUse, StoreKind};
use crate::client::options::{connector, misconfigured, options, pair};
use crate::error::StoreErrorKind;
use crate::fetch::{PlainAddresses, PlainUrl, has_proxy};

pub(crate) static HTTPS: StoreKind = StoreKind {
    scheme: "https",
    example: "https://host/path",
    parse: address::url,
    open,
    keeps_media_types: true,
};

pub(crate) static HTTP: StoreKind = StoreKind { scheme: "http", example: "http://host/path", ..HTTPS };

fn open(address: &StoreAddress, usage: ConnectionUse) -> Result<Backend, StoreErrorKind> {
    let url = Url::parse(&address.place)
        .map_err(|error| StoreErrorKind::Misconfigured(format!("it is no URL: {error}")))?;
    let plain = url.scheme() == "http";
    let options = options(plain, usage).with_no_system_certificates(plain);
    let connector = connector(options.clone())?;
    let builder = HttpBuilder::new().with_url(url.as_str()).with_client_options(options);
    let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
    let backend = pair(|retry| Ok(Arc::new(build(retry).build()?)));
    let backend = backend.map_err(|error| misconfigured("the HTTP origin", "the address", &error))?;
    Ok(Backend { plain: (plain && !has_proxy()).then(|| plain_addresses(url)), ..backend })
}

/// An object's address is the origin's with its path at the end.
fn plain_addresses(origin: Url) -> PlainAddresses {
    PlainAddresses::Open(Arc::new(move |path: &Path| {
        let mut url = origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path.parts());
        }
        PlainUrl::of(&url, false)
    }))
}
