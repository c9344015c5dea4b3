//! Azure Blob Storage.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use crate::client::address::{self, StoreAddress};
use crate::client::kind::{Backend, ConnectionUse, StoreKind};
use crate::client::options::{connector, is_plain, misconfigured, options, pair};
use crate::error::StoreErrorKind;

pub(crate) static AZURE: StoreKind = StoreKind {
    scheme: "az",
    example: "az://container/prefix",
    parse: |address| address::bucket(address, "container"),
    open,
    keeps_media_types: true,
};

fn open(address: &StoreAddress, usage: ConnectionUse) -> Result<Backend, StoreErrorKind> {
    let builder = MicrosoftAzureBuilder::from_env().with_container_name(&address.place);
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let emulated = builder.get_config_value(&AzureConfigKey::UseEmulator);
    let plain = is_plain(endpoint.as_deref()) || emulated.as_deref() == Some("true");
    let options = options(plain, usage);
    let connector = connector(options.clone())?;
    let builder = builder.with_client_options(options);
    let build = |retry| builder.clone().with_retry(retry).with_http_connector(connector.clone());
    let backend = pair(|retry| Ok(Arc::new(build(retry).build()?)));
    backend.map_err(|error| misconfigured("Azure Blob Storage", "AZURE_…", &error))
}
