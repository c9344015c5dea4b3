//! What the tasks of a server share.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::db::context::NodeContext;
use crate::db::database::Database;
use crate::read::progress::ProgressHub;
use crate::write::queue::ChangeQueue;

/// The parts of the ledger that the tasks work with.
#[derive(Clone)]
pub(crate) struct UpkeepContext {
    pub(crate) database: Arc<Database>,
    pub(crate) context: Arc<NodeContext>,
    pub(crate) progress: Arc<ProgressHub>,
    pub(crate) queue: Arc<ChangeQueue>,
    /// Notified when there are events to send.
    pub(crate) new_sends: Arc<Notify>,
}
