//! Programs of all kinds.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::outbox::Memory;
use super::{Watch, event, until};
use crate::webhook::command::CommandSender;
use crate::webhook::sender::{AttemptOutcome, AttemptResult, EventSender};
use crate::webhook::start_with;

const LIMIT: Duration = Duration::from_secs(60);

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("script");
    fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{text}\n", folder.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn send(program: &CommandSender) -> AttemptResult {
    program.send(&event("evt_1"), Timestamp::now()).await
}

async fn answer_of(text: &str) -> (AttemptResult, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let result = send(&CommandSender::new(&script(folder.path(), text), LIMIT).ok().unwrap()).await;
    (result, folder)
}

/// A named pipe; read to its end when the last process that has it open is gone.
fn fifo(folder: &Path) -> fs::File {
    let path = folder.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap()
}

/// Reads the pipe to its end, when every writer has closed it.
async fn rest_of(mut fifo: fs::File) -> String {
    let mut text = String::new();
    let mut is_over = || match fifo.read_to_string(&mut text) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    };
    until(|| std::future::ready(is_over())).await;
    text
}

#[tokio::test]
async fn a_program_gets_one_line_and_the_end() {
    let (result, folder) = answer_of("cat > line; echo done; echo not for you >&2").await;
    assert_eq!(result, AttemptResult::new(AttemptOutcome::Delivered, "exit status 0"));
    assert_eq!(
        fs::read_to_string(folder.path().join("line")).unwrap(),
        "{\"id\":\"evt_1\",\"type\":\"download.completed\",\"timestamp\":\"2026-11-23T08:00:00.123Z\",\
         \"data\":{\"name\":\"ü.zip\",\"total\":18446744073709551615}}\n"
    );
}

#[tokio::test]
async fn a_programs_exit_status_decides_and_its_last_words_are_noted() {
    let (result, _folder) = answer_of("cat >/dev/null; seq 100000 >&2; echo 'it is full' >&2; exit 7").await;
    assert_eq!((result.outcome, result.brief.as_str()), (AttemptOutcome::Failed, "exit status 7"));
    assert!(
        result.note.starts_with("exit status 7: ") && result.note.ends_with("100000 it is full"),
        "{}",
        result.note
    );
    assert!(result.note.len() < 400, "{}", result.note.len());
    let (result, _folder) = answer_of("kill -9 $$").await;
    assert_eq!(result, AttemptResult::new(AttemptOutcome::Failed, "ended by signal 9"));
}

#[tokio::test]
async fn a_program_need_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let program = CommandSender::new(&script(folder.path(), "exec <&-; exit 0"), LIMIT).ok().unwrap();
    let mut large = event("evt_1");
    let text = format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 20));
    large.data = serde_json::value::RawValue::from_string(text).unwrap();
    assert_eq!(program.send(&large, Timestamp::now()).await.outcome, AttemptOutcome::Delivered);
}

#[tokio::test]
async fn a_program_that_is_too_slow_is_killed_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path());
    let text = "exec >fifo; (echo child; sleep 1000) & echo parent; sleep 1000";
    let program = CommandSender::new(&script(folder.path(), text), Duration::from_secs(3)).ok().unwrap();
    let result = send(&program).await;
    assert_eq!(result, AttemptResult::new(AttemptOutcome::Failed, "killed: it had not ended after 3s"));
    let said = rest_of(fifo).await;
    assert!(said.contains("child") && said.contains("parent"), "{said}");
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_is_killed_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path());
    let text = "exec >fifo; (echo child; touch started; sleep 1000) & wait";
    let program = CommandSender::new(&script(folder.path(), text), LIMIT).ok().unwrap();
    let sending = tokio::spawn(async move { send(&program).await });
    until(async || folder.path().join("started").exists()).await;
    sending.abort();
    assert_eq!(rest_of(fifo).await, "child\n");
}

#[tokio::test]
async fn a_child_that_is_left_behind_does_not_hold_its_parent_up() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = fifo(folder.path());
    // The child has all of its parent's files, its standard error among them, until the fifo's
    // other end says so.
    let text = "mkfifo go; (read line <go; echo child >fifo) & echo oops >&2; exit 3";
    let program = CommandSender::new(&script(folder.path(), text), LIMIT).ok().unwrap();
    let result = send(&program).await;
    assert_eq!(result.note, "exit status 3: oops");
    fs::write(folder.path().join("go"), "\n").unwrap();
    until(async || {
        let mut byte = [0];
        matches!((&fifo).read(&mut byte), Ok(1))
    })
    .await;
}

#[tokio::test]
async fn a_program_that_vanishes_is_a_failure_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), "exit 0");
    let program = CommandSender::new(&path, LIMIT).ok().unwrap();
    fs::remove_file(&path).unwrap();
    let result = send(&program).await;
    assert_eq!(result.outcome, AttemptOutcome::Failed);
    assert!(result.note.contains("cannot start") && result.note.contains("No such file"), "{}", result.note);
}

#[tokio::test]
async fn programs_run_two_at_a_time_in_the_order_of_events() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
        mkdir "running.$$"
        set -- running.*
        echo "$#" >>counts
        sed 's/.*"id":"\([0-9]*\)".*/\1/' >>order
        rmdir "running.$$""#;
    let program = CommandSender::new(&script(folder.path(), text), LIMIT).ok().unwrap();
    let watch = Watch::new();
    let outbox = Arc::new(Memory::new(&watch));
    let count = 30;
    for n in 0..count {
        outbox.add("p", &n.to_string());
    }
    let workers = start_with(
        Arc::clone(&outbox) as Arc<Memory>,
        vec![("p".to_owned(), Arc::new(program) as Arc<dyn EventSender>)],
        watch.clock(),
        &Arc::default(),
        &Handle::current(),
    );
    until(async || outbox.waiting() == 0).await;
    workers.stop().await;
    let read = |name: &str| -> Vec<usize> {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    assert!(read("counts").iter().all(|count| *count <= 2), "{:?}", read("counts"));
    let order = read("order");
    assert_eq!(order.len(), count);
    for (place, id) in order.iter().enumerate() {
        // One program may be slow while the other continues.
        assert!(*id <= place + 1, "{order:?}");
    }
}
