//! Deliveries that are counted and not recorded, as `outflow download list` shows them.

use indicatif::HumanBytes;
use outflow_ledger::DailyCount;
use outflow_texts::console;

/// A line for each file and day, below a line that says what they are.
pub(crate) fn table(counts: &[DailyCount]) -> String {
    let mut text = format!("{}\n", console!(download_counts));
    for count in counts {
        let other = console!(download_other_files).to_string();
        let path = if count.path.is_empty() { &other } else { &count.path };
        let bytes = HumanBytes(count.bytes).to_string();
        let line = console!(
            download_count,
            day = %count.day,
            path,
            completed = count.completed,
            broken = count.broken,
            deliveries = count.deliveries,
            bytes,
        );
        text += &format!("{line}\n");
    }
    text
}
