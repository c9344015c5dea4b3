//! A real file as a source of spans: opened once, recognised by size and modified time.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outflow_content::{Content, Feed, FileSource, FileSpan, OpenFile, SpanError, Wait};
use tempfile::TempDir;

#[derive(Clone, Debug)]
pub(crate) struct TestFile(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    file: File,
    name: String,
    identity: (i64, i64, u64),
}

/// A folder of the test's own, with `bytes` in the file `name`. Its modified time is long ago, so
/// that any later one is another, however coarse the clock of the file system.
pub(crate) fn temp(name: &str, bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    let mut file = File::create(&path).expect("a file");
    file.write_all(bytes).expect("written");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("modified time");
    (folder, path)
}

impl TestFile {
    pub(crate) fn open(path: &Path) -> TestFile {
        let file = File::open(path).expect("a file to open");
        let identity = identity(&file).expect("fstat");
        TestFile(Arc::new(Opened { file, name: path.display().to_string(), identity }))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.identity.2
    }

    /// All of the file as a span.
    pub(crate) fn span(&self) -> FileSpan {
        FileSpan { file: Arc::new(self.clone()), offset: 0, len: self.len() }
    }

    /// All of the file as a content.
    pub(crate) fn content(&self) -> Content {
        Content::files([self.span()])
    }
}

// The fields' types differ between processor architectures.
#[allow(clippy::useless_conversion)]
fn identity(file: &File) -> Result<(i64, i64, u64), rustix::io::Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok((stat.st_mtime.into(), stat.st_mtime_nsec as i64, stat.st_size as u64))
}

impl OpenFile for Opened {
    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn verify(&self) -> Result<(), SpanError> {
        let now = identity(&self.file)
            .map_err(|errno| SpanError::Open { name: self.name.clone(), source: errno.into() })?;
        if now == self.identity {
            return Ok(());
        }
        Err(SpanError::Changed { name: self.name.clone(), how: "size or time".to_owned() })
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl FileSource for TestFile {
    fn open(&self, _: Wait) -> Result<Arc<dyn OpenFile>, SpanError> {
        self.0.verify()?;
        Ok(Arc::clone(&self.0) as Arc<dyn OpenFile>)
    }

    fn feed(&self, offset: u64, len: u64) -> Box<dyn Feed> {
        Box::new(Reader { file: self.clone(), offset, end: offset + len })
    }
}

struct Reader {
    file: TestFile,
    offset: u64,
    end: u64,
}

impl Feed for Reader {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, SpanError>>> {
        let mut chunk = vec![0; (self.end - self.offset).min(16 * 1024) as usize];
        let read = self.file.0.file.read_at(&mut chunk, self.offset);
        chunk.truncate(read.unwrap_or(0));
        self.offset += chunk.len() as u64;
        Poll::Ready((!chunk.is_empty()).then(|| Ok(chunk.into())))
    }
}
