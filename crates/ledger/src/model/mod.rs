//! The nouns of the ledger. They know nothing of how it works.
//!
//! ```text
//! content     what is downloaded: a file or an archive
//! delivery    one response: to whom, by which link, how it ended
//! download    one recipient obtaining one content
//! link        how links are used
//! event       what happened
//! endpoint    who is notified of which events
//! progress    downloads under way
//! query       questions and answers
//! options     how a ledger is kept
//! status      whether it works
//! error       why it does not
//! ranges      sets of byte ranges
//! ```

mod content;
mod delivery;
mod download;
mod endpoint;
mod error;
mod event;
mod link;
mod options;
mod progress;
mod query;
pub(crate) mod ranges;
mod status;

pub use content::{ContentInfo, ContentKey, Part, Parts};
pub use delivery::{Assurance, Closing, Opening, Outcome, Recipient, Transport};
pub use download::{Download, FileState, State};
pub use endpoint::{Endpoint, Filter, Target};
pub use error::{Error, Full};
pub use event::{Event, Kind};
pub(crate) use link::LINK_AGE;
pub use link::{LinkState, LinkUse};
pub use options::Options;
pub use progress::{Progress, Report};
pub(crate) use query::limit;
pub use query::{
    DownloadQuery, EventDetail, EventQuery, EventSend, Replay, ReplayEvents, SendAttempt, SendState,
};
pub use status::{Status, Trouble};
