//! The example as its users see it: what the client gets and what the program prints, on either
//! server.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The program, until it is dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Program {
    fn start(plain: bool, files: &[PathBuf]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_several_files"));
        if plain {
            command.arg("--plain");
        }
        let command = command.arg("127.0.0.1:0").args(files).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the example starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = lines.next().expect("a line").expect("text");
        let address = first.strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix('/'));
        let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
        Program { child, lines, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    /// A request's answer: its head in lower case, and its body.
    fn ask(&self, method: &str, lines: &str) -> (String, Vec<u8>) {
        let mut stream = self.connect();
        write!(stream, "{method} / HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).expect("text").to_lowercase(), body)
    }

    /// What is printed about one delivery of `total` bytes: checks the order and the sums, and
    /// gives back the line that says how it ended.
    fn ending(&mut self, total: u64) -> String {
        let mut next = || self.lines.next().expect("a line").expect("text");
        assert_eq!(next(), format!("started: {total} bytes to send"));
        let mut sum: u64 = 0;
        loop {
            let line = next();
            if line.starts_with("acked: ") {
                continue;
            }
            let Some(sent) = line.strip_prefix("sent: ") else {
                assert_eq!(next(), "cleanup");
                return line;
            };
            let (now, _) = sent.split_once(' ').expect("a number");
            sum += now.parse::<u64>().expect("a number");
            assert_eq!(line, format!("sent: {now} bytes, {sum} in all"));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

/// Three files, small and large, and all of their bytes in order.
fn files(folder: &Path) -> (Vec<PathBuf>, Vec<u8>) {
    let mut all = Vec::new();
    let paths = [5, 3_000_000, 70_000].iter().enumerate().map(|(i, len)| {
        let bytes: Vec<u8> =
            (0..*len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> (8 + i)) as u8).collect();
        let path = folder.join(format!("file {i}"));
        std::fs::write(&path, &bytes).expect("written");
        all.extend_from_slice(&bytes);
        path
    });
    (paths.collect(), all)
}

fn delivers_all_files_as_one(plain: bool) {
    // Only the engine sees what becomes of the bytes behind the kernel.
    let evidence = if plain { "Sent" } else { "Confirmed" };
    let folder = tempfile::tempdir().expect("a folder");
    let (paths, all) = files(folder.path());
    let mut program = Program::start(plain, &paths);

    let (head, body) = program.ask("GET", "");
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-length: 3070005\r\n"), "{head}");
    assert!(head.contains("filename=\"several.bin\""), "{head}");
    assert!(body == all, "{} bytes that are not the files'", body.len());
    assert_eq!(program.ending(3_070_005), format!("completed: 3070005 bytes, {evidence}"));

    // Across the border between two files.
    let (head, body) = program.ask("GET", "Range: bytes=2999999-3000010\r\n");
    assert!(head.starts_with("http/1.1 206 partial content\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-range: bytes 2999999-3000010/3070005\r\n"), "{head}");
    assert_eq!(body, all[2_999_999..3_000_011]);
    assert_eq!(program.ending(12), format!("completed: 12 bytes, {evidence}"));

    // Nothing is delivered by a HEAD, so the next lines are those of the GET behind it.
    let (head, body) = program.ask("HEAD", "");
    assert!(head.contains("\r\ncontent-length: 3070005\r\n"), "{head}");
    assert_eq!(body, b"");
    assert_eq!(program.ask("GET", "Range: bytes=-70000\r\n").1, all[3_000_005..]);
    assert_eq!(program.ending(70_000), format!("completed: 70000 bytes, {evidence}"));
}

fn tells_of_a_client_that_goes_away(plain: bool) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large");
    std::fs::File::create(&path).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    let mut program = Program::start(plain, &[path]);
    let mut stream = program.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    stream.read_exact(&mut [0; 100_000]).expect("the first bytes");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("linger");
    drop(stream);
    program.ending(64 << 20)
}

#[test]
fn the_engine_delivers_all_files_as_one() {
    delivers_all_files_as_one(false);
}

#[test]
fn plain_axum_delivers_all_files_as_one() {
    delivers_all_files_as_one(true);
}

#[test]
fn the_engine_tells_of_a_client_that_goes_away() {
    let line = tells_of_a_client_that_goes_away(false);
    assert!(line.starts_with("aborted: client disconnected: "), "{line}");
}

#[test]
fn plain_axum_tells_of_a_client_that_goes_away() {
    let line = tells_of_a_client_that_goes_away(true);
    assert!(line.starts_with("aborted: response was dropped after "), "{line}");
}

#[test]
fn without_arguments_it_sends_its_own_source() {
    let mut program = Program::start(false, &[]);
    let (_, body) = program.ask("GET", "");
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read(own.join(name)).expect("a file");
    assert!(body == [read("Cargo.toml"), read("src/bin/several_files.rs")].concat());
    assert_eq!(program.ending(body.len() as u64), format!("completed: {} bytes, Confirmed", body.len()));
}
