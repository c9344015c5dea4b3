//! Ledgers that cannot be opened, written or reached: what is said, and that downloads go on.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use crate::support::{
    ChildProgram, FileTree, Postgres, Receiver, Server, Setup, assert_same, noise, output, program, until,
};
use outflow_testkit::needs;

const LEN: usize = 8 << 20;

fn tree() -> (FileTree, Vec<u8>) {
    let (tree, big) = (FileTree::new(), noise(1, LEN));
    tree.file("big.bin", &big);
    (tree, big)
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// The server does not begin, and says why.
#[track_caller]
fn assert_refused(setup: Setup, parts: &[&str]) {
    let (code, said) = setup.fail();
    assert_eq!(code, Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A whole download, now.
#[track_caller]
fn download(server: &Server, who: &str, bytes: &[u8]) {
    let reply = server.fetch("GET", "/big.bin", &format!("User-Agent: {who}\r\n")).expect(200);
    assert_same(&reply.body, bytes, who);
}

/// Another program that has an SQLite file to itself, until this is dropped.
struct Locked {
    input: Option<ChildStdin>,
    program: Option<ChildProgram>,
}

impl Locked {
    fn new(path: &Path) -> Locked {
        let script = "import sqlite3, sys\n\
                      c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
                      c.execute('PRAGMA locking_mode=EXCLUSIVE')\n\
                      c.execute('BEGIN EXCLUSIVE')\n\
                      c.execute('CREATE TABLE IF NOT EXISTS mine (x)')\n\
                      open(sys.argv[1] + '.locked', 'w').close()\n\
                      sys.stdin.read()\n\
                      c.execute('ROLLBACK')\n";
        let mut python = program("python3");
        python.args(["-c", script]).arg(path);
        let (program, input) = ChildProgram::start_with_input(&mut python);
        let mut mark = path.as_os_str().to_owned();
        mark.push(".locked");
        until("the file is locked", || fs::remove_file(PathBuf::from(&mark)).ok());
        Locked { input: Some(input), program: Some(program) }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Some(program) = self.program.take() {
            program.finish();
        }
    }
}

#[test]
fn a_ledger_that_another_program_has_locked_is_an_error_that_says_so() {
    needs!("python3");
    let (tree, _) = tree();
    let path = tree.beside("ledger.sqlite");
    let _locked = Locked::new(&path);
    let setup = Setup::of(tree.root()).ledger(sqlite(&path));
    assert_refused(setup, &[path.to_str().unwrap(), "another program has locked the file"]);
}

#[test]
fn a_ledger_that_is_locked_for_a_while_gets_its_receipts_afterwards() {
    needs!("python3");
    let (tree, big) = tree();
    let path = tree.beside("ledger.sqlite");
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).ledger(sqlite(&path)).start();
    download(&server, "before", &big);
    receiver.wait_for("download.completed", 1);
    // As `sqlite3` does that somebody has left open in a transaction.
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
                  c.execute('BEGIN IMMEDIATE')\n\
                  open(sys.argv[1] + '.locked', 'w').close()\n\
                  sys.stdin.read()\n";
    let mut python = program("python3");
    python.args(["-c", script]).arg(&path);
    let (python, input) = ChildProgram::start_with_input(&mut python);
    until("the file is locked", || path.with_extension("sqlite.locked").exists().then_some(()));
    for who in ["one", "two", "three"] {
        download(&server, who, &big);
    }
    // The server has tried to write that.
    server.log_line(&["another program has locked the file"]);
    assert_eq!(receiver.told_of("download.completed").len(), 1);
    drop(input);
    python.finish();
    receiver.wait_for("download.completed", 4);
    server.close().assert_completed(4);
}

#[test]
fn files_that_are_no_ledger_or_damaged_are_errors_that_say_so() {
    let (tree, big) = tree();
    let path = tree.beside("ledger.sqlite");
    fs::write(&path, "this is no database, but somebody's letter.\n".repeat(100)).unwrap();
    let setup = |path: &Path| Setup::of(tree.root()).ledger(sqlite(path));
    assert_refused(setup(&path), &[path.to_str().unwrap(), "not a ledger"]);
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is no database"), "it was overwritten");
    fs::remove_file(&path).unwrap();

    let server = setup(&path).start();
    download(&server, "anna", &big);
    server.stop();
    let len = fs::metadata(&path).unwrap().len();
    assert!(len > 20_000, "{len}");
    // Every page but the first.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xa5; len as usize - 4096], 4096).unwrap();
    assert_refused(setup(&path), &[path.to_str().unwrap(), "damaged"]);
    // Questions are answered alike.
    let list = setup_output(&path);
    assert!(list.contains("damaged"), "{list}");

    let folder = tree.beside("a folder");
    fs::create_dir(&folder).unwrap();
    assert_refused(setup(&folder), &[folder.to_str().unwrap()]);
}

fn setup_output(path: &Path) -> String {
    let output = crate::support::Ledger::at(sqlite(path)).outflow(&["download", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_ledger_that_may_not_be_written_is_an_error_that_says_so() {
    let (tree, big) = tree();
    let path = tree.beside("state/ledger.sqlite");
    fs::create_dir(tree.beside("state")).unwrap();
    let server = Setup::of(tree.root()).ledger(sqlite(&path)).start();
    download(&server, "anna", &big);
    server.stop();
    if !rustix::process::geteuid().is_root() {
        // Ours is ours: take the right away.
        let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        fs::set_permissions(&path, read_only).unwrap();
    }
    let setup = Setup::of(tree.root()).ledger(sqlite(&path)).unprivileged();
    assert_refused(setup, &[path.to_str().unwrap(), "write"]);

    let nowhere = Path::new("/proc/nothing/ledger.sqlite");
    assert_refused(Setup::of(tree.root()).ledger(sqlite(nowhere)), &["/proc/nothing"]);
    assert_refused(Setup::of(tree.root()).ledger("mysql://db/outflow"), &["mysql", "sqlite:PATH"]);
}

/// A file system in memory of a few hundred KiB; not without root's rights.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, size: &str) -> Option<Small> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        fs::create_dir(&at).unwrap();
        let mut mount = program("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at);
        let done = mount.output().unwrap();
        // A container may not.
        done.status.success().then_some(Small(at))
    }

    /// Takes all the room there is left.
    fn fill(&self) {
        let fill = fs::File::create(self.0.join("fill")).unwrap();
        let piece = [0; 1024];
        let mut at = 0;
        while fill.write_all_at(&piece, at).is_ok() {
            at += piece.len() as u64;
        }
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = program("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_no_download_and_loses_no_receipt() {
    let (tree, big) = tree();
    let Some(small) = Small::mount(tree.beside("small"), "2m") else { return };
    let path = small.0.join("ledger.sqlite");
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).ledger(sqlite(&path)).start();
    download(&server, "before", &big);
    receiver.wait_for("download.completed", 1);
    small.fill();
    for who in ["one", "two", "three"] {
        download(&server, who, &big);
    }
    server.log_line(&["the disk is full"]);
    small.clear();
    receiver.wait_for("download.completed", 4);
    server.close().assert_completed(4);

    // No room from the beginning.
    let other = small.0.join("other.sqlite");
    small.fill();
    assert_refused(Setup::of(tree.root()).ledger(sqlite(&other)), &["other.sqlite", "the disk is full"]);
}

#[test]
fn a_postgresql_that_is_not_there_is_an_error_that_says_so() {
    needs!("postgres");
    let (tree, _) = tree();
    let mut postgres = Postgres::start();
    let address = postgres.address();
    let missing = address.replace("/outflow?", "/nothing?");
    assert_refused(Setup::of(tree.root()).ledger(&missing), &["nothing"]);
    postgres.down();
    assert_refused(Setup::of(tree.root()).ledger(&address), &["cannot be reached", "is it running?"]);
    // A password is nobody's business.
    let secret = "postgres://outflow:hunter2@127.0.0.1:1/outflow";
    let (code, said) = Setup::of(tree.root()).ledger(secret).fail();
    assert_eq!(code, Some(1));
    assert!(!said.contains("hunter2") && said.contains("127.0.0.1"), "{said}");
}

#[test]
fn downloads_go_on_without_postgresql_and_are_noted_when_it_is_back() {
    needs!("postgres");
    let (tree, big) = tree();
    let mut postgres = Postgres::start();
    let receiver = Receiver::start();
    let server = receiver.of(Setup::of(tree.root())).ledger(postgres.address()).start();
    download(&server, "before", &big);
    receiver.wait_for("download.completed", 1);
    // One is under way when it ends, one begins meanwhile and is still under way when it is back.
    let mut under_way = server.client();
    let half = LEN / 2;
    under_way.request("GET", "/big.bin", "User-Agent: under way\r\n").head().expect(200);
    under_way.take(half).unwrap();
    postgres.down();
    for who in ["one", "two", "three"] {
        download(&server, who, &big);
    }
    let mut across = server.client();
    across.request("GET", "/big.bin", "User-Agent: across\r\n").head().expect(200);
    across.take(half).unwrap();
    assert_same(&under_way.take(LEN - half).unwrap(), &big[half..], "under way");
    server.log_line(&["WARN", "ledger"]);
    postgres.up();
    assert_same(&across.take(LEN - half).unwrap(), &big[half..], "across");
    drop((under_way, across));
    receiver.wait_for("download.completed", 6);
    server.close().assert_completed(6);
}

#[test]
fn new_downloads_are_refused_rather_than_receipts_lost() {
    needs!("postgres");
    let (tree, big) = tree();
    let mut postgres = Postgres::start();
    let receiver = Receiver::start();
    let setup = receiver.of(Setup::of(tree.root())).ledger(postgres.address());
    // Room for a beginning and an end each.
    let server = setup.env("OUTFLOW_LEDGER_BACKLOG", "8").start();
    postgres.down();
    for who in ["one", "two", "three", "four"] {
        download(&server, who, &big);
    }
    let mut client = server.client();
    let problem =
        client.fetch("GET", "/big.bin", "User-Agent: five\r\nAccept: application/json\r\n").expect(503);
    assert!(problem.text().contains("Try again"), "{}", problem.text());
    // What counts nothing is served all the same.
    client.fetch("HEAD", "/big.bin", "").expect(200);
    client.get("/").expect(200);
    server.log_line(&["the ledger cannot record more deliveries"]);
    postgres.up();
    receiver.wait_for("download.completed", 4);
    until("downloads are let in again", || {
        let reply = server.fetch("GET", "/big.bin", "User-Agent: five\r\n");
        (reply.status == 200).then_some(())
    });
    receiver.wait_for("download.completed", 5);
    server.close().assert_completed(5);
}

#[test]
fn questions_about_a_ledger_that_is_not_there_are_answered_clearly() {
    let tree = FileTree::new();
    let path = tree.beside("nothing.sqlite");
    for args in [&["download", "list"][..], &["event", "list"], &["download", "show", "dl_x"]] {
        let mut command = crate::support::Ledger::at(sqlite(&path)).outflow(args);
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing.sqlite") && said.contains("no ledger"), "{said}");
    }
    assert!(!path.exists(), "asking made one");
    let server = Server::of(tree.root());
    let list = server.ledger.run(&["download", "list"]);
    assert_eq!(list, "no downloads\n");
    let unknown = server.ledger.outflow(&["download", "show", "dl_nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no download dl_nothing"));
    output(&mut server.ledger.outflow(&["event", "list"]));
}
