//! CRC-32s: computed once, remembered, and never of a file that changed.

use std::sync::Arc;

use outflow_catalog::{Background, CrcCache, Fingerprint, Memo, Opened, Root, Tree, WalkLimits, WalkScope};
use outflow_content::{SpanError, Wait};
use outflow_metrics::MetricRegistry;

use crate::{path, root};

/// A tree with the file `name` alone, and what the file is known by now.
fn tree_of(root: &Arc<Root>, name: &str) -> (Tree, Fingerprint) {
    let scope = WalkScope::Paths(vec![path(name)]);
    let tree = crate::walk(root, "", &scope, WalkLimits::default()).unwrap();
    let Opened::File(file) = root.open(&path(name), Wait::Yes).unwrap() else { panic!("no file") };
    let key = Fingerprint::of_file(&file.identity());
    assert_eq!(tree.fingerprint(0), key);
    (tree, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_ask_a_file_is_read_once() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = vec![7; 3_000_000];
    std::fs::write(temp.path().join("f"), &bytes).unwrap();
    let root = root(temp.path());
    let (tree, key) = tree_of(&root, "f");
    let cache = Arc::new(CrcCache::new(Memo::in_memory(10), &MetricRegistry::default()));
    let asking: Vec<_> = (0..8).map(|_| tokio::spawn(tree.compute_crc32(0, &cache))).collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap(), crc32fast::hash(&bytes));
    }
    assert_eq!(cache.version(), 1);
    assert_eq!(cache.get(key), Some(crc32fast::hash(&bytes)));
}

#[tokio::test]
async fn a_changed_file_is_an_error_and_is_not_remembered() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("f"), "before").unwrap();
    let root = root(temp.path());
    let (tree, key) = tree_of(&root, "f");
    std::fs::write(temp.path().join("f"), "and after").unwrap();
    let cache = Arc::new(CrcCache::new(Memo::in_memory(10), &MetricRegistry::default()));
    let answer = tree.compute_crc32(0, &cache).await;
    assert!(matches!(answer, Err(SpanError::Changed { .. })), "{answer:?}");
    assert_eq!((cache.version(), cache.get(key)), (0, None));
    // The next one to ask is not stuck behind the failure.
    let (tree, _) = tree_of(&root, "f");
    assert_eq!(tree.compute_crc32(0, &cache).await.unwrap(), crc32fast::hash(b"and after"));
}

#[tokio::test]
async fn an_asker_that_goes_away_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("f"), vec![1; 1_000_000]).unwrap();
    let root = root(temp.path());
    let (tree, _) = tree_of(&root, "f");
    let cache = Arc::new(CrcCache::new(Memo::in_memory(10), &MetricRegistry::default()));
    for _ in 0..20 {
        let mut asked = Box::pin(tree.compute_crc32(0, &cache));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await;
        drop((polled, asked));
    }
    assert_eq!(tree.compute_crc32(0, &cache).await.unwrap(), crc32fast::hash(&vec![1; 1_000_000]));
}

#[test]
fn two_processes_share_what_they_learn_at_their_next_start() {
    let temp = tempfile::tempdir().unwrap();
    let open =
        || CrcCache::new(Memo::open(temp.path(), "crc32-v1", 100).unwrap(), &MetricRegistry::default());
    let (one, two) = (open(), open());
    one.insert(Fingerprint::of(&[b"a"]), 1);
    two.insert(Fingerprint::of(&[b"b"]), 2);
    let three = open();
    assert_eq!(
        (three.get(Fingerprint::of(&[b"a"])), three.get(Fingerprint::of(&[b"b"]))),
        (Some(1), Some(2))
    );
}

#[test]
fn the_background_thread_learns_all_files_of_a_tree() {
    let temp = tempfile::tempdir().unwrap();
    for number in 0..20 {
        std::fs::write(temp.path().join(number.to_string()), number.to_string()).unwrap();
    }
    let root = root(temp.path());
    let tree = Arc::new(crate::walk(&root, "", &WalkScope::All, WalkLimits::default()).unwrap());
    let cache = Arc::new(CrcCache::new(Memo::in_memory(100), &MetricRegistry::default()));
    let background = Background::start(Arc::clone(&cache)).unwrap();
    assert!(background.enqueue(&tree));
    // The thread has nothing else to do, and each file is one more version.
    while cache.version() < 20 {
        std::thread::yield_now();
    }
    let (_, key) = tree_of(&root, "7");
    assert_eq!(cache.get(key), Some(crc32fast::hash(b"7")));
}
