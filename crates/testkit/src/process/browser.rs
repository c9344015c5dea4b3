//! A browser.

use std::ffi::OsStr;

use tempfile::TempDir;

use super::{ChildProgram, program};

/// Headless Chromium that trusts every certificate. Killed when this is dropped, and its profile
/// removed.
pub struct Browser {
    _program: ChildProgram,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page.
    pub fn open(url: impl AsRef<OsStr>) -> Browser {
        let profile = TempDir::new().unwrap();
        let mut chromium = program("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]);
        chromium.args(["--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"]);
        chromium.args(["--remote-debugging-port=0", "--ignore-certificate-errors"]);
        chromium.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
        Browser { _program: ChildProgram::start(chromium.arg(url)), _profile: profile }
    }
}
