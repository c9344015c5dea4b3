//! Google Cloud Storage.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use crate::client::address::{self, StoreAddress};
use crate::client::kind::{Backend, ConnectionUse, StoreKind};
use crate::client::options::{connector, is_plain, misconfigured, options, pair};
use crate::error::StoreErrorKind;

pub(crate) static GCS: StoreKind = StoreKind {
    scheme: "gs",
    example: "gs://bucket/prefix",
    parse: |address| address::bucket(address, "bucket"),
    open,
    keeps_media_types: true,
};

fn open(address: &StoreAddress, usage: ConnectionUse) -> Result<Backend, StoreErrorKind> {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&address.place);
    let base = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let connector = connector(options(is_plain(base.as_deref()), usage))?;
    let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
    let backend = pair(|retry| Ok(Arc::new(build(retry).build()?)));
    backend.map_err(|error| misconfigured("Google Cloud Storage", "GOOGLE_…", &error))
}
