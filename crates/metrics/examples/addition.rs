//! Prints what an addition to a counter costs: on one thread, on two that add to the same counter,
//! and on two that add to the same atomic number, for comparison.
//!
//! ```text
//! cargo run --release -p outflow-metrics --example addition
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use outflow_metrics::Counter;

const ADDITIONS: u32 = 50_000_000;

fn main() {
    let (counter, atomic) = (Counter::default(), AtomicU64::new(0));
    for (name, threads, add) in [
        ("counter, one thread", 1, &(|| counter.add(3)) as &(dyn Fn() + Sync)),
        ("counter, two threads", 2, &|| counter.add(3)),
        ("one atomic number, two threads", 2, &|| {
            atomic.fetch_add(3, Relaxed);
        }),
    ] {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..ADDITIONS).for_each(|_| add()));
            }
        });
        println!("{name}: {:.1} ns", began.elapsed().as_secs_f64() * 1e9 / f64::from(ADDITIONS));
    }
}
