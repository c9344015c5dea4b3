//! Files that are what they were planned as, and files that are not any more.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use outflow_content::{FileSource as _, OpenFile as _, SpanError, Wait};
use outflow_fs::{ExpectedFile, LocalFile, OpenErrorKind, Opened, Root, RootOptions};

use crate::{path, root};

fn open(root: &Root, name: &str) -> LocalFile {
    match root.open(&path(name), Wait::Yes).unwrap() {
        Opened::File(file) => file,
        Opened::Folder(_) => panic!("{name} is a folder"),
    }
}

fn lazy(root: &Arc<Root>, name: &str) -> ExpectedFile {
    let file = open(root, name);
    let identity = file.identity();
    ExpectedFile::new(Arc::clone(root), path(name), identity.size, identity.modified(), identity.inode_hash())
}

async fn all(source: &dyn outflow_content::FileSource, offset: u64, len: u64) -> Result<Vec<u8>, SpanError> {
    let mut feed = source.feed(offset, len);
    let mut bytes = Vec::new();
    while let Some(chunk) = poll_fn(|cx| feed.poll_next(cx)).await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_feed_has_exactly_the_bytes_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(temp.path().join("f"), &bytes).unwrap();
    let root = root(temp.path());
    let file = open(&root, "f");
    for (offset, len) in [(0, 700_000), (1, 1), (262_143, 2), (262_144, 262_144), (699_999, 1), (5, 0)] {
        let expected = &bytes[offset as usize..(offset + len) as usize];
        assert_eq!(all(&file, offset, len).await.unwrap(), expected);
        assert_eq!(all(&lazy(&root, "f"), offset, len).await.unwrap(), expected);
    }
    assert!(matches!(all(&file, 699_990, 20).await, Err(SpanError::Truncated { missing: 10, .. })));
}

/// The same without a runtime, and so without a thread that may block: an attempt to use one
/// panics.
fn all_at_once(
    source: &dyn outflow_content::FileSource,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, SpanError> {
    let mut feed = source.feed(offset, len);
    let mut bytes = Vec::new();
    loop {
        match feed.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(chunk)) => bytes.extend_from_slice(&chunk?),
            Poll::Ready(None) => return Ok(bytes),
            Poll::Pending => panic!("a feed waits"),
        }
    }
}

/// Whether the byte at `offset` is in the page cache. Not every file system says so.
fn is_cached(file: &LocalFile, offset: u64) -> bool {
    let mut byte = [0];
    let into = &mut [IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file.fd(), into, offset, rustix::io::ReadWriteFlags::NOWAIT) == Ok(1)
}

/// Takes the file out of the page cache, where the file system can do without it.
fn cool(file: &LocalFile) {
    rustix::fs::fsync(file.fd()).unwrap();
    rustix::fs::fadvise(file.fd(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[test]
fn what_is_in_the_page_cache_needs_no_other_thread() {
    let temp = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(temp.path().join("f"), &bytes).unwrap();
    let root = root(temp.path());
    let (file, lazy) = (open(&root, "f"), lazy(&root, "f"));
    assert!(is_cached(&file, 0), "the file system has to support RWF_NOWAIT for this test");
    for (offset, len) in [(0, 700_000), (1, 1), (262_143, 2), (5, 0)] {
        let expected = &bytes[offset as usize..(offset + len) as usize];
        assert_eq!(all_at_once(&file, offset, len).unwrap(), expected);
        assert_eq!(all_at_once(&lazy, offset, len).unwrap(), expected);
    }
    // Changes are found here, too.
    std::fs::write(temp.path().join("f"), &bytes[1..]).unwrap();
    assert!(matches!(all_at_once(&file, 0, 10), Err(SpanError::Changed { .. })));
    assert!(matches!(all_at_once(&lazy, 0, 10), Err(SpanError::Changed { .. })));
}

#[tokio::test]
async fn what_is_not_in_the_page_cache_is_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(temp.path().join("f"), &bytes).unwrap();
    let root = root(temp.path());
    let (file, lazy) = (open(&root, "f"), lazy(&root, "f"));
    for (offset, len) in [(0, 700_000), (300_000, 300_000), (699_999, 1)] {
        let expected = &bytes[offset as usize..(offset + len) as usize];
        // With nothing at all there, and with the first bytes only.
        for warm in [0, 4096] {
            for source in [&file as &dyn outflow_content::FileSource, &lazy] {
                cool(&file);
                rustix::io::pread(file.fd(), &mut vec![0; warm], offset).unwrap();
                assert_eq!(all(source, offset, len).await.unwrap(), expected, "{offset}, {warm}");
            }
        }
    }
    // Asked too early, whether or not it waits then: no byte is lost.
    cool(&file);
    let mut feed = file.feed(0, 700_000);
    let mut chunk = feed.poll_next(&mut Context::from_waker(Waker::noop()));
    if chunk.is_pending() {
        chunk = Poll::Ready(poll_fn(|cx| feed.poll_next(cx)).await);
    }
    let Poll::Ready(Some(Ok(chunk))) = chunk else { panic!("{chunk:?}") };
    assert_eq!(chunk, bytes[..chunk.len()]);
    cool(&file);
    assert!(matches!(all(&file, 699_990, 20).await, Err(SpanError::Truncated { missing: 10, .. })));
    // Cut while it is being read.
    let mut feed = file.feed(0, 700_000);
    let first = poll_fn(|cx| feed.poll_next(cx)).await.unwrap().unwrap().len() as u64;
    let end = first + 1000;
    std::fs::File::options().write(true).open(temp.path().join("f")).unwrap().set_len(end).unwrap();
    cool(&file);
    let cut = poll_fn(|cx| feed.poll_next(cx)).await.unwrap();
    let Err(SpanError::Truncated { offset, missing, .. }) = cut else { panic!("{cut:?}") };
    assert_eq!((offset, missing), (end, 700_000 - end));
    assert!(poll_fn(|cx| feed.poll_next(cx)).await.is_none());
}

#[test]
fn whatever_changes_the_bytes_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().join("f");
    let root = root(temp.path());
    let changed = |change: &dyn Fn()| {
        std::fs::write(&at, "0123456789").unwrap();
        let (file, lazy) = (open(&root, "f"), lazy(&root, "f"));
        file.verify().unwrap();
        lazy.open(Wait::Yes).unwrap();
        change();
        (file.verify().is_err(), lazy.open(Wait::Yes).is_err())
    };
    let write = |bytes: &str| std::fs::write(&at, bytes).unwrap();
    assert_eq!(changed(&|| write("01234567890")), (true, true), "grown");
    assert_eq!(changed(&|| write("0")), (true, true), "shrunk");
    assert_eq!(changed(&|| write("9876543210")), (true, true), "written to");
    // The open file keeps its bytes; the name is another file's.
    let replace = || {
        std::fs::write(temp.path().join("new"), "9876543210").unwrap();
        std::fs::rename(temp.path().join("new"), &at).unwrap();
    };
    assert_eq!(changed(&replace), (false, true), "replaced");
    assert_eq!(changed(&|| std::fs::remove_file(&at).unwrap()), (false, true), "deleted");
    // Written to, and the time set back: the inode's own time tells.
    let forge = || {
        let file = std::fs::File::options().write(true).open(&at).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        std::io::Write::write_all(&mut &file, b"9876543210").unwrap();
        file.set_modified(before).unwrap();
    };
    assert!(changed(&forge).0, "forged");
}

#[test]
fn what_is_no_file_says_what_it_is() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("folder")).unwrap();
    let root = root(temp.path());
    assert!(matches!(root.open(&path("none"), Wait::Yes).unwrap_err().kind, OpenErrorKind::NotFound));
    assert!(matches!(
        root.open(&path("folder/none/x"), Wait::Yes).unwrap_err().kind,
        OpenErrorKind::NotFound
    ));
    assert!(matches!(root.open(&path("folder"), Wait::Yes).unwrap(), Opened::Folder(_)));
    let missing = Root::new(&temp.path().join("none"), RootOptions::default()).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    let device = Root::new(std::path::Path::new("/dev/null"), RootOptions::default()).unwrap_err();
    assert_eq!(device.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn the_root_stays_the_folder_that_was_opened() {
    let temp = tempfile::tempdir().unwrap();
    let (old, new) = (temp.path().join("old"), temp.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("f"), "first").unwrap();
    let root = root(&old);
    std::fs::rename(&old, &new).unwrap();
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("f"), "another").unwrap();
    assert_eq!(open(&root, "f").size(), 5);
    assert_eq!(open(&root, "f").identity().ino, std::fs::metadata(new.join("f")).unwrap().ino());
}
