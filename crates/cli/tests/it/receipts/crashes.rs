//! Servers that are killed at any moment, 200 times for each database, while clients download,
//! changes are committed and receivers are told.
//!
//! Clients behave as programs do that resume: what came before the connection broke is kept, and
//! the rest is asked for. To half of them it looks as if the machine had lost its power: they get
//! nothing more. The others get what the kernel of the machine had taken on, which may be all. One
//! thing no server can know: a client that has read all it wanted has no reason to come back, so if
//! the server was killed before it took note of the end, nobody will tell it. Such clients download
//! once more here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outflow_testkit::needs;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    FileTree, HttpClient, Ledger, Postgres, Random, Receiver, Setup, id_of, noise, once_each, output, until,
};

const KILLS: usize = 200;
/// Clients at the same time.
const CLIENTS: usize = 6;
/// Of two changes that are so far apart a thread has learned in this order.
const APART: Duration = Duration::from_millis(500);
/// Up to this length a beginning is noted together with its end: nothing that broke is known.
const HELD: u64 = 1 << 20;
/// A beginning that is so old has probably been noted: it is worth a try to resume.
const BEGUN: Duration = Duration::from_millis(400);
/// Further attempts of what a dead server was about to tell begin when its lease has ended, after
/// about a minute; what is due later than this is told because of a replay.
const SOON: Duration = Duration::from_secs(70);

#[test]
fn no_receipt_is_lost_or_told_as_two_things_however_often_sqlite_s_server_is_killed() {
    needs!("time");
    let folder = TempDir::new().unwrap();
    run(&format!("sqlite:{}", folder.path().join("ledger.sqlite").display()), 1);
}

#[test]
fn no_receipt_is_lost_or_told_as_two_things_however_often_postgresql_s_server_is_killed() {
    needs!("postgres", "time");
    let postgres = Postgres::start();
    run(&postgres.address(), 2);
}

/// What clients know of the servers.
struct World {
    /// Which life this is, and where it listens.
    now: Mutex<(usize, Option<SocketAddr>)>,
    /// No more downloads are begun.
    enough: AtomicBool,
    tasks: AtomicUsize,
    done: Mutex<Vec<Done>>,
    resumes: AtomicUsize,
}

/// A download that a client has all of.
struct Done {
    who: String,
    path: String,
    length: u64,
    /// What has to be noted for it to be complete: in which life it happened, and when. The end of
    /// each response that was read to its end, and the beginning of each that was resumed later.
    changes: Vec<(usize, Instant)>,
}

/// What there is to download.
struct Wanted {
    path: String,
    etag: String,
    length: u64,
}

/// How many threads serve in a life. One learns of changes in the order in which they happen; of
/// two, one may be held up.
fn threads(life: usize) -> usize {
    1 + life % 2
}

/// 200 lives of a server with that ledger.
fn run(address: &str, seed: u64) {
    let tree = FileTree::new();
    for number in 0..12 {
        tree.file(
            format!("{number}.bin"),
            noise(number, [100_000, 200_000, 400_000, 1_200_000, 1_600_000][(number % 5) as usize]),
        );
    }
    for number in 0..8 {
        tree.file(format!("folder/{number}.bin"), noise(100 + number, 50_000));
    }
    let cache = TempDir::new().unwrap();
    let wanted = wanted(&tree, &cache);
    let mut receiver = Receiver::start();
    let setup = |receiver: &Receiver, life: usize| {
        let threads = threads(life).to_string();
        receiver.of(Setup::of(tree.root())).cache(cache.path()).ledger(address).arg("--threads").arg(threads)
    };
    let world = World {
        now: Mutex::new((0, None)),
        enough: AtomicBool::new(false),
        tasks: AtomicUsize::new(0),
        done: Mutex::default(),
        resumes: AtomicUsize::new(0),
    };
    // Receipts that somebody has seen, and their events' ids.
    let mut seen = HashSet::new();
    let mut random = Random::new(seed);
    let begun = Instant::now();
    let last = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (world, wanted) = (&world, &wanted);
            let random = Random::new(seed * 100 + client as u64);
            scope.spawn(move || world.download_until_enough(wanted, client % 2 == 0, random));
        }
        let end_clients = EndClients(&world);
        for life in 0..KILLS {
            match life % 20 {
                9 => receiver.down(),
                12 => receiver.up(),
                _ => {}
            }
            let server = setup(&receiver, life).start();
            *world.now.lock().unwrap() = (life, Some(server.addr));
            // Most lives are too short for anything, some are long enough to be resumed.
            let long = random.below(4) == 0;
            let lasts = if long { 500 + random.below(800) } else { 20 + random.below(280) };
            // When a kill comes is up to chance.
            std::thread::sleep(Duration::from_millis(lasts));
            world.now.lock().unwrap().1 = None;
            let ledger = server.kill();
            if life % 25 == 0 {
                seen.extend(completed(&ledger));
            }
        }
        receiver.up();
        let server = setup(&receiver, KILLS).start();
        *world.now.lock().unwrap() = (KILLS, Some(server.addr));
        drop(end_clients);
        server
    });
    let killed_for = begun.elapsed();

    // Every download whose end could be noted has been; the others are begun again, and complete.
    let done = world.done.into_inner().unwrap();
    until("the last deliveries are noted", || {
        let known = by_recipient(&last.ledger);
        let mut late = done.iter().filter(|done| done.changes.iter().all(|(life, _)| *life == KILLS));
        late.all(|done| is_completed(&known, done)).then_some(())
    });
    let known = by_recipient(&last.ledger);
    let is_noted = |done: &Done| is_completed(&known, done);
    // Changes are noted in the order in which they happen: what a life has noted last.
    let mut noted: HashMap<usize, Instant> = HashMap::new();
    for done in done.iter().filter(|done| is_noted(done)) {
        for (life, at) in &done.changes {
            noted.entry(*life).and_modify(|last| *last = (*last).max(*at)).or_insert(*at);
        }
    }
    let mut again = 0;
    for done in done.iter().filter(|done| !is_noted(done)) {
        let had_time = |(life, at): &(usize, Instant)| {
            threads(*life) == 1 && noted.get(life).is_some_and(|last| *last > *at + APART)
        };
        let all_had = done.changes.iter().all(had_time);
        assert!(
            !all_had,
            "later ones than {} of {} were noted: {:#?}",
            done.path,
            done.who,
            known.get(&done.who)
        );
        let reply = last.fetch("GET", &done.path, &format!("User-Agent: {}\r\n", done.who)).expect(200);
        assert_eq!(reply.length(), done.length);
        again += 1;
    }

    // All of it is told, by itself.
    let ledger = last.ledger.clone();
    until("all downloads are completed", || {
        let known = by_recipient(&ledger);
        done.iter().all(|done| is_completed(&known, done)).then_some(())
    });
    let replayed = await_told(&receiver, &ledger);
    drop(last.close());

    let downloads = ledger.downloads();
    let events = ledger.events();
    assert!(downloads.len() < 10_000 && events.len() < 10_000, "more than can be listed");
    for download in &downloads {
        assert_eq!(download["generation"], 1, "nobody downloaded twice what was complete: {download:#}");
    }
    let mut receipts: BTreeMap<&str, &str> = BTreeMap::new();
    let mut firsts = HashSet::new();
    for event in &events {
        match event["type"].as_str().unwrap() {
            "download.completed" => {
                let before = receipts.insert(id_of(event), event["id"].as_str().unwrap());
                assert_eq!(before, None, "completed twice: {event:#}");
            }
            "download.started" => assert!(firsts.insert(id_of(event)), "started twice: {event:#}"),
            _ => {}
        }
    }
    assert_eq!(downloads.iter().filter(|download| download["state"] == "completed").count(), receipts.len());
    assert!(receipts.len() >= done.len(), "{} receipts of {} downloads", receipts.len(), done.len());
    // Nothing that was seen is gone, and nothing has another name than it had.
    for (download, event) in &seen {
        assert_eq!(receipts.get(download.as_str()), Some(&event.as_str()), "the receipt of {download}");
    }
    let told = once_each(&receiver.told());
    let known: HashMap<&str, &Value> =
        events.iter().map(|event| (event["id"].as_str().unwrap(), event)).collect();
    for (id, told) in &told {
        let event = known.get(id.as_str()).unwrap_or_else(|| panic!("{id} was told, and is gone: {told:#?}"));
        assert_eq!(told.body["data"], event["data"], "{id}");
    }
    let resumes = world.resumes.into_inner();
    println!(
        "{} downloads, {} events, {resumes} resumed after a crash, {again} downloaded again, {replayed} replayed; \
         {killed_for:?} of kills, {:?} in all",
        done.len(),
        events.len(),
        begun.elapsed()
    );
    assert!(done.len() >= KILLS && resumes >= KILLS / 10, "too little happened");
    assert!(!seen.is_empty() && done.len() - again >= KILLS / 4, "too little was noted");
}

/// Lets the clients end, also when a test fails.
struct EndClients<'a>(&'a World);

impl Drop for EndClients<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::SeqCst);
    }
}

/// What there is, with all CRC-32s known, so that it stays so.
fn wanted(tree: &FileTree, cache: &TempDir) -> Vec<Wanted> {
    let server = Setup::of(tree.root()).cache(cache.path()).ledger("none").start();
    server.know_crcs("/folder/?zip");
    let paths = (0..12).map(|number| format!("/{number}.bin")).chain(["/folder/?zip".to_owned()]);
    let wanted = paths.map(|path| {
        let head = server.fetch("HEAD", &path, "").expect(200);
        Wanted { etag: head.header("etag").to_owned(), length: head.length(), path }
    });
    let wanted = wanted.collect();
    server.stop();
    wanted
}

/// Each receipt, and its event.
fn completed(ledger: &Ledger) -> Vec<(String, String)> {
    let events = ledger.events_of("download.completed");
    events.iter().map(|event| (id_of(event).to_owned(), event["id"].as_str().unwrap().to_owned())).collect()
}

/// Downloads by their `User-Agent`: there is one of each.
fn by_recipient(ledger: &Ledger) -> HashMap<String, Value> {
    let downloads = ledger.downloads();
    let count = downloads.len();
    let by: HashMap<String, Value> = downloads
        .into_iter()
        .map(|download| (download["user_agent"].as_str().unwrap().to_owned(), download))
        .collect();
    assert_eq!(by.len(), count, "two downloads of one recipient");
    by
}

/// Whether its end is noted. One that has just ended may not even have its beginning noted.
fn is_completed(known: &HashMap<String, Value>, done: &Done) -> bool {
    known.get(&done.who).is_some_and(|download| download["state"] == "completed")
}

/// Waits until the receiver has taken every event. Returns how many had to be told by a replay,
/// because their next attempt is minutes away.
fn await_told(receiver: &Receiver, ledger: &Ledger) -> usize {
    let deadline = Instant::now() + SOON;
    let missing = || {
        let told = once_each(&receiver.told());
        let mut events = ledger.events();
        events.retain(|event| !told.contains_key(event["id"].as_str().unwrap()));
        events
    };
    let state = |id: &str| ledger.event(id)["sends"][0].clone();
    loop {
        let missing = missing();
        if missing.is_empty() {
            return 0;
        }
        if Instant::now() > deadline {
            break;
        }
        // Each look starts a program.
        std::thread::sleep(Duration::from_millis(500));
    }
    let mut replayed = 0;
    for event in missing() {
        let id = event["id"].as_str().unwrap();
        let send = state(id);
        if send["state"] == "waiting" {
            // For its third attempt, as the schedule has it: it is not forgotten.
            assert!(send["attempts"].as_u64().unwrap() >= 2 && send["next"].is_string(), "{id}: {send:#}");
            output(&mut ledger.outflow(&[
                "event",
                "replay",
                id,
                "--endpoint",
                send["endpoint"].as_str().unwrap(),
            ]));
            replayed += 1;
        }
        receiver.wait_taken(id);
    }
    replayed
}

impl World {
    fn download_until_enough(&self, wanted: &[Wanted], dies_at_once: bool, mut random: Random) {
        while !self.enough.load(Ordering::SeqCst) {
            let who = format!("client-{}", self.tasks.fetch_add(1, Ordering::SeqCst));
            let one = &wanted[random.below(wanted.len() as u64) as usize];
            let mut download =
                Downloading { world: self, wanted: one, who: &who, dies_at_once, random: &mut random };
            let changes = if download.random.below(4) == 0 {
                download.in_pieces()
            } else {
                download.range(0..one.length, true)
            };
            let done = Done { who, path: one.path.clone(), length: one.length, changes };
            self.done.lock().unwrap().push(done);
        }
    }
}

/// One client at one download.
struct Downloading<'a> {
    world: &'a World,
    wanted: &'a Wanted,
    who: &'a str,
    /// Nothing more comes of a server that was killed.
    dies_at_once: bool,
    random: &'a mut Random,
}

impl Downloading<'_> {
    /// In three ranges, in any order, each of which is begun again if it breaks.
    fn in_pieces(&mut self) -> Vec<(usize, Instant)> {
        let length = self.wanted.length;
        let mut pieces = [0..length / 3, length / 3..length / 3 * 2, length / 3 * 2..length];
        pieces.rotate_left(self.random.below(3) as usize);
        pieces.into_iter().flat_map(|piece| self.range(piece, false)).collect()
    }

    /// All of a range. If it breaks, it goes on where it was, or begins again. Returns what has to
    /// be noted of it.
    fn range(&mut self, range: Range<u64>, resume: bool) -> Vec<(usize, Instant)> {
        let mut changes = Vec::new();
        let mut from = range.start;
        loop {
            let (life, addr) = until("a server runs", || {
                let (life, addr) = *self.world.now.lock().unwrap();
                addr.map(|addr| (life, addr))
            });
            let opened = self.open(addr, from..range.end);
            let (begun, mut at) = (Instant::now(), from);
            match opened.and_then(|client| self.read(client, (life, addr), &mut at, range.end)) {
                Ok(()) => {
                    changes.push((life, Instant::now()));
                    return changes;
                }
                // What broke before its beginning was noted is unknown to all later servers.
                Err(_) if resume && self.wanted.length > HELD && at > from && begun.elapsed() > BEGUN => {
                    self.world.resumes.fetch_add(1, Ordering::SeqCst);
                    changes.push((life, begun));
                    from = at;
                }
                Err(_) => {}
            }
        }
    }

    /// Asks for a range, and reads the head of the response.
    fn open(&self, addr: SocketAddr, range: Range<u64>) -> io::Result<HttpClient> {
        let mut client = HttpClient::try_connect_narrow(addr, 4096)?;
        let Wanted { path, etag, length } = self.wanted;
        let lines = if range == (0..*length) {
            String::new()
        } else {
            format!("Range: bytes={}-{}\r\nIf-Range: {etag}\r\n", range.start, range.end - 1)
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nUser-Agent: {}\r\n{lines}\r\n", self.who);
        (&client.stream).write_all(request.as_bytes())?;
        let head = client.try_head()?;
        assert!(matches!(head.status, 200 | 206), "{}: {:?}", head.status, head.headers);
        assert_eq!((head.header("etag"), head.length()), (etag.as_str(), range.end - range.start), "{path}");
        Ok(client)
    }

    /// Reads a body up to `end`, and moves `at` to what has come.
    fn read(
        &mut self,
        mut client: HttpClient,
        (life, addr): (usize, SocketAddr),
        at: &mut u64,
        end: u64,
    ) -> io::Result<()> {
        let mut piece = [0; 8 * 1024];
        while *at < end {
            let n = client.read(&mut piece)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.dies_at_once && *self.world.now.lock().unwrap() != (life, Some(addr)) {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            *at += n as u64;
            // So slow that many are broken by the end of a server.
            std::thread::sleep(Duration::from_millis(self.random.below(8)));
        }
        Ok(())
    }
}
