//! Object stores: `outflow publish`, and downloads from stores.
//!
//! ```text
//! publish     `outflow publish`, `transfer list` and `transfer remove`
//! uploads     what arrives in a store
//! downloads   every byte of files, ranges, archives and selections
//! round_trip  a published tree is downloaded again, also from a failing store
//! faults      stores that lack objects, change them or stop in the middle
//! transfers   `outflow serve` on a store that is a folder
//! soak        two thousand downloads from a store that fails at times
//! ```

mod downloads;
mod faults;
mod round_trip;
mod soak;
mod transfers;
mod uploads;
