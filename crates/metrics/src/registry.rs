//! The sets of metrics of one program, and their text.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::definition::MetricSet;
use crate::process::ProcessMetrics;
use crate::value::{Gauge, MetricEncoder};

/// The media type of [`MetricRegistry::text`].
pub const TEXT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one program, or of one of several servers in it. Clones are the same registry.
///
/// A registry that nobody reads costs the memory of its counters.
#[derive(Clone, Default)]
pub struct MetricRegistry(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    sets: Vec<RegisteredSet>,
    refreshes: Vec<ScrapeRefresh>,
}

/// Called before each scrape; false: no more.
type ScrapeRefresh = Arc<dyn Fn() -> bool + Send + Sync>;

struct RegisteredSet {
    id: TypeId,
    any: Arc<dyn Any + Send + Sync>,
    encoded: Arc<dyn EncodedSet>,
}

/// A [`MetricSet`] of any type.
trait EncodedSet: Send + Sync {
    fn encode_all(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result;
}

impl<S: MetricSet> EncodedSet for S {
    fn encode_all(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        self.encode(encoder)
    }
}

impl RegisteredSet {
    fn of<S: MetricSet>(set: &Arc<S>) -> RegisteredSet {
        let (any, encoded) = (Arc::clone(set) as _, Arc::clone(set) as _);
        RegisteredSet { id: TypeId::of::<S>(), any, encoded }
    }
}

impl MetricRegistry {
    /// A registry with [`ProcessMetrics`], for a program that is scraped.
    #[must_use]
    pub fn of_process() -> MetricRegistry {
        let registry = MetricRegistry::default();
        let process = registry.set::<ProcessMetrics>();
        registry.on_scrape(move || {
            process.refresh();
            true
        });
        registry
    }

    /// The set of this type: the one that the registry has already, or a new one.
    #[must_use]
    pub fn set<S: MetricSet>(&self) -> Arc<S> {
        let mut registered = self.0.lock();
        let known = registered.sets.iter().find(|set| set.id == TypeId::of::<S>());
        if let Some(set) = known.and_then(|set| Arc::clone(&set.any).downcast().ok()) {
            return set;
        }
        let set = Arc::new(S::default());
        registered.sets.push(RegisteredSet::of(&set));
        set
    }

    /// Shows a set of another registry in this one, too, unless it has one of this type already.
    pub fn insert<S: MetricSet>(&self, set: Arc<S>) {
        let mut registered = self.0.lock();
        if registered.sets.iter().all(|known| known.id != TypeId::of::<S>()) {
            registered.sets.push(RegisteredSet::of(&set));
        }
    }

    /// Shows in a gauge what `read` finds in `source` at each scrape, for what is known anyway.
    /// Values of several sources are added up; one that has been dropped counts as 0. `read` must
    /// not block.
    pub fn read_gauge<S: MetricSet, T: Send + Sync + 'static>(
        &self,
        source: &Arc<T>,
        gauge: fn(&S) -> &Gauge,
        read: fn(&T) -> usize,
    ) {
        let (set, source, last) = (self.set::<S>(), Arc::downgrade(source), AtomicI64::new(0));
        self.on_scrape(move || {
            let source = source.upgrade();
            let now = source.as_deref().map_or(0, |source| i64::try_from(read(source)).unwrap_or(i64::MAX));
            gauge(&set).add(now - last.swap(now, Relaxed));
            source.is_some()
        });
    }

    /// Calls `refresh` before each scrape, until it returns false.
    fn on_scrape(&self, refresh: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.lock().refreshes.push(Arc::new(refresh));
    }

    /// All values, in the text format of OpenMetrics 1.0.
    #[must_use]
    pub fn text(&self) -> String {
        // Called without the lock: a refresh may use the registry.
        let refreshes = self.0.lock().refreshes.clone();
        for refresh in refreshes {
            if !refresh() {
                self.0.lock().refreshes.retain(|other| !Arc::ptr_eq(other, &refresh));
            }
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut into = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut into, &registry);
        into
    }
}

impl Collector for MetricRegistry {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = MetricEncoder::new(encoder);
        let sets: Vec<_> = self.0.lock().sets.iter().map(|set| Arc::clone(&set.encoded)).collect();
        sets.iter().try_for_each(|set| set.encode_all(&mut encoder))
    }
}

impl fmt::Debug for MetricRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.0.lock().sets.len();
        f.debug_struct("MetricRegistry").field("sets", &sets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{Counter, CounterBy, SecondsCounter};

    crate::labels! {
        enum Shape: "shape" {
            /// Round.
            Round = "round",
            /// Square.
            Square = "square",
        }
    }

    crate::metrics! {
        /// Of the tests.
        struct TestMetrics {
            /// Pieces that were made.
            pieces: CounterBy<Shape> = "test_pieces_total",
            /// Bytes that were
            /// written.
            written: Counter = "test_written_bytes_total",
            /// Workers at work.
            workers: Gauge = "test_workers",
            /// Time of the work.
            work: SecondsCounter = "test_work_seconds_total",
        }
    }

    #[test]
    fn the_text_has_every_metric_with_its_help_unit_and_type() {
        let registry = MetricRegistry::default();
        let metrics = registry.set::<TestMetrics>();
        metrics.pieces.of(Shape::Square).add(3);
        metrics.pieces.of(Shape::Round).add(1);
        metrics.written.add(10);
        metrics.workers.add(-2);
        metrics.work.add(std::time::Duration::from_millis(1500));
        assert_eq!(
            registry.text(),
            "# HELP test_pieces Pieces that were made.\n\
             # TYPE test_pieces counter\n\
             test_pieces_total{shape=\"round\"} 1\n\
             test_pieces_total{shape=\"square\"} 3\n\
             # HELP test_written_bytes Bytes that were written.\n\
             # TYPE test_written_bytes counter\n\
             # UNIT test_written_bytes bytes\n\
             test_written_bytes_total 10\n\
             # HELP test_workers Workers at work.\n\
             # TYPE test_workers gauge\n\
             test_workers -2\n\
             # HELP test_work_seconds Time of the work.\n\
             # TYPE test_work_seconds counter\n\
             # UNIT test_work_seconds seconds\n\
             test_work_seconds_total 1.5\n\
             # EOF\n"
        );
    }

    #[test]
    fn servers_with_one_registry_are_counted_together_and_with_two_apart() {
        let (one, other) = (MetricRegistry::default(), MetricRegistry::default());
        one.set::<TestMetrics>().workers.inc();
        one.clone().set::<TestMetrics>().workers.inc();
        assert_eq!(one.set::<TestMetrics>().workers.get(), 2);
        assert_eq!(other.set::<TestMetrics>().workers.get(), 0);
    }

    #[test]
    fn what_several_know_is_read_at_the_scrape_and_added_up_until_they_end() {
        let registry = MetricRegistry::default();
        let pools = [Arc::new(AtomicUsize::new(3)), Arc::new(AtomicUsize::new(4))];
        for pool in &pools {
            registry.read_gauge(
                pool,
                |metrics: &TestMetrics| &metrics.workers,
                |pool: &AtomicUsize| pool.load(Relaxed),
            );
        }
        assert!(registry.text().contains("test_workers 7\n"));
        pools[0].store(10, Relaxed);
        assert!(registry.text().contains("test_workers 14\n"));
        let [first, last] = pools;
        drop(first);
        assert!(registry.text().contains("test_workers 4\n"));
        assert_eq!(registry.0.lock().refreshes.len(), 1);
        drop(last);
        assert!(registry.text().contains("test_workers 0\n"));
    }

    #[test]
    fn a_program_knows_its_process() {
        let text = MetricRegistry::of_process().text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let started = value("process_start_time_seconds");
        assert!(started <= now.as_secs_f64() && started > now.as_secs_f64() - 86_400.0, "{text}");
        assert!(value("process_resident_memory_bytes") > 100_000.0, "{text}");
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(text.contains("outflow_build_info{version=\""), "{text}");
    }
}
