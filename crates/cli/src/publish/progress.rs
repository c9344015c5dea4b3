//! Progress of uploads on standard error: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use outflow_texts::console;
use parking_lot::Mutex;

const LINE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) struct UploadProgress {
    total: u64,
    begin: Instant,
    bar: Option<ProgressBar>,
    last: Mutex<Instant>,
}

impl UploadProgress {
    pub(crate) fn new(store: &str, id: &str, files: usize, total: u64, quiet: bool) -> UploadProgress {
        let is_terminal = std::io::stderr().is_terminal();
        if !quiet || is_terminal {
            let size = HumanBytes(total);
            eprintln!("{}", console!(publish_begins, files, %size, %store, id));
        }
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            // indicatif fills in what is in braces.
            let sent_of_size = console!(
                publish_bar,
                sent = "{binary_bytes}",
                size = "{binary_total_bytes}",
                time = "{eta}",
                rate = "{binary_bytes_per_sec}"
            );
            let template = format!("{{wide_bar}} {{percent:>3}} %  {sent_of_size}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        UploadProgress { total, begin: Instant::now(), bar, last: Mutex::new(Instant::now()) }
    }

    pub(crate) fn update(&self, sent: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(sent.min(self.total));
            return;
        }
        let mut last = self.last.lock();
        if last.elapsed() < LINE_INTERVAL {
            return;
        }
        *last = Instant::now();
        let seconds = self.begin.elapsed().as_secs_f64();
        let rate = sent as f64 / seconds;
        let left = if rate > 0.0 { self.total.saturating_sub(sent) as f64 / rate } else { 0.0 };
        let text = console!(
            publish_progress,
            sent = %HumanBytes(sent),
            size = %HumanBytes(self.total),
            rate = %HumanBytes(rate as u64),
            time = %HumanDuration(Duration::from_secs_f64(left.min(1e9)))
        );
        eprintln!("{text}");
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
