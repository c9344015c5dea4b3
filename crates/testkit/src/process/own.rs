//! The test's own process: its memory and descriptors, and tests that need a process to themselves.

use std::process::Command;

/// Runs `test`, which is called `name`, in a process of its own: for what a process has only once.
#[track_caller]
pub fn alone(name: &str, test: impl FnOnce()) {
    const MARK: &str = "OUTFLOW_TEST_ALONE";
    if std::env::var_os(MARK).is_some_and(|alone| *alone == *name) {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let ran = command.args([name, "--exact", "--nocapture"]).env(MARK, name).output().expect("a process");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("1 passed"), "{name}: {out}\n{err}");
}

/// This process's memory in use, in bytes (proc(5), `VmRSS`).
#[must_use]
pub fn memory() -> u64 {
    resident(std::process::id(), "VmRSS:")
}

/// The anonymous memory of a process, in bytes (proc(5), `RssAnon`).
#[must_use]
pub fn anonymous_memory_of(pid: u32) -> u64 {
    resident(pid, "RssAnon:")
}

fn resident(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// How many files this process has open (proc(5)).
#[must_use]
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a folder").count()
}
