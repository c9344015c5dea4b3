//! What every program has. The names without `outflow_` are those that Prometheus recommends and
//! that dashboards know.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::value::{Gauge, GaugeBy, SecondsCounter, SecondsGauge};

crate::labels! {
    /// The version of this build.
    pub enum BuildVersion: "version" {
        /// The only one.
        This = env!("CARGO_PKG_VERSION"),
    }
}

crate::metrics! {
    /// The process, as `/proc/self` shows it at the time of the scrape. What cannot be read is 0.
    pub struct ProcessMetrics {
        /// Always 1; the label is the version of the program.
        build: GaugeBy<BuildVersion> = "outflow_build_info",
        /// Start of the process, since the epoch.
        start: SecondsGauge = "process_start_time_seconds",
        /// Processor time, of the user and of the system.
        cpu: SecondsCounter = "process_cpu_seconds_total",
        /// Memory that the process has in RAM.
        resident: Gauge = "process_resident_memory_bytes",
        /// Address space of the process.
        virtual_memory: Gauge = "process_virtual_memory_bytes",
        /// Open file descriptors.
        open_fds: Gauge = "process_open_fds",
        /// Limit of open file descriptors.
        max_fds: Gauge = "process_max_fds",
        /// Threads of the process.
        threads: Gauge = "process_threads",
    }
}

/// The fields of `/proc/self/stat` that are used (proc_pid_stat(5)).
struct ProcessStat {
    cpu_ticks: u64,
    start_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl ProcessMetrics {
    /// Reads the values.
    pub(crate) fn refresh(&self) {
        self.build.of(BuildVersion::This).set(1);
        if let Some(stat) = read("/proc/self/stat").as_deref().and_then(ProcessStat::parse) {
            self.cpu.set(of_ticks(stat.cpu_ticks));
            self.threads.set(whole(stat.threads));
            self.virtual_memory.set(whole(stat.virtual_bytes));
            self.resident.set(whole(stat.resident_pages.saturating_mul(page_size() as u64)));
            if let Some(boot) = read("/proc/stat").as_deref().and_then(boot_time) {
                self.start.set(boot + of_ticks(stat.start_ticks));
            }
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            // One of them is that of the listing.
            self.open_fds.set(whole((descriptors.count() as u64).saturating_sub(1)));
        }
        self.max_fds.set(getrlimit(Resource::Nofile).current.map_or(i64::MAX, whole));
    }
}

fn read(path: &str) -> Option<String> {
    // The name of a program may be no UTF-8.
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second().max(1) as f64)
}

/// Boot of the system, since the epoch (`btime` in proc_stat(5)).
fn boot_time(stat: &str) -> Option<Duration> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

impl ProcessStat {
    fn parse(stat: &str) -> Option<ProcessStat> {
        // The second field is the program's name, which may contain anything, also parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first one behind the name is field 3 of the man page.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(ProcessStat {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 111 222 13 14 15 16 7 18 1900 2000 21 22";
        for name in ["outflow", "a) S 1 (b", ")"] {
            let stat = ProcessStat::parse(&format!("42 ({name}) {rest}")).unwrap();
            assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (333, 7, 1900));
            assert_eq!((stat.virtual_bytes, stat.resident_pages), (2000, 21));
        }
        for broken in ["", "42 (outflow", "42 (outflow) S 1", &format!("42 (o) {}", rest.replace("111", "x"))]
        {
            assert!(ProcessStat::parse(broken).is_none(), "{broken}");
        }
    }
}
