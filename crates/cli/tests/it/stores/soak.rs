//! Two thousand downloads out of a store that fails now and then, by clients of all speeds that
//! break off and go on.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::{Duration, Instant};

use bytes::Bytes;
use outflow_testkit::needs;
use outflow_testkit::s3::{Double, FaultPlan, SeededFaults};
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    HttpClient, Random, Server, StoreAccess as _, assert_same, noise, output, program, python, until,
};

const DOWNLOADS: u64 = 2_000;
const CLIENTS: usize = 32;
/// Requests that meet a fault.
const FAULTS: f64 = 0.05;
/// Memory for the server's segments, in MiB: little enough to be used up.
const MEMORY: u64 = 48;
const LARGEST: f64 = 8.0 * 1024.0 * 1024.0;
/// Tries of one download before something has to be wrong.
const TRIES: u32 = 60;

/// What can be downloaded, and its bytes under each tag that it may come with.
struct Target {
    path: String,
    forms: HashMap<String, Bytes>,
    /// The tag of a form that is only made for those who ask for it.
    older: Option<String>,
}

/// What the clients met.
#[derive(Default)]
struct Sums {
    bytes: AtomicU64,
    breaks: AtomicU64,
    cuts: AtomicU64,
    refusals: AtomicU64,
}

/// Between 1 and `most` bytes, of each order of magnitude as often.
fn size(random: &mut Random, most: f64) -> usize {
    let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    most.powf(share) as usize
}

/// Puts a transfer whose CRC-32s are known, and the same with unknown ones.
fn put(double: &Double, id: &str, files: &BTreeMap<String, Bytes>) {
    for (id, has_crcs) in [(format!("{id}-known"), true), (format!("{id}-unknown"), false)] {
        let list = files.iter().map(|(name, bytes)| {
            let etag = double.put(&format!("soak/{id}/{name}"), bytes.clone());
            let mut file =
                json!({"name": name, "key": name, "size": bytes.len(), "etag": format!("\"{etag}\"")});
            if has_crcs {
                file["crc32"] = format!("{:08x}", crc32fast::hash(bytes)).into();
            }
            file
        });
        let list: Vec<Value> = list.collect();
        let manifest = json!({"version": 1, "id": id, "created": "2026-11-01T09:30:00Z", "files": list});
        double.put(&format!("soak/{id}/manifest.json"), manifest.to_string().into_bytes());
    }
}

/// One transfer of files for themselves, and nine to be taken as a whole, of 3 to 60 files.
fn fill(double: &Double) -> BTreeMap<String, BTreeMap<String, Bytes>> {
    let mut random = Random::new(1);
    let mut transfers = BTreeMap::new();
    for (number, count) in [40, 3, 5, 9, 14, 20, 28, 37, 48, 60].into_iter().enumerate() {
        let files = (0..count).map(|file| {
            let most = if number == 0 || file == 2 { LARGEST } else { 512.0 * 1024.0 };
            let bytes = noise(random.next(), size(&mut random, most));
            (format!("f{file:02}.bin"), Bytes::from(bytes))
        });
        let files = files.collect();
        put(double, &format!("t{number}"), &files);
        transfers.insert(format!("t{number}"), files);
    }
    transfers
}

/// The archive is sound, and has these files.
fn assert_is_zip_of(archive: &[u8], files: &BTreeMap<String, Bytes>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.zip");
    std::fs::write(&path, archive).unwrap();
    output(python("check_zip.py").arg(&path));
    output(program("unzip").arg("-q").arg(&path).arg("-d").arg(dir.path()));
    for (name, bytes) in files {
        assert_same(&std::fs::read(dir.path().join(name)).unwrap(), bytes, name);
    }
}

/// Everything that can be downloaded, with what has to come, learnt while nothing fails.
fn targets(
    server: &Server,
    transfers: &BTreeMap<String, BTreeMap<String, Bytes>>,
) -> (Vec<Target>, Vec<Target>) {
    let (mut singles, mut archives) = (Vec::new(), Vec::new());
    let mut client = server.client();
    for (id, files) in transfers {
        for id in [format!("{id}-known"), format!("{id}-unknown")] {
            if id.starts_with("t0") {
                for (name, bytes) in files {
                    let path = format!("/t/{id}/{name}");
                    let etag = client.fetch("HEAD", &path, "").expect(200).header("etag").to_owned();
                    singles.push(Target { path, forms: HashMap::from([(etag, bytes.clone())]), older: None });
                }
                continue;
            }
            let path = format!("/t/{id}/?zip");
            let mut target = Target { path, forms: HashMap::new(), older: None };
            loop {
                let reply = client.get(&target.path).expect(200);
                let etag = reply.header("etag").to_owned();
                assert_is_zip_of(&reply.body, files);
                target.forms.insert(etag.clone(), reply.body.into());
                let next = client.fetch("HEAD", &target.path, "").expect(200).header("etag").to_owned();
                if next == etag {
                    break;
                }
                target.older = Some(etag);
            }
            archives.push(target);
        }
    }
    (singles, archives)
}

/// Takes a target whole, whatever happens; compares every byte with what has to come.
fn download(server: &Server, target: &Target, random: &mut Random, may_break: bool, sums: &Sums) {
    let (mut at, mut total) = (0, u64::MAX);
    // Some go on with a form that others do not get any more.
    let mut etag = target.older.clone().filter(|_| random.below(2) == 0);
    let longest = target.forms.values().map(Bytes::len).max().unwrap() as u64;
    // Bytes each second; nobody takes longer than some seconds.
    let rate = match random.below(10) {
        0..6 => u64::MAX,
        6..9 => (4 << 20).max(longest / 2),
        _ => (256 << 10).max(longest / 3),
    };
    let mut piece = vec![0; if rate == u64::MAX { 256 * 1024 } else { 32 * 1024 }];
    for _ in 0..TRIES {
        let mut client =
            if rate == u64::MAX { server.client() } else { HttpClient::connect_narrow(server.addr, 4096) };
        let lines = match &etag {
            Some(etag) if at > 0 => format!("Range: bytes={at}-\r\nIf-Range: {etag}\r\n"),
            Some(etag) => format!("If-Match: {etag}\r\n"),
            None => String::new(),
        };
        client.request("GET", &target.path, &lines);
        let Ok(head) = client.try_head() else {
            sums.cuts.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if matches!(head.status, 502 | 503) {
            sums.refusals.fetch_add(1, Ordering::Relaxed);
            // As who is told to try again later does, only sooner: otherwise all tries are over
            // within one bad moment.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        assert_eq!(head.status, if at > 0 { 206 } else { 200 }, "{}: {:?}", target.path, head.headers);
        let tag = etag.get_or_insert_with(|| head.header("etag").to_owned()).clone();
        assert_eq!(head.header("etag"), tag, "{}", target.path);
        let expected =
            target.forms.get(&tag).unwrap_or_else(|| panic!("{}: another form: {tag}", target.path));
        total = expected.len() as u64;
        assert_eq!(head.length(), total - at, "{}", target.path);
        let stop =
            if may_break && random.below(3) == 0 { at + random.below(total - at + 1) } else { u64::MAX };
        let (began, from) = (Instant::now(), at);
        while at < total && at < stop {
            // What came together with the head lies in the client.
            let n = match client.read(&mut piece) {
                Ok(n) if n > 0 => n,
                _ => {
                    sums.cuts.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            };
            let here = at as usize;
            assert!(n as u64 <= total - at, "{}: more than was announced", target.path);
            assert_same(&piece[..n], &expected[here..here + n], &format!("{} from {at}", target.path));
            at += n as u64;
            let due = Duration::from_secs_f64((at - from) as f64 / rate as f64);
            // As slow as this client is.
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        sums.bytes.fetch_add(at - from, Ordering::Relaxed);
        if at == total {
            return;
        }
        if at >= stop {
            sums.breaks.fetch_add(1, Ordering::Relaxed);
            if random.below(2) == 0 {
                client.reset();
            }
        }
    }
    panic!("{}: {at} of {total} bytes after {TRIES} tries", target.path);
}

/// The process's open sockets and other files, and what it has in memory, in KiB.
fn held(pid: Pid) -> (usize, usize, u64) {
    let (mut sockets, mut others) = (0, 0);
    for fd in std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap() {
        match std::fs::read_link(fd.unwrap().path()) {
            Ok(link) if link.to_string_lossy().starts_with("socket:") => sockets += 1,
            Ok(_) => others += 1,
            Err(_) => {}
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (sockets, others, resident.split_whitespace().next().unwrap().parse().unwrap())
}

/// Runs `count` downloads by some clients at the same time.
fn run(count: u64, clients: usize, job: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    job(number);
                }
            });
        }
    });
}

#[test]
fn no_byte_is_ever_wrong() {
    needs!("time");
    let double = Double::start().unwrap();
    let transfers = fill(&double);
    let access = double.access();
    let (singles, archives) = targets(&access.serve("soak").start(), &transfers);

    // A server that has to find out everything anew.
    let server = access.serve("soak").arg(format!("--segment-memory={MEMORY}MiB")).start();
    server.get("/t/t0-known/f00.bin").expect(200);
    let (sockets, others, resident) = held(server.pid());
    double.reset_stats();
    let seeded = SeededFaults { stall_ms: 300, ..SeededFaults::new(FAULTS, 42) };
    double.set_plan(FaultPlan { rules: Vec::new(), seeded: Some(seeded) });
    let sums = Sums::default();
    let began = Instant::now();
    run(DOWNLOADS, CLIENTS, |number| {
        let mut random = Random::new(number + 1000);
        let among = if random.below(4) == 0 { &archives } else { &singles };
        let target = &among[random.below(among.len() as u64) as usize];
        download(&server, target, &mut random, true, &sums);
    });
    let took = began.elapsed();

    let stats = double.stats();
    let number = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
    println!(
        "{DOWNLOADS} downloads, {} MiB in {took:.1?}; {} broken off by clients, {} cut, {} refused; faults: {:?}",
        number(&sums.bytes) >> 20,
        number(&sums.breaks),
        number(&sums.cuts),
        number(&sums.refusals),
        stats.faults
    );
    assert!(number(&sums.breaks) > DOWNLOADS / 10);
    assert!(stats.all_faults() > 100, "{:?}", stats.faults);
    // Faults alone end nobody's download: they are tried again behind the client's back.
    assert_eq!((number(&sums.cuts), number(&sums.refusals)), (0, 0));
    until("the server is at rest", || {
        let stats = double.stats();
        let (now, others_now, resident_now) = held(server.pid());
        // What is left is for the next requests: connections to the store, and pipes.
        let rests = stats.active == 0 && now <= sockets + stats.connections as usize;
        (rests && others_now <= others + 2 * 64 && resident_now < resident + (MEMORY + 48) * 1024)
            .then_some(())
    });
    assert!(
        !server.log().iter().any(|line| line.contains(&access.secret) || line.contains("X-Amz-Signature"))
    );
}
