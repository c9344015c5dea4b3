//! An S3 server for tests: it says yes to what is right, and plays faults by plan.
//!
//! Objects lie in memory, are computed ([`pattern`]) or come from files. Requests are typed and their signatures
//! checked by `s3s`; the faults that an HTTP library does not let one play (a reset at byte N, lengths that lie,
//! bytes behind the end) are in a thin layer around its bodies and connections.
//!
//! ```
//! use outflow_testkit::s3::{At, Double, Fault, StoredObject, Op, FaultRule};
//!
//! # fn main() -> std::io::Result<()> {
//! let double = Double::start()?;
//! double.put("t/1/a.txt", "some bytes");
//! double.put("t/1/big", StoredObject::pattern(7, 100 << 30));
//! double.play([FaultRule::get(Fault::Reset { at: At::Byte(1000) }).key("t/1/*").nth(2)]);
//! // … a client works with double.endpoint(), double.env() …
//! assert!(double.stats().count(Op::GetObject) <= 5);
//! # Ok(())
//! # }
//! ```

mod body;
pub mod control;
mod double;
mod multipart;
mod object;
mod operations;
mod plan;
mod request;
mod serve;
mod state;
mod stats;
mod store;
mod wire;

pub use body::{ObjectBody, pattern};
pub use double::{Double, DoubleBuilder};
pub use object::StoredObject;
pub use plan::{At, Fault, FaultPlan, FaultRule, Op, SeededFaults};
pub use stats::Stats;
