//! Metrics: each is defined once, counted where the work is done, and read when somebody scrapes.
//!
//! ```text
//! registry    the sets of metrics of one program, and their text
//! define      the macros that define a set of metrics and the values of a label
//! definition  name, help, unit and labels of one metric
//! value       counters and gauges
//! label       labels, whose values are fixed when the program is compiled
//! process     what every program has: build, start, processor time, memory, descriptors
//! ```
//!
//! A crate defines its metrics in one struct. The doc comment is the help; the name says the unit:
//!
//! ```
//! use outflow_metrics::{Counter, CounterBy, MetricRegistry, labels, metrics};
//!
//! labels! {
//!     /// What a cup was filled with.
//!     pub enum Drink: "drink" {
//!         /// Coffee.
//!         Coffee = "coffee",
//!         /// Tea.
//!         Tea = "tea",
//!     }
//! }
//!
//! metrics! {
//!     /// What the kitchen does.
//!     pub struct KitchenMetrics {
//!         /// Cups that were filled.
//!         cups: CounterBy<Drink> = "kitchen_cups_total",
//!         /// Water that was boiled.
//!         water: Counter = "kitchen_water_bytes_total",
//!     }
//! }
//!
//! let registry = MetricRegistry::default();
//! let kitchen = registry.set::<KitchenMetrics>();
//! kitchen.cups.of(Drink::Tea).inc();
//! kitchen.water.add(250);
//! assert!(registry.text().contains("kitchen_cups_total{drink=\"tea\"} 1\n"));
//! ```
//!
//! Counting is one relaxed addition to a cache line that a thread shares with few others or none:
//! no lock, no lookup of a label. There is no registry of the process: two servers in one program
//! that get one registry are counted together, two that get a registry each are told apart.

#![forbid(unsafe_code)]

mod define;
mod definition;
mod label;
mod process;
mod registry;
mod value;

pub use definition::{MetricDefinition, MetricKind, MetricSet, MetricUnit};
pub use label::{Label, LabelDefinition, LabelSet};
pub use process::ProcessMetrics;
pub use registry::{MetricRegistry, TEXT_TYPE};
pub use value::{
    ByLabel, Counter, CounterBy, Gauge, GaugeBy, GaugeGuard, Metric, MetricEncoder, SecondsCounter,
    SecondsGauge,
};
