//! Child processes, each ended by its id, and the test's own process.
//!
//! ```text
//! program   programs that end
//! programs  which programs are installed; skips
//! serving   programs that serve, and say so in their first line
//! daemon    servers of others
//! download  curl, wget, aria2c
//! browser   headless Chromium
//! network   a slow network
//! own       memory and descriptors of the test's process; tests that need a process to themselves
//! ```

mod browser;
mod daemon;
mod download;
mod network;
mod own;
mod program;
mod programs;
mod serving;

pub use browser::Browser;
pub use daemon::{Daemon, with_ports};
pub use download::{aria2c, begin_and_kill, curl, scratch, wget};
pub use network::Network;
pub use own::{alone, anonymous_memory_of, memory, open_files};
pub use program::{ChildProgram, assert_fails, feed, output, program};
pub use programs::{are_present, assert_installed, record_skip};
pub use serving::Serving;
