//! curl, wget and aria2c, without the configuration of the user.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::program;

/// curl, which fails on an error status.
#[must_use]
pub fn curl() -> Command {
    let mut curl = program("curl");
    curl.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*"]);
    curl
}

/// wget, which tries once.
#[must_use]
pub fn wget() -> Command {
    let mut wget = program("wget");
    wget.args(["--no-config", "--no-proxy", "--no-verbose", "--tries=1"]);
    wget
}

/// aria2c into `folder/name`, with sixteen connections of a megabyte or more each.
#[must_use]
pub fn aria2c(folder: &Path, name: &str) -> Command {
    let mut aria2c = program("aria2c");
    aria2c.args(["--no-conf", "--quiet", "--file-allocation=none", "-x16", "-s16", "-k1M"]);
    aria2c.arg("-d").arg(folder).args(["-o", name]);
    aria2c
}

/// Runs `command`, which writes the download to its standard output, and kills it when it has
/// passed on `bytes`. They are in the file `to` then.
pub fn begin_and_kill(command: &mut Command, bytes: usize, to: &Path) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut begun = vec![0; bytes];
    child.stdout.take().unwrap().read_exact(&mut begun).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(to, begun).unwrap();
}

/// A folder, and the path of a file in it.
#[must_use]
pub fn scratch(name: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}
