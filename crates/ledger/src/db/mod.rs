//! The database: SQLite or PostgreSQL.
//!
//! ```text
//! database       one connection that writes, several that read
//!   connection     either database behind one interface
//!   statement      the language of statements; what the placeholders `{{…}}` mean
//!   rows           arguments of statements
//!   sqlite         the connection that writes to SQLite
//!   address        where the database is, how it is opened, the tables
//!   errors         what the database's errors mean, and what to do
//!   presence       which processes are alive (PostgreSQL)
//! context        this process and its options
//! download_row   downloads as rows
//! event_row      events as rows, and the sends that deliver them
//! sequence       the order of events
//! id             ids that sort by time
//! ```

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod database;
pub(crate) mod download_row;
mod errors;
pub(crate) mod event_row;
pub(crate) mod id;
pub(crate) mod presence;
pub(crate) mod rows;
pub(crate) mod sequence;
mod sqlite;
pub(crate) mod statement;

pub(crate) use errors::is_transient;
