//! An S3 server for tests: it accepts valid requests, and plays faults by plan.
//!
//! Objects are in memory, computed ([`pattern`]) or files. `s3s` parses requests and checks their
//! signatures. The faults that an HTTP library cannot play (a reset at byte N, a wrong length,
//! bytes behind the end) are in a thin layer around its bodies and connections.
//!
//! ```text
//! double      the handle of a running server
//! control     the handle by HTTP, for other programs
//! serve       connections, requests, and the faults of whole responses
//! faulty      faults within a body or a connection
//! request     which operation a request means
//! operations  the operations
//! plan        which request meets which fault
//! state       what the handle and the server share
//! stats       counters
//! store       buckets and listings
//! multipart   uploads in parts
//! object      an object and its checksums
//! body        an object's bytes
//! ```
//!
//! ```
//! use outflow_testkit::s3::{At, Double, Fault, FaultRule, Op, StoredObject};
//!
//! # fn main() -> std::io::Result<()> {
//! let double = Double::start()?;
//! double.put("t/1/a.txt", "some bytes");
//! double.put("t/1/big", StoredObject::pattern(7, 100 << 30));
//! double.play([FaultRule::get(Fault::Reset { at: At::Byte(1000) }).key("t/1/*").nth(2)]);
//! // … a client uses double.endpoint() and double.access().env() …
//! assert!(double.stats().count(Op::GetObject) <= 5);
//! # Ok(())
//! # }
//! ```

mod body;
pub mod control;
mod double;
mod faulty;
mod multipart;
mod object;
mod operations;
mod plan;
mod request;
mod serve;
mod state;
mod stats;
mod store;

pub use body::{ObjectBody, pattern};
pub use double::{Double, DoubleBuilder};
pub use object::StoredObject;
pub use plan::{At, Fault, FaultPlan, FaultRule, Op, SeededFaults};
pub use stats::Stats;
