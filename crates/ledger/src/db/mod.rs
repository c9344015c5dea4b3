//! The database, which is SQLite or PostgreSQL.
//!
//! ```text
//! address       where it is, how it is opened
//! store         one connection that writes, some that read
//!   sql           the two dialects behind one interface
//!   rows          rows that a statement takes
//!   trouble       what errors mean, and what to do
//!   presence      which processes are alive (PostgreSQL)
//! context       this process and its options, for transactions
//! download_row  downloads as rows
//! event         events as rows
//! id            ids that sort by time
//! ```

pub(crate) mod address;
pub(crate) mod context;
pub(crate) mod download_row;
pub(crate) mod event;
pub(crate) mod id;
pub(crate) mod presence;
pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod store;
pub(crate) mod trouble;
