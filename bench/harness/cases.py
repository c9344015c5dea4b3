"""The cases: what is loaded, what is measured, and what must hold. CASES is the table; the functions above it are
the few kinds of load that its rows use.

A kind takes the rig, a running server, and the row's parameters, and returns a dict of figures. Some names are common:
`load` is the share of its core that the load generator used (near 1.0 the load, not the server, was the limit), `others`
and `others_beside_load` the share of the server's and the load's core that went to somebody else's work.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Set, Tuple, Union

from . import load, measure, trees
from .peers import LEDGER, Server, Tls
from .stores import PREFIX, Spec, Store, objects

Figures = Dict[str, float]


@dataclass
class Rig:
    """What a load needs to know about the machine and the run."""

    server_core: int
    load_core: int
    root: Path = Path()  # the tree of the running case
    store: Optional[Store] = None  # the store behind the server, on the load's core
    ledger_bench: Path = Path()  # the program that loads the ledger alone
    handshakes: Path = Path()  # the program that makes TLS handshakes
    channels: Path = Path()  # the program that subscribes
    tls: Optional[Tls] = None  # the certificate of servers that speak TLS
    first: bool = True  # whether this is the first round of the case

    @property
    def load_cores(self) -> Set[int]:
        return {self.load_core}

    def window(self, server: Server) -> measure.Window:
        store = self.store.server.pid if self.store else None
        return measure.Window(server.pid, self.server_core, self.load_core, store)

    @staticmethod
    def company(window: measure.Window, load_cpu: float, load_seconds: float) -> Figures:
        """How busy the load generator (and the store) was, and how much of both cores went to somebody else's work."""
        load_cpu += window.store_cpu
        return {
            "load": load_cpu / load_seconds, "busy": window.busy, "others": window.others,
            "others_beside_load": max(0.0, window.load_busy - load_cpu) / window.seconds,
        }


# --- kinds of load -----------------------------------------------------------------------------------------------


def hot(rig: Rig, server: Server, file: str, size: int, seconds: float, by: str = "wrk") -> Figures:
    """64 connections ask for one file again and again."""
    trees.warm(rig.root)
    generator = {"wrk": load.wrk, "sink": load.sink}[by]
    generator(server, file, size, 1, 64, rig.load_cores)
    with rig.window(server) as window:
        got = generator(server, file, size, seconds, 64, rig.load_cores)
    return {
        "requests_per_s": got["requests"] / got["seconds"],
        "cpu_us_per_request": window.cpu / got["requests"] * 1e6,
        "load_cpu_us_per_request": got["cpu"] / got["requests"] * 1e6,
        "p50_us": got["p50_us"], "p99_us": got["p99_us"],
        **rig.company(window, got["cpu"], got["seconds"]),
    }


def download(
    rig: Rig, server: Server, path: str, connections: int, repeat: int, files: int = 0, copy: bool = False
) -> Figures:
    """Downloads that discard what they get, or copy it as downloaders do and so set the pace themselves."""
    trees.warm(rig.root)
    with rig.window(server) as window, load.Client(
        "download", rig.load_cores, server, path=path, connections=connections, repeat=repeat, copy=copy, timeout=100
    ) as client:
        got = client.finish()
    promised = int(load.head(server, path)["content-length"]) if server.peer.heads else got["length"]
    if got["bytes"] != promised * connections * repeat:
        raise load.LoadError(f"{path}: {got['bytes']} bytes, {promised} were promised each")
    gib = got["bytes"] / trees.GIB
    figures = {
        "mb_per_s": got["bytes"] / got["seconds"] / 1e6,
        "cpu_s_per_gib": window.cpu / gib, "load_cpu_s_per_gib": got["cpu"] / gib,
        **rig.company(window, got["cpu"], got["seconds"]),
    }
    if files:
        figures["files_per_s"] = files * connections * repeat / got["seconds"]
    return figures


def archive(rig: Rig, server: Server, path: str, files: int, repeat: int) -> Figures:
    """An archive whose CRCs are known: one full pass first, and a wait for its final form where there are two."""
    with load.Client(
        "download", rig.load_cores, server, path=path, connections=1, repeat=1, copy=False, timeout=100
    ) as client:
        client.finish()
    if server.peer.heads:
        load.wait_until_stored(server, path, files, timeout=60)
    elif rig.first:
        load.check_archive(server, path, files)
    return download(rig, server, path, 1, repeat, files)


def idle(rig: Rig, server: Server, file: str, size: int, connections: int, rest: float = 1) -> Figures:
    """Keep-alive connections that have made one request each and then rest."""
    trees.warm(rig.root)
    # Code pages and first-use allocations belong to the server, not to the connections.
    for _ in range(16):
        load.body(server, file)
    time.sleep(0.5)
    before = measure.memory(server.pid)
    with load.Client(
        "idle", rig.load_cores, server, path=file, connections=connections, length=size
    ) as client:
        client.wait_ready()
        time.sleep(rest)
        after, sockets = measure.memory(server.pid), measure.sockets(server.pid)
        held = client.finish()
    if sockets < connections or held["closed"]:
        raise load.LoadError(f"{server.peer.name}: {sockets} sockets, {held['closed']} of {connections} closed")
    figures = {f"{key}_bytes": (after[key] - before[key]) / connections for key in after}
    figures["total_pss_mib"] = after["pss"] / trees.MB
    return figures


def slow_archives(rig: Rig, server: Server, path: str, clients: int, rate: float, seconds: float) -> Figures:
    """Clients that take one archive slowly, all at the same time."""
    load.body(server, path, 0, 0)
    before = measure.memory(server.pid)["anonymous"]
    with load.Client(
        "paced", rig.load_cores, server, paths=[path] * clients, rate=rate, for_seconds=seconds, buffer=64 << 10, settle=10
    ) as client:
        client.wait_ready()
        after = measure.memory(server.pid)["anonymous"]
        got = client.finish()
    if not got["slowest"]:
        raise load.LoadError(f"{server.peer.name} {path}: a client got nothing")
    return {
        "peak_mib": measure.peak_rss(server.pid) / trees.MB, "anonymous_bytes": (after - before) / clients,
        "slowest_kb_per_s": got["slowest"] / 1e3,
    }


def rest(rig: Rig, server: Server, seconds: float) -> Figures:
    """Nobody asks for anything, after a few requests."""
    for _ in range(16):
        load.body(server, "/10k.bin")
    # What was asked for is recorded, and what could be forgotten is.
    time.sleep(15)
    woken, written = measure.wakeups(server.pid), measure.bytes_written(server.pid)
    time.sleep(seconds)
    return {
        "wakeups_per_s": (measure.wakeups(server.pid) - woken) / seconds,
        "written_bytes": measure.bytes_written(server.pid) - written,
    }


def cold(rig: Rig, server: Server, file: str, size: int, cold: int, rate: float, seconds: float) -> Figures:
    """wrk on a hot file, first alone, then while readers take cold files at `rate` bytes a second each."""
    files = [rig.root / f"cold-{n}.bin" for n in range(cold)]
    load.body(server, file)
    load.wrk(server, file, size, 1, 64, rig.load_cores)
    alone = load.wrk(server, file, size, seconds, 64, rig.load_cores)
    left = max(trees.evict(f) for f in files)
    if left > 0.1:
        raise load.LoadError(f"cold files would not leave the page cache ({left:.0%} still there)")
    disk = measure.disk_bytes_read(server.pid)
    with rig.window(server) as window, load.Client(
        "readers", rig.load_cores, server, paths=[f"/{f.name}" for f in files], rate=rate
    ) as client:
        client.wait_ready()
        among = load.wrk(server, file, size, seconds, 64, rig.load_cores)
        got = client.finish()
    disk = measure.disk_bytes_read(server.pid) - disk
    if got["started"] < cold:
        raise load.LoadError(f"only {got['started']} of {cold} cold readers got anything")
    if disk < got["bytes"] / 2:
        raise load.LoadError(f"readers got {got['bytes']} bytes but only {disk} came from the disk: not cold")
    return {
        "p99_alone_us": alone["p99_us"], "p99_among_us": among["p99_us"],
        "p99_growth": among["p99_us"] / alone["p99_us"],
        "requests_kept": (among["requests"] / among["seconds"]) / (alone["requests"] / alone["seconds"]),
        "cold_mb_per_s": got["bytes"] / got["seconds"] / 1e6, "disk_mb_per_s": disk / got["seconds"] / 1e6,
        "others": window.others,
    }


def peak(rig: Rig, server: Server, path: str, clients: int, piece: int, pieces: int, seconds: float) -> Figures:
    """Clients that read ranges spread over something huge, and leave in the midst of one."""
    with load.Client(
        "ranges", rig.load_cores, server, path=path, clients=clients, piece=piece, pieces=pieces, timeout=seconds
    ) as client:
        got = client.finish()
    if got["length"] < 100 * trees.GIB or got["bytes"] < clients * trees.MB:
        raise load.LoadError(f"{server.peer.name} {path}: {got}")
    return {
        "peak_mib": measure.peak_rss(server.pid) / trees.MB, "read_gib": got["bytes"] / trees.GIB,
        "gib_per_s": got["bytes"] / trees.GIB / got["seconds"], "completed": got["completed"],
    }


# --- kinds of load on a store --------------------------------------------------------------------------------------


def first_byte(rig: Rig, server: Server, pause: float) -> Figures:
    """One client that asks for each of the objects in turn, with pauses."""
    trees.warm(rig.root)
    paths = [PREFIX + file.name for file in objects(rig.root)]
    load.body(server, paths[0])  # the first request fetches the manifest
    with rig.window(server) as window, load.Client(
        "one_by_one", rig.load_cores, server, paths=paths, pause=pause
    ) as client:
        got = client.finish()
    return {
        "first_p50_us": got["first_p50_us"], "first_p99_us": got["first_p99_us"], "whole_p50_us": got["whole_p50_us"],
        "cpu_us_per_request": window.cpu / got["requests"] * 1e6, "others": window.others,
    }


def slow(rig: Rig, server: Server, rate: float, seconds: float) -> Figures:
    """A slow client for each object, all at the same time."""
    trees.warm(rig.root)
    paths = [PREFIX + file.name for file in objects(rig.root)]
    port = rig.store.server.port
    with rig.window(server) as window, measure.Most(lambda: measure.established(port)) as most, load.Client(
        "paced", rig.load_cores, server, paths=paths, rate=rate, for_seconds=seconds, buffer=128 << 10
    ) as client:
        got = client.finish()
    if not most.value:
        raise load.LoadError("no connection to the store was ever seen")
    return {
        "peak_mib": measure.peak_rss(server.pid) / trees.MB, "store_connections": most.value,
        "slowest_mb_per_s": got["slowest"] / 1e6, "median_mb_per_s": got["median"] / 1e6,
        "cpu_s_per_gib": window.cpu / (got["bytes"] / trees.GIB),
        **rig.company(window, got["cpu"], got["seconds"]),
    }


def small(rig: Rig, server: Server, path: str, sample: int) -> Figures:
    """One archive of all objects; before it, some of them one after the other from the store itself."""
    files = [file.name for file in objects(rig.root)]
    trees.warm(rig.root)
    with load.Client(
        "one_by_one", rig.load_cores, rig.store.server, paths=[rig.store.path(name) for name in files[:sample]], pause=0
    ) as client:
        single = client.finish()
    figures = download(rig, server, path, 1, 1, len(files))
    seconds = len(files) / figures["files_per_s"]
    # Reads the list at the archive's end: all entries are there, stored, with their CRC-32s.
    load.wait_until_stored(server, path, len(files), timeout=10)
    alone = single["seconds"] / single["requests"] * len(files)
    return {
        **figures, "seconds": seconds, "one_by_one_s": alone, "times_faster": alone / seconds,
        "peak_mib": measure.peak_rss(server.pid) / trees.MB, "store_connections": rig.store.most_connections(),
    }


def crowd(rig: Rig, server: Server, file: str, connections: int) -> Figures:
    """Clients that take one object at the same time."""
    size = (rig.root / "bench" / "files" / file).stat().st_size
    before = rig.store.bytes_sent(file)
    figures = download(rig, server, PREFIX + file, connections, 1)
    return {
        **figures, "store_bytes": (rig.store.bytes_sent(file) - before) / size,
        "peak_mib": measure.peak_rss(server.pid) / trees.MB, "store_connections": rig.store.most_connections(),
    }


# --- kinds of load on the ledger -----------------------------------------------------------------------------------


def settled(server: Server) -> int:
    """Waits until nothing more is written to the server's ledger, and says how many downloads are complete in it."""
    path = server.scratch / LEDGER
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as ledger:
        last, since = None, time.monotonic()
        # What a delivery without a next request waits for is over after 2 s; groups wait for 0.1 s at most.
        while time.monotonic() - since < 2.5:
            now = ledger.execute("SELECT (SELECT count(*) FROM downloads), (SELECT max(batch) FROM instances)").fetchone()
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return ledger.execute("SELECT count(*) FROM downloads WHERE state = 3").fetchone()[0]


def hot_noted(rig: Rig, server: Server, file: str, size: int, seconds: float) -> Figures:
    """64 connections ask for one file again and again. The CPU's time includes what is written after the last answer, and all
    answers have to be in the ledger as receipts."""
    trees.warm(rig.root)
    load.wrk(server, file, size, 1, 64, rig.load_cores)
    before = settled(server)
    with rig.window(server) as window:
        got = load.wrk(server, file, size, seconds, 64, rig.load_cores)
        receipts = settled(server) - before
    figures = {
        "requests_per_s": got["requests"] / got["seconds"],
        "cpu_us_per_request": window.cpu / got["requests"] * 1e6,
        "p50_us": got["p50_us"], "p99_us": got["p99_us"],
        "load": got["cpu"] / got["seconds"], "others": window.others,
    }
    if _has_ledger(server):
        if receipts < got["requests"]:
            raise load.LoadError(f"{got['requests']} requests, and {receipts} receipts\n{server.log()}")
        figures["receipts"] = receipts / got["requests"]
    return figures


def rare_noted(rig: Rig, server: Server, file: str, requests: int, pause: float) -> Figures:
    """One client asks for one file again and again, with pauses. Then once more, while its calls are counted."""
    trees.warm(rig.root)
    load.body(server, file)
    before = settled(server)
    written = measure.bytes_written(server.pid)
    with rig.window(server) as window:
        _one_by_one(rig, server, file, requests, pause)
        receipts = settled(server) - before
    written = measure.bytes_written(server.pid) - written
    figures = {"cpu_us_per_request": window.cpu / requests * 1e6, "written_bytes": written / requests}
    with measure.Calls(server.pid, ("fsync", "fdatasync")) as calls:
        _one_by_one(rig, server, file, requests, pause)
        settled(server)
    figures["syncs"] = calls.count / requests
    if _has_ledger(server) and receipts != requests:
        raise load.LoadError(f"{requests} requests, and {receipts} receipts\n{server.log()}")
    return figures


def _one_by_one(rig: Rig, server: Server, file: str, requests: int, pause: float) -> None:
    with load.Client("one_by_one", rig.load_cores, server, paths=[file] * requests, pause=pause) as client:
        client.finish()


def _has_ledger(server: Server) -> bool:
    return (server.scratch / LEDGER).exists()


def big_noted(rig: Rig, server: Server, path: str, connections: int, repeat: int) -> Figures:
    """Downloads that discard what they get, each of which has to be in the ledger as a receipt; the CPU's time includes
    writing it."""
    trees.warm(rig.root)
    before = settled(server)
    with rig.window(server) as window:
        with load.Client(
            "download", rig.load_cores, server, path=path, connections=connections, repeat=repeat, copy=False, timeout=100
        ) as client:
            got = client.finish()
        receipts = settled(server) - before
    wanted = connections * repeat
    if got["bytes"] != (rig.root / path[1:]).stat().st_size * wanted:
        raise load.LoadError(f"{path}: {got['bytes']} bytes in {wanted} downloads")
    if _has_ledger(server) and receipts != wanted:
        raise load.LoadError(f"{path}: {wanted} downloads, and {receipts} receipts\n{server.log()}")
    return {
        "mb_per_s": got["bytes"] / got["seconds"] / 1e6,
        "cpu_s_per_gib": window.cpu / (got["bytes"] / trees.GIB),
        "load": got["cpu"] / got["seconds"], "others": window.others,
    }


def ledger_alone(rig: Rig, server: Server) -> Figures:
    """The ledger without a server (`ledger-bench`), on the server's core, in a fresh file on the disk, synchronous=FULL:
    receipts in groups and with a commit each; merges into downloads of few and of many fragments, a commit each."""
    output = load.program([str(rig.ledger_bench)], {"BENCH_DIR": str(server.scratch)}, {rig.server_core}, timeout=300)
    rates = {
        "grouped_per_s": r"receipts in groups, each of another recipient +(\d+)/s",
        "same_per_s": r"receipts in groups, all of one recipient +(\d+)/s",
        "alone_per_s": r"receipts, one commit each +(\d+)/s",
        "cpu_us": r"each of another recipient .* (\d+\.\d) us",
        "few_per_s": r"merges into 10 fragments +(\d+)/s", "many_per_s": r"merges into 100000 fragments +(\d+)/s",
        "few_cpu_us": r"merges into 10 fragments .* (\d+\.\d) us",
        "many_cpu_us": r"merges into 100000 fragments .* (\d+\.\d) us",
    }
    found = {key: re.search(pattern, output) for key, pattern in rates.items()}
    missing = [key for key, match in found.items() if not match]
    if missing:
        raise load.LoadError(f"ledger-bench did not say {', '.join(missing)}:\n{output[-2000:]}")
    figures = {key: float(match.group(1)) for key, match in found.items()}
    figures["times"] = figures["grouped_per_s"] / figures["alone_per_s"]
    figures["merge"] = figures["few_per_s"] / figures["many_per_s"]
    figures["merge_cpu"] = figures["many_cpu_us"] / figures["few_cpu_us"]
    return figures


# --- the table ---------------------------------------------------------------------------------------------------

LOWER, HIGHER = "lower", "higher"


@dataclass(frozen=True)
class Metric:
    """One column of figures. `ratio` is the target for subject / reference, `limit` for the subject alone."""

    key: str
    label: str
    unit: str
    better: str
    ratio: Union[float, Dict[str, float], None] = None  # or one for each reference, "*" for the others
    limit: Optional[float] = None
    plot: str = ""  # the panel of the plot that shows its ratio; in published cases, anything: there is a panel of values
    best: Optional[float] = None  # the target for subject / the best of the others


PEERS, NOBODY = "peers", "nobody"
NGINXES = ("nginx", "nginx-tuned")


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    tree: str
    kind: Callable[..., Figures]
    params: dict
    metrics: List[Metric]
    short: str = ""  # the title where there is little room: in the plot
    quick: dict = field(default_factory=dict)  # parameters that --quick and the group `quick` change
    rounds: Optional[int] = None  # at most so many
    connections: int = 1024
    archives: bool = False  # only servers that make archives can take part
    against: str = PEERS  # who do the same, or NOBODY
    disk: int = 0  # bytes of real disk that the trees take
    group: str = "files"
    store: Optional[Spec] = None  # the store behind the server
    flags: Tuple[str, ...] = ()  # what it adds to Outflow's command
    congestion: str = ""  # another congestion control than the run's
    only: Tuple[str, ...] = ()  # the peers that take part; all, if empty
    # Published cases only:
    section: str = ""  # of the page
    needs: str = ""  # what a server must offer to take part
    file: str = ""  # the one file that is asked for
    tls: bool = False
    h2c: bool = False
    turn_seconds: float = 10  # about how long one server's turn takes
    remark: str = ""  # what the reader of its table has to know


def _hot(
    name: str, title: str, size: int, cpu: Optional[Tuple[float, float]] = None, rate: Optional[float] = None, **more
) -> Case:
    """`cpu`: at most so much of nginx's, and of the tuned one's. `rate`: at least so much of nginx's."""
    ratios = dict(zip(("nginx", "nginx-tuned"), cpu)) if cpu else None
    params = dict(file=f"/{name.split('-')[1]}.bin", size=size, seconds=4, **more.pop("params", {}))
    return Case(
        name, title, "hot", hot, params,
        [
            Metric("cpu_us_per_request", "server CPU per request", "us", LOWER, ratio=ratios, plot="cpu"),
            Metric("load_cpu_us_per_request", "client CPU per request", "us", LOWER),
            Metric("requests_per_s", "requests/s", "", HIGHER, ratio={"nginx": rate} if rate else None, plot="rate"),
            Metric("p50_us", "p50", "us", LOWER),
            Metric("p99_us", "p99", "us", LOWER, ratio={"nginx": 1.0} if rate else None, plot="p99"),
        ],
        quick=dict(seconds=2), disk=2 * trees.MB, only=NGINXES, **{"short": title.split(",")[0], **more},
    )


def _big(name: str, title: str, short: str, target: bool, params: dict, **more) -> Case:
    most = dict.fromkeys(NGINXES, 1.0) if target else None
    return Case(
        name, title, "big", download, dict(path="/1g.bin", **params),
        [
            Metric(**_CPU_GIB, ratio=most, plot="cpu"),
            Metric("load_cpu_s_per_gib", "client CPU per GiB", "s", LOWER, ratio=most),
            Metric(**_MB_S, ratio=most, plot="rate"),
        ],
        short=short, disk=trees.GIB, only=NGINXES, **more,
    )


def _archive(name: str, title: str, tree: str, files: int, repeat: int, cpu: float, rate: float) -> Case:
    return Case(
        name, title, tree, archive, dict(path="/arch/?zip", files=files, repeat=repeat),
        [
            Metric(**_CPU_GIB, ratio={"mod_zip": cpu}, plot="cpu"),
            Metric("load_cpu_s_per_gib", "client CPU per GiB", "s", LOWER),
            Metric(**_MB_S, ratio={"mod_zip": rate}, plot="rate"),
            Metric("files_per_s", "files/s", "", HIGHER),
        ],
        quick=dict(repeat=2), disk=2 * trees.GIB, archives=True, only=("mod_zip",),
    )


_CPU_GIB = dict(key="cpu_s_per_gib", label="server CPU per GiB", unit="s", better=LOWER)
_MB_S = dict(key="mb_per_s", label="throughput", unit="MB/s", better=HIGHER)
def _proxy(
    name: str, title: str, store: Spec, cpu: Dict[str, float], flags: Tuple[str, ...] = (), only: Tuple[str, ...] = ()
) -> Case:
    return Case(
        name, title, "transfer of 1 GiB", download, dict(path=f"{PREFIX}1g.bin", connections=1, repeat=4),
        [Metric(**_CPU_GIB, ratio=cpu, plot="cpu"), Metric(**_MB_S, plot="rate")],
        short=title.replace("1 GiB by proxy, ", ""), quick=dict(repeat=2), disk=trees.GIB, group="stores", store=store,
        flags=flags, only=only,
    )


# Files that are otherwise only counted, too.
RECORD_ALL = ("--ledger-min-size", "0")


def _noted(name: str, size: str, file: str, length: int) -> Case:
    return Case(
        name, f"{size} file, 64 connections, all recorded", "hot", hot_noted, dict(file=file, size=length, seconds=4),
        [
            Metric("cpu_us_per_request", "server CPU per request", "us", LOWER, ratio=1.25, plot="cpu"),
            Metric("requests_per_s", "requests/s", "", HIGHER, plot="rate"),
            Metric("p50_us", "p50", "us", LOWER),
            Metric("p99_us", "p99", "us", LOWER),
            Metric("receipts", "receipts for each answer", "", HIGHER),
        ],
        short=f"{size} file", quick=dict(seconds=2), rounds=5, disk=2 * trees.MB, group="receipts", flags=RECORD_ALL,
    )


_RESTING = dict(file="/10k.bin", size=10 * trees.KB, connections=10_000, rest=10)
_IDLE = dict(
    title="10,000 idle keep-alive connections", tree="hot", kind=idle,
    metrics=[
        Metric("anonymous_bytes", "user memory per connection", "B", LOWER, limit=1024),
        Metric("rss_bytes", "growth of RSS per connection", "B", LOWER),
        Metric("total_pss_mib", "memory with all of them", "MiB", LOWER),
    ],
    rounds=3, connections=12_000, disk=2 * trees.MB,
)


CASES = [
    _hot("hot-1k", "1 KB file, 64 connections", trees.KB, cpu=(0.7, 0.95), rate=1.2),
    _hot("hot-10k", "10 KB file, 64 connections", 10 * trees.KB, cpu=(0.7, 0.95), rate=1.2),
    _hot("hot-100k", "100 KB file, 64 connections", 100 * trees.KB, cpu=(0.8, 1.0), rate=1.1),
    _hot("hot-1m", "1 MB file, 64 connections", trees.MB, cpu=(1.0, 1.05), rate=1.0),
    # wrk is about as busy as the server when it receives 1 MB files; this shows the server at its own limit.
    _hot(
        "hot-1m-sink", "1 MB file, 64 discarding connections", trees.MB, params=dict(by="sink"),
        short="1 MB, discarding clients", rounds=3,
    ),
    # What these figures are worth under bbr on loopback: see bench/README.md.
    _hot("hot-1m-bbr", "1 MB file, 64 connections, under bbr", trees.MB, short="1 MB under bbr", congestion="bbr", rounds=3),
    _big("big-8", "1 GiB file, 8 downloads", "8 x 1 GiB", True, dict(connections=8, repeat=1)),
    _big("big-1", "1 GiB file, single download", "1 x 1 GiB", True, dict(connections=1, repeat=6), quick=dict(repeat=3)),
    # How fast the receiver is changes the server's CPU per byte severalfold, so both ends are measured: one that the
    # server can hardly keep up with (above), and one that can hardly keep up with the server (here).
    _big(
        "big-8-copy", "1 GiB file, 8 downloads that copy", "8 x 1 GiB, copying clients", False,
        dict(connections=8, repeat=1, copy=True), rounds=3, quick=dict(connections=4),
    ),
    _archive("archive-1m", "archive of 1,000 x 1 MB, CRCs known", "1000 x 1 MB", 1000, 4, cpu=0.95, rate=1.3),
    _archive("archive-10k", "archive of 10,000 x 10 KB, CRCs known", "10000 x 10 KB", 10_000, 10, cpu=0.1, rate=8),
    Case(
        "slow-archives", "4,000 slow downloads of archives, CRCs unknown", "100 x 1 GiB", slow_archives,
        dict(path="/arch/?zip", clients=4000, rate=20e3, seconds=15),
        [
            Metric("peak_mib", "peak memory", "MiB", LOWER, limit=300e6 / trees.MB),
            Metric("anonymous_bytes", "user memory for each", "B", LOWER),
        ],
        quick=dict(clients=1000, seconds=8), rounds=1, connections=5000, archives=True, against=NOBODY,
        flags=("--no-crc-background",),
    ),
    Case(
        "rest", "at rest, with everything on", "hot", rest, dict(seconds=10),
        [
            Metric("wakeups_per_s", "wake-ups a second", "", LOWER, limit=2),
            Metric("written_bytes", "written to the disk", "B", LOWER, limit=0),
        ],
        quick=dict(seconds=5), rounds=3, disk=2 * trees.MB, only=NGINXES,
    ),
    Case(name="idle", params=_RESTING, only=NGINXES, **_IDLE),
    Case(
        "cold", "10 KB file while 8 cold 1 GiB files are read", "cold", cold,
        dict(file="/10k.bin", size=10 * trees.KB, cold=8, rate=64e6, seconds=4),
        [
            Metric("p99_growth", "p99 with / without cold readers", "x", LOWER, limit=2.0),
            Metric("p99_among_us", "p99 with cold readers", "us", LOWER),
            Metric("requests_kept", "requests/s with / without", "x", HIGHER),
            Metric("cold_mb_per_s", "rate of the cold readers", "MB/s", HIGHER),
        ],
        quick=dict(seconds=2), disk=8 * trees.GIB, only=NGINXES,
    ),
    Case(
        "peak-file", "100 GiB file, 100 clients", "100 GiB", peak,
        dict(path="/100g.bin", clients=100, piece=64 * trees.MB, pieces=4, seconds=30),
        [Metric("peak_mib", "peak memory", "MiB", LOWER, limit=64)],
        quick=dict(piece=8 * trees.MB, seconds=10), rounds=1, only=NGINXES,
    ),
    Case(
        "peak-archive", "100 GiB archive (100 x 1 GiB, CRCs unknown), 100 clients", "100 x 1 GiB", peak,
        dict(path="/arch/?zip", clients=100, piece=64 * trees.MB, pieces=4, seconds=30),
        [Metric("peak_mib", "peak memory", "MiB", LOWER, limit=64)],
        quick=dict(piece=8 * trees.MB, seconds=10), rounds=1,
        archives=True, against=NOBODY,
    ),
    # --- stores ---
    _proxy(
        "proxy", "1 GiB by proxy, spliced", Spec("nginx"), cpu={"nginx-proxy": 0.75, "nginx-proxy-defaults": 0.35},
    ),
    _proxy(
        "proxy-memory", "1 GiB by proxy, through memory", Spec("nginx"), cpu={"nginx-proxy": 1.1},
        flags=("--no-sendfile",), only=("nginx-proxy",),
    ),
    _proxy(
        "proxy-checked", "1 GiB by proxy, through memory, CRC-32 checked", Spec("nginx", crc32=True),
        cpu={"nginx-proxy": 1.1}, flags=("--no-sendfile",), only=("nginx-proxy",),
    ),
    Case(
        "proxy-first", "100 KB objects one after the other by proxy", "transfer of 300 x 100 KB", first_byte,
        dict(pause=0.003),
        [
            Metric("first_p50_us", "time to the first byte, p50", "us", LOWER, ratio={"nginx-proxy": 1.0}, plot="first"),
            Metric("first_p99_us", "time to the first byte, p99", "us", LOWER),
            Metric("whole_p50_us", "time to the last byte, p50", "us", LOWER),
            Metric("cpu_us_per_request", "server CPU per request", "us", LOWER),
        ],
        short="100 KB objects", disk=300 * 100 * trees.KB, group="stores", store=Spec("nginx"),
    ),
    Case(
        "slow", "300 clients at 1 MB/s, an object each", "transfer of 300 x 24 MiB", slow,
        dict(rate=1e6, seconds=20),
        [
            Metric("peak_mib", "peak memory", "MiB", LOWER, limit=256 + 32),
            Metric("store_connections", "connections to the store at the same time", "", LOWER, limit=64),
            Metric("slowest_mb_per_s", "rate of the slowest client", "MB/s", HIGHER, limit=0.95),
            Metric("median_mb_per_s", "rate of the median client", "MB/s", HIGHER),
            Metric("cpu_s_per_gib", "server CPU per GiB", "s", LOWER),
        ],
        quick=dict(seconds=8), rounds=3, against=NOBODY, disk=300 * 8 * trees.KB, group="stores", store=Spec("nginx"),
    ),
    Case(
        "small-objects", "archive of 5,000 x 20 KB, store with 20 ms latency", "transfer of 20 KB objects", small,
        dict(path=f"{PREFIX}?zip", sample=250),
        [
            Metric("times_faster", "times faster than one after the other", "x", HIGHER, limit=8),
            Metric("seconds", "time for the archive", "s", LOWER),
            Metric("one_by_one_s", "time one after the other, scaled", "s", LOWER),
            Metric("store_connections", "connections to the store at the same time", "", LOWER),
            Metric("peak_mib", "peak memory", "MiB", LOWER),
        ],
        quick=dict(sample=50), rounds=3, against=NOBODY, disk=100 * trees.MB, group="stores",
        store=Spec("s3", crc32=True, latency_ms=20),
    ),
    Case(
        "crowd", "100 clients of one object of 256 MiB", "transfer of 256 MiB", crowd,
        dict(file="256m.bin", connections=100),
        [
            Metric("store_bytes", "bytes from the store / the object's", "x", LOWER, limit=1.2),
            Metric("peak_mib", "peak memory", "MiB", LOWER),
            Metric("store_connections", "connections to the store at the same time", "", LOWER),
            Metric(**_CPU_GIB), Metric(**_MB_S),
        ],
        quick=dict(connections=25), rounds=3, against=NOBODY, disk=256 * trees.MB, group="stores",
        store=Spec("s3", crc32=True),
    ),
    # --- receipts ---
    Case(
        # A difference of a few per cent shows only in many short turns.
        "noted-big", "1 GiB file, 4 downloads", "big", big_noted, dict(path="/1g.bin", connections=4, repeat=1),
        [Metric(**_CPU_GIB, ratio={"no-ledger": 1.03}, plot="cpu"), Metric(**_MB_S, plot="rate")],
        short="4 x 1 GiB", disk=trees.GIB, group="receipts", flags=RECORD_ALL,
    ),
    _noted("noted-10k", "10 KB", "/10k.bin", 10 * trees.KB),
    _noted("noted-100k", "100 KB", "/100k.bin", 100 * trees.KB),
    _noted("noted-1m", "1 MB", "/1m.bin", trees.MB),
    Case(
        "noted-rare", "10 KB file, 10 requests a second", "hot", rare_noted,
        dict(file="/10k.bin", requests=100, pause=0.1),
        [
            Metric("cpu_us_per_request", "server CPU per request", "us", LOWER, ratio=1.1, plot="cpu"),
            Metric("written_bytes", "written to the disk for each", "B", LOWER, limit=8192),
            Metric("syncs", "fsync(2) for each", "", LOWER, limit=1),
        ],
        short="10 requests/s", quick=dict(requests=30), rounds=5, disk=2 * trees.MB, group="receipts", flags=RECORD_ALL,
    ),
    Case(
        # Deliveries are waited for 2 s at most; then what they had is free again, which does not make it anybody else's.
        name="noted-idle", group="receipts", params=_RESTING, flags=RECORD_ALL, **_IDLE,
    ),
    Case(
        "ledger", "the ledger alone, SQLite, synchronous=FULL", "hot", ledger_alone, {},
        [
            Metric("times", "receipts/s in groups / with a commit each", "x", HIGHER, limit=10),
            Metric("grouped_per_s", "receipts/s in groups", "", HIGHER),
            Metric("same_per_s", "receipts/s in groups, of one recipient", "", HIGHER),
            Metric("alone_per_s", "receipts/s with a commit each", "", HIGHER),
            Metric("cpu_us", "CPU per receipt in groups", "us", LOWER),
            Metric("merge", "merging into 100,000 fragments / into 10", "x", LOWER, limit=3),
            Metric("merge_cpu", "CPU of it", "x", LOWER),
            Metric("many_per_s", "merges/s into 100,000 fragments", "", HIGHER),
        ],
        rounds=3, against=NOBODY, disk=trees.GIB, group="receipts",
    ),
]


@dataclass(frozen=True)
class Group:
    """Cases that are run together and have a table of their own."""

    page: str  # the table's and the plot's name in bench/results
    record: str  # what the name of the record ends in
    peers: List[str]  # whom they are compared with by default
    title: str  # of the table
    rounds: int = 5  # by default
    budget: float = 15  # minutes, by default


GROUPS = {
    "files": Group(
        "latest", "all", ["nginx", "nginx-tuned", "mod_zip"], "Outflow as it is started against nginx", budget=30
    ),
    "stores": Group(
        "stores", "stores", ["nginx-proxy", "nginx-proxy-defaults"], "Outflow as it is started against nginx as a proxy"
    ),
    "published": Group(
        "published", "published",
        [
            "kcup", "nginx-tuned", "miniserve", "miniserve-tar", "dufs", "static-web-server", "caddy", "h2o", "lighttpd", "fasthttp",
            "fast_send",
        ],
        "Outflow as it is started and the others", rounds=5, budget=45,
    ),
    "receipts": Group(
        "receipts", "receipts", ["no-ledger"], "Outflow that records everything against itself without a ledger", rounds=9
    ),
    "channels": Group(
        "channels", "channels", ["nchan", "puma-hijack"], "Outflow's channels against nginx with nchan, and Puma", rounds=3
    ),
}
