//! Name, help, unit and labels of one metric.

use crate::label::LabelDefinition;
use crate::value::{Metric, MetricEncoder};

/// A struct of metrics that [`metrics!`](crate::metrics) defined.
pub trait MetricSet: Default + Send + Sync + 'static {
    /// What it consists of, in the order of its fields.
    const DEFINITIONS: &'static [MetricDefinition];

    /// Writes every value.
    ///
    /// # Errors
    /// Those of the text that is written to.
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> std::fmt::Result;
}

/// What is known of a metric without its value.
#[derive(Clone, Copy, Debug)]
pub struct MetricDefinition {
    /// The name of its samples.
    pub name: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// The unit that the name states.
    pub unit: MetricUnit,
    /// Its labels with all their values.
    pub labels: &'static [LabelDefinition],
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A total that only grows until the program ends.
    Counter,
    /// A value that rises and falls.
    Gauge,
}

/// The unit of a metric. Base units only, as Prometheus recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// What the name counts: requests, connections.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl MetricDefinition {
    /// The definition of a metric of type `M`. Its help is a doc comment.
    ///
    /// # Panics
    /// When the name breaks a rule of Prometheus. Constants only are made by this, so the compiler
    /// reports it.
    #[must_use]
    pub const fn of<M: Metric>(name: &'static str, help: &'static str) -> MetricDefinition {
        let is_total = ends_with(name, "_total");
        match M::KIND {
            MetricKind::Counter => assert!(is_total, "the name of a counter ends with _total"),
            MetricKind::Gauge => assert!(!is_total, "only the name of a counter ends with _total"),
        }
        let unit = MetricUnit::of(name);
        assert!(
            !M::IS_SECONDS || matches!(unit, MetricUnit::Seconds),
            "the name of a metric in seconds ends with _seconds, before _total"
        );
        assert!(!help.is_empty(), "a metric needs a doc comment");
        MetricDefinition { name, help: help.trim_ascii(), kind: M::KIND, unit, labels: M::LABELS }
    }
}

impl MetricKind {
    /// The word for it in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        }
    }
}

impl MetricUnit {
    /// The unit that a name states.
    pub(crate) const fn of(name: &str) -> MetricUnit {
        if ends_with(name, "_bytes") || ends_with(name, "_bytes_total") {
            MetricUnit::Bytes
        } else if ends_with(name, "_seconds") || ends_with(name, "_seconds_total") {
            MetricUnit::Seconds
        } else {
            MetricUnit::Count
        }
    }

    /// The word for it in OpenMetrics; `None` for a count.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            MetricUnit::Count => None,
            MetricUnit::Bytes => Some("bytes"),
            MetricUnit::Seconds => Some("seconds"),
        }
    }
}

/// `str::ends_with` is not `const` yet.
const fn ends_with(text: &str, end: &str) -> bool {
    let (text, end) = (text.as_bytes(), end.as_bytes());
    let mut at = 0;
    while at < end.len() {
        if text.len() < end.len() || text[text.len() - end.len() + at] != end[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_states_the_unit() {
        for (name, unit) in [
            ("x_bytes_total", Some("bytes")),
            ("x_bytes", Some("bytes")),
            ("x_seconds", Some("seconds")),
            ("x_seconds_total", Some("seconds")),
            ("x_total", None),
            ("bytes", None),
            ("x_kilobytes", None),
        ] {
            assert_eq!(MetricUnit::of(name).name(), unit, "{name}");
        }
    }
}
