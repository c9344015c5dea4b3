//! Reads files and standard input into memory, one after the other.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use outflow_single::{SealedBytes, SealedBytesBuilder};
use outflow_texts::{console, text};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Bytes per read.
const CHUNK: usize = 256 * 1024;

/// Attempts to read files that change meanwhile, and the pause between two.
const ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The files that make the content.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// `-` is standard input.
    pub(crate) files: Vec<PathBuf>,
    /// Time for pipes and standard input to end.
    pub(crate) timeout: Option<Duration>,
    /// Maximum size of the content, in bytes.
    pub(crate) max_size: u64,
}

/// The content of the files.
pub(crate) struct Input {
    pub(crate) sealed: SealedBytes,
    /// Modified time of the newest file, or now for standard input.
    pub(crate) modified: SystemTime,
}

/// Why a file was not read to its end.
enum ReadFailure {
    /// It changed while it was read.
    Changed,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for ReadFailure {
    fn from(error: anyhow::Error) -> ReadFailure {
        ReadFailure::Failed(error)
    }
}

pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

impl Inputs {
    /// Whether the content can be read only once.
    pub(crate) fn has_stdin(&self) -> bool {
        self.files.iter().any(|path| is_stdin(path))
    }

    /// Reads all files.
    pub(crate) fn read(&self) -> anyhow::Result<Input> {
        for _ in 1..ATTEMPTS {
            match self.read_once() {
                Ok(input) => return Ok(input),
                Err(ReadFailure::Failed(error)) => return Err(error),
                // Standard input cannot be read again.
                Err(ReadFailure::Changed) if self.has_stdin() => break,
                Err(ReadFailure::Changed) => std::thread::sleep(RETRY_DELAY),
            }
        }
        match self.read_once() {
            Ok(input) => Ok(input),
            Err(ReadFailure::Failed(error)) => Err(error),
            Err(ReadFailure::Changed) => {
                bail!(console!(input_changes, name = self.names()))
            }
        }
    }

    fn read_once(&self) -> Result<Input, ReadFailure> {
        let mut filling = SealedBytesBuilder::new().context(console!(cannot_allocate_content))?;
        let mut modified = SystemTime::UNIX_EPOCH;
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        for path in &self.files {
            let its = if is_stdin(path) {
                self.pour(
                    io::stdin().as_fd(),
                    &console!(standard_input).to_string(),
                    deadline,
                    &mut filling,
                )?;
                SystemTime::now()
            } else {
                self.read_file(path, deadline, &mut filling)?
            };
            modified = modified.max(its);
        }
        if filling.is_empty() {
            let advice = match self.files.as_slice() {
                [only] if is_stdin(only) => text!(advice_stdin_empty),
                [_] => text!(advice_file_empty),
                _ => text!(advice_files_empty),
            };
            return Err(ReadFailure::Failed(anyhow::anyhow!(console!(
                input_is_empty,
                name = self.names(),
                advice
            ))));
        }
        let sealed = filling.seal().context(console!(cannot_seal_content))?;
        Ok(Input { sealed, modified })
    }

    /// Appends a file and returns its modified time.
    fn read_file(
        &self,
        path: &Path,
        deadline: Option<Instant>,
        into: &mut SealedBytesBuilder,
    ) -> Result<SystemTime, ReadFailure> {
        let name = path.display().to_string();
        // Opening a pipe without a writer must not block: `pour` waits with a deadline.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let opened = File::options().read(true).custom_flags(flags).open(path);
        let mut file = opened.map_err(|error| cannot_read(&name, &error))?;
        let before = file.metadata().map_err(|error| cannot_read(&name, &error))?;
        let kind = before.file_type();
        if kind.is_dir() {
            return Err(anyhow::anyhow!(console!(input_is_folder, name)).into());
        }
        if kind.is_fifo() || kind.is_char_device() {
            self.pour(file.as_fd(), &name, deadline, into)?;
            return Ok(SystemTime::now());
        }
        let mut piece = vec![0; CHUNK.min(usize::try_from(before.len()).unwrap_or(CHUNK) + 1)];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => self.take(&piece[..n], into)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot_read(&name, &error).into()),
            }
        }
        let after = file.metadata().map_err(|error| cannot_read(&name, &error))?;
        let same = |of: fn(&std::fs::Metadata) -> i64| of(&before) == of(&after);
        if !(before.len() == after.len() && same(|m| m.mtime()) && same(|m| m.mtime_nsec())) {
            return Err(ReadFailure::Changed);
        }
        Ok(before.modified().unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Appends the bytes of a descriptor until its end.
    fn pour(
        &self,
        from: BorrowedFd<'_>,
        name: &str,
        deadline: Option<Instant>,
        into: &mut SealedBytesBuilder,
    ) -> anyhow::Result<()> {
        let mut piece = vec![0; CHUNK];
        loop {
            if !wait(from, deadline)? {
                let seconds = self.timeout.unwrap_or_default().as_secs();
                bail!(console!(input_does_not_end, name, seconds));
            }
            match rustix::io::read(from, &mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => self.take(&piece[..n], into)?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(cannot_read(name, &errno.into())),
            }
        }
    }

    fn take(&self, bytes: &[u8], into: &mut SealedBytesBuilder) -> anyhow::Result<()> {
        let largest = self.max_size;
        ensure!(
            into.len() + bytes.len() as u64 <= largest,
            console!(input_too_large, name = self.names(), limit = largest)
        );
        into.push(bytes).context(console!(cannot_allocate_content))
    }

    /// For messages.
    pub(crate) fn names(&self) -> String {
        let name = |path: &PathBuf| {
            if is_stdin(path) { console!(standard_input).to_string() } else { path.display().to_string() }
        };
        self.files.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// Waits until there is something to read, or its end. Returns false at the deadline.
fn wait(from: BorrowedFd<'_>, deadline: Option<Instant>) -> anyhow::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // The option's maximum is a year, which fits.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(from, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(console!(cannot_wait_for_input)),
        }
    }
}

fn cannot_read(name: &str, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => text!(advice_check_path),
        io::ErrorKind::PermissionDenied => text!(advice_may_not_read),
        _ => text!(advice_other_file),
    };
    anyhow::anyhow!(console!(cannot_read_input, name, %error, advice))
}
