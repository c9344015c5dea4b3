//! Counters and gauges.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder as SampleEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::definition::{MetricKind, MetricUnit};
use crate::label::{LabelDefinition, LabelSet, pairs};

/// Cache lines of a counter. Threads take turns with them, so that up to as many serving threads
/// never write to the same line.
const SHARDS: usize = 8;

/// Seconds have this many parts in the metrics that measure time.
const NANOS: f64 = 1e9;

/// What a field of a [`MetricSet`](crate::MetricSet) can be.
pub trait Metric: Default {
    /// Whether it only grows.
    const KIND: MetricKind;
    /// Whether it measures time.
    const IS_SECONDS: bool = false;
    /// Its labels.
    const LABELS: &'static [LabelDefinition] = &[];

    /// Writes its samples, behind the metric's name.
    ///
    /// # Errors
    /// Those of the text that is written to.
    fn samples(&self, encoder: SampleEncoder<'_>) -> fmt::Result;
}

/// A total that only grows.
#[derive(Default)]
pub struct Counter {
    shards: [CounterShard; SHARDS],
}

/// The part of a counter that some of the threads add to, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct CounterShard(AtomicU64);

impl Counter {
    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.shards[shard()].0.fetch_add(n, Relaxed);
    }

    /// The total.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Relaxed)))
    }

    /// Replaces the total by one that another party counted.
    pub(crate) fn set(&self, total: u64) {
        for shard in &self.shards[1..] {
            shard.0.store(0, Relaxed);
        }
        self.shards[0].0.store(total, Relaxed);
    }
}

/// The shard that this thread adds to.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        mine.get()
    })
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Metric for Counter {
    const KIND: MetricKind = MetricKind::Counter;

    fn samples(&self, encoder: SampleEncoder<'_>) -> fmt::Result {
        ConstCounter::new(self.get()).encode(encoder)
    }
}

/// A total of time that only grows.
#[derive(Debug, Default)]
pub struct SecondsCounter(Counter);

impl SecondsCounter {
    /// Adds `time`.
    pub fn add(&self, time: Duration) {
        self.0.add(nanos(time));
    }

    /// The total.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.get())
    }

    pub(crate) fn set(&self, total: Duration) {
        self.0.set(nanos(total));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Metric for SecondsCounter {
    const KIND: MetricKind = MetricKind::Counter;
    const IS_SECONDS: bool = true;

    fn samples(&self, encoder: SampleEncoder<'_>) -> fmt::Result {
        ConstCounter::new(self.0.get() as f64 / NANOS).encode(encoder)
    }
}

/// A value that rises and falls.
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts 1.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds 1 until the returned guard is dropped.
    pub fn hold(&self) -> GaugeGuard<'_> {
        self.inc();
        GaugeGuard(self)
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Replaces the value. Sets of metrics may be shared by several servers, which then replace
    /// each other's: prefer [`Gauge::add`], or `MetricRegistry::read_gauge`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Subtracts from a gauge what [`Gauge::hold`] added.
#[must_use = "the gauge falls again when this is dropped"]
pub struct GaugeGuard<'a>(&'a Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Metric for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;

    fn samples(&self, encoder: SampleEncoder<'_>) -> fmt::Result {
        ConstGauge::new(self.get()).encode(encoder)
    }
}

/// A time that is replaced: since the epoch, or how long something takes.
#[derive(Debug, Default)]
pub struct SecondsGauge(AtomicU64);

impl SecondsGauge {
    /// Replaces the value.
    pub fn set(&self, time: Duration) {
        self.0.store(nanos(time), Relaxed);
    }
}

impl Metric for SecondsGauge {
    const KIND: MetricKind = MetricKind::Gauge;
    const IS_SECONDS: bool = true;

    fn samples(&self, encoder: SampleEncoder<'_>) -> fmt::Result {
        ConstGauge::new(self.0.load(Relaxed) as f64 / NANOS).encode(encoder)
    }
}

/// One metric for each value of a label, or for each pair of values of two.
pub struct ByLabel<L, M> {
    series: Box<[M]>,
    labels: std::marker::PhantomData<fn(L)>,
}

/// Counters that a label tells apart.
pub type CounterBy<L> = ByLabel<L, Counter>;

/// Gauges that a label tells apart.
pub type GaugeBy<L> = ByLabel<L, Gauge>;

impl<L: LabelSet, M> ByLabel<L, M> {
    /// The metric with these labels.
    pub fn of(&self, labels: L) -> &M {
        &self.series[labels.position()]
    }
}

impl<L: LabelSet, M: Default> Default for ByLabel<L, M> {
    fn default() -> ByLabel<L, M> {
        let series = std::iter::repeat_with(M::default).take(L::SERIES).collect();
        ByLabel { series, labels: std::marker::PhantomData }
    }
}

impl<L, M: fmt::Debug> fmt::Debug for ByLabel<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.fmt(f)
    }
}

impl<L: LabelSet, M: Metric> Metric for ByLabel<L, M> {
    const KIND: MetricKind = M::KIND;
    const IS_SECONDS: bool = M::IS_SECONDS;
    const LABELS: &'static [LabelDefinition] = L::LABELS;

    fn samples(&self, mut encoder: SampleEncoder<'_>) -> fmt::Result {
        for (position, metric) in self.series.iter().enumerate() {
            metric.samples(encoder.encode_family(&pairs(L::LABELS, position))?)?;
        }
        Ok(())
    }
}

/// Where a [`MetricSet`](crate::MetricSet) writes its values.
pub struct MetricEncoder<'a>(DescriptorEncoder<'a>);

impl<'a> MetricEncoder<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> MetricEncoder<'a> {
        MetricEncoder(encoder)
    }

    /// Writes one metric: its name, type, unit, help and samples.
    ///
    /// # Errors
    /// Those of the text that is written to.
    pub fn encode<M: Metric>(&mut self, name: &'static str, help: &'static str, metric: &M) -> fmt::Result {
        let kind = match M::KIND {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
        };
        // The encoder appends unit and `_total`.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let (name, unit) = match MetricUnit::of(name) {
            MetricUnit::Count => (name, None),
            MetricUnit::Bytes => (name.strip_suffix("_bytes").unwrap_or(name), Some(Unit::Bytes)),
            MetricUnit::Seconds => (name.strip_suffix("_seconds").unwrap_or(name), Some(Unit::Seconds)),
        };
        let samples = self.0.encode_descriptor(name, help.trim_ascii(), unit.as_ref(), kind)?;
        metric.samples(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_addition_of_any_thread_is_lost() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 2 * SHARDS as u64 * 1000);
        counter.set(7);
        assert_eq!(counter.get(), 7);
    }
}
