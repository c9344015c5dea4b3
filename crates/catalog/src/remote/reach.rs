//! The way from what fetches segments back to the store that they are of.

use std::sync::{Arc, Weak};

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::Object;
use crate::remote::engine::{Access, Boxed};
use crate::remote::plain::PlainUrl;
use crate::remote::retry::Failure;
use crate::remote::store::{Inner, Store, StoreError, StoreErrorKind};

/// How the engine reaches the objects of a store, as long as that is there.
pub(crate) struct Reach(Weak<Inner>, Handle);

impl Reach {
    pub(crate) fn new(store: &Arc<Inner>, runtime: Handle) -> Reach {
        Reach(Arc::downgrade(store), runtime)
    }

    fn store(&self) -> Result<Store, Failure> {
        self.0.upgrade().map(Store).ok_or_else(|| Failure::Lasting("the store was closed".to_owned()))
    }
}

impl Access for Reach {
    fn plain_url(&self, object: &Arc<Object>) -> Boxed<Result<Option<PlainUrl>, Failure>> {
        let (store, object) = (self.store(), Arc::clone(object));
        Box::pin(async move { store?.plain_url(&object).await.map_err(|error| failure_of(&error)) })
    }

    fn is_plain(&self) -> bool {
        self.store().is_ok_and(|store| store.is_plain())
    }

    fn client(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        Ok(self.store()?.reader())
    }

    fn path(&self, object: &Object) -> Result<Path, Failure> {
        self.store()?.path(&object.key).map_err(|error| failure_of(&error))
    }

    fn runtime(&self) -> Handle {
        self.1.clone()
    }
}

fn failure_of(error: &StoreError) -> Failure {
    match &error.kind {
        StoreErrorKind::Unavailable(why) => Failure::passing(why.as_str()),
        StoreErrorKind::Denied(why) => Failure::Denied(why.clone()),
        kind => Failure::Lasting(kind.to_string()),
    }
}
