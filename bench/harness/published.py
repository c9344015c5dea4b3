"""The cases of the published comparison: the same work for every server that can do it. PUBLISHED is the table.

Who takes part is decided by what a server offers (`Peer.offers`) and a case needs. One that fails in a case is shown there
with the reason, and the others go on.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import statistics
import struct
import subprocess
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import List, Optional, Tuple

from . import load, measure, trees
from .cases import HIGHER, LOWER, Case, Figures, Metric, Rig, download
from .peers import START_SECONDS, Peer, PeerError, Server, Start, end_group, free_port, spawn

# What browsers and these servers agree on where nobody says otherwise; said, so that all of them encrypt alike.
CIPHERS = "TLS_AES_128_GCM_SHA256"


# --- kinds of load -----------------------------------------------------------------------------------------------


def one_file(rig: Rig, server: Server, file: str, size: int, seconds: float, connections: int) -> Figures:
    """kcup's own comparison: wrk asks for one file again and again. What a server does for itself after its start is over."""
    trees.warm(rig.root)
    _rest(server)
    rest = measure.memory(server.pid)
    load.wrk(server, file, size, 1, connections, rig.load_cores)
    with rig.window(server) as window, measure.MemoryWatch(server.pid) as watch:
        got = load.wrk(server, file, size, seconds, connections, rig.load_cores)
    return {
        "requests_per_s": got["requests"] / got["seconds"],
        "cpu_us_per_request": window.cpu / got["requests"] * 1e6,
        "p50_us": got["p50_us"], "p99_us": got["p99_us"],
        **_mib("rest", rest), **_mib("load", watch.most),
        **rig.company(window, got["cpu"], got["seconds"]),
    }


def slow_readers(rig: Rig, server: Server, path: str, clients: int, rate: float, settle: float, seconds: float) -> Figures:
    """Clients that each take a large file slowly, all at the same time; CPU once the sockets' buffers are full."""
    trees.warm(rig.root)
    rest = measure.memory(server.pid)
    with measure.MemoryWatch(server.pid) as watch, load.Client(
        "paced", rig.load_cores, server, paths=[path] * clients, rate=rate, for_seconds=seconds, buffer=128 << 10, settle=settle
    ) as client:
        client.wait_ready()
        with rig.window(server) as window:
            got = client.finish()
    if not got["bytes"]:
        raise load.LoadError(f"{server.peer.name} {path}: nothing came after {settle:g} s")
    gib = got["bytes"] / trees.GIB
    return {
        **_mib("rest", rest), **_mib("load", watch.most), "cpu_s_per_gib": window.cpu / gib, "cpu_share": window.busy,
        "slowest_kb_per_s": got["slowest"] / 1e3, "mb_per_s": got["bytes"] / got["seconds"] / 1e6,
        # Its CPU time is of all of its life.
        **rig.company(window, got["cpu"] * seconds / (settle + seconds), window.seconds),
    }


def fetch(rig: Rig, server: Server, path: str, repeat: int, http: str) -> Figures:
    """Downloads by curl, one after the other."""
    trees.warm(rig.root)
    with rig.window(server) as window, measure.MemoryWatch(server.pid) as watch:
        got = load.curl(server, path, repeat, http, CIPHERS, rig.load_cores, timeout=120)
    _whole(rig, path, got["bytes"], repeat)
    return {**_per_gib(window, got["bytes"], got["seconds"]), **_mib("load", watch.most), **rig.company(window, got["cpu"], got["seconds"])}


def h2_download(rig: Rig, server: Server, path: str, repeat: int, streams: int) -> Figures:
    """Downloads by h2load on one connection, which never lets the server wait for its window."""
    trees.warm(rig.root)
    with rig.window(server) as window, measure.MemoryWatch(server.pid) as watch:
        got = load.h2load(server, path, trees.GIB, rig.load_cores, 1, streams, CIPHERS, requests=repeat)
    _whole(rig, path, got["bytes"], repeat)
    return {**_per_gib(window, got["bytes"], got["seconds"]), **_mib("load", watch.most), **rig.company(window, got["cpu"], got["ran"])}


def h2_small(rig: Rig, server: Server, path: str, size: int, seconds: int, clients: int, streams: int) -> Figures:
    """h2load asks for one file again and again."""
    trees.warm(rig.root)
    _rest(server)
    load.h2load(server, path, size, rig.load_cores, clients, streams, CIPHERS, seconds=1)
    with rig.window(server) as window, measure.MemoryWatch(server.pid) as watch:
        got = load.h2load(server, path, size, rig.load_cores, clients, streams, CIPHERS, seconds=seconds)
    return {
        "requests_per_s": got["requests"] / got["seconds"], "cpu_us_per_request": window.cpu / got["requests"] * 1e6,
        **_mib("load", watch.most), **rig.company(window, got["cpu"], got["ran"]),
    }


def handshakes(rig: Rig, server: Server, path: str, size: int, seconds: int, connections: int) -> Figures:
    """Full TLS 1.3 handshakes, each followed by one small request."""
    _rest(server)
    load.handshakes(rig.handshakes, server, path, size, 1, connections, rig.load_cores)
    with rig.window(server) as window:
        got = load.handshakes(rig.handshakes, server, path, size, seconds, connections, rig.load_cores)
    return {
        "handshakes_per_s": got["handshakes"] / got["seconds"], "cpu_us_per_handshake": window.cpu / got["handshakes"] * 1e6,
        "cpu_share": window.busy, "p50_us": got["p50_us"], "p99_us": got["p99_us"],
        **rig.company(window, got["cpu"], got["seconds"]),
    }


def whole_folder(rig: Rig, server: Server, path: str, files: int, size: int) -> Figures:
    """An archive of a folder that the server has not seen before, and the same once more."""
    trees.warm(rig.root)
    path += server.peer.archive_query
    figures: Figures = {}
    for again in ("", "again_"):
        with rig.window(server) as window:
            got = load.curl(server, path, 1, "http1.1", CIPHERS, rig.load_cores, timeout=120)
        if got["bytes"] < files * size:
            raise load.LoadError(f"{server.peer.name} {path}: {got['bytes']} bytes for {files} files of {size}")
        found = {**_per_gib(window, files * size, got["seconds"]), **rig.company(window, got["cpu"], got["seconds"])}
        figures.update({again + key: value for key, value in found.items()})
    figures["peak_mib"] = measure.peak_rss(server.pid) / trees.MB
    if rig.first:
        _check_archive(server, path, files, size)
    return figures


def start_up(rig: Rig, server: Server, file: str, size: int, starts: int) -> Figures:
    """From the execution of the program to the first byte of its first answer; and how large the program is."""
    trees.warm(rig.root)
    times = [_first_answer(rig, server, file, number) for number in range(starts)]
    figures = {"start_ms": statistics.median(times) * 1e3, "slowest_ms": max(times) * 1e3}
    binary = shutil.which(server.peer.program)
    if binary:
        figures["binary_mb"] = _stripped(Path(binary)) / 1e6
    return figures


def _first_answer(rig: Rig, server: Server, file: str, number: int) -> float:
    scratch = server.scratch / f"start-{number}"
    scratch.mkdir()
    start = Start(rig.root, scratch, server.start.cache, free_port(), 1024, file=server.start.file)
    request = f"GET {file} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    # What forking our large process costs is not the server's; it counts from its exec on.
    listen, stamp = os.pipe()
    process = spawn(server.peer, start, {rig.server_core}, stamp)
    try:
        began = struct.unpack("d", os.read(listen, 8))[0]
        while time.monotonic() - began < START_SECONDS and process.poll() is None:
            with socket.socket() as asking:
                asking.settimeout(5)
                if asking.connect_ex(("127.0.0.1", start.port)) != 0:
                    time.sleep(0.0002)
                    continue
                asking.sendall(request)
                said = asking.recv(1024)
                took = time.monotonic() - began
                if not said.startswith(b"HTTP/1.1 200"):
                    raise load.LoadError(f"{server.peer.name} answered {said[:200]!r}")
                return took
        raise PeerError(f"{server.peer.name} did not start")
    finally:
        os.close(listen)
        os.close(stamp)
        end_group(process)


@functools.lru_cache(maxsize=None)
def _stripped(binary: Path) -> int:
    """The size of a program without its symbols."""
    with tempfile.TemporaryDirectory(prefix="outflow-bench-") as folder:
        copy = Path(folder) / "stripped"
        stripped = shutil.which("strip") and subprocess.run(["strip", "-o", str(copy), str(binary)], capture_output=True).returncode == 0
        return (copy if stripped else binary).stat().st_size


def _check_archive(server: Server, path: str, files: int, size: int) -> None:
    archive = server.scratch / "archive"
    load.program(["curl", "-sS", "--fail", "-o", str(archive), server.url(path)], {}, set(range(1024)), timeout=120)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                sizes = [e.file_size for e in opened.infolist() if not e.is_dir()]
        else:
            with tarfile.open(archive) as opened:
                sizes = [e.size for e in opened if e.isfile()]
    except (zipfile.BadZipFile, tarfile.TarError) as why:
        raise load.LoadError(f"{server.peer.name} {path}: {why}") from why
    finally:
        archive.unlink()
    if sizes != [size] * files:
        raise load.LoadError(f"{server.peer.name} {path}: {len(sizes)} files, of {sorted(set(sizes))[:5]} bytes")


def _rest(server: Server) -> None:
    if not measure.wait_for_rest(server.pid):
        raise load.LoadError(f"{server.peer.name} does not come to rest after its start\n{server.log()}")


def _whole(rig: Rig, path: str, got: int, repeat: int) -> None:
    wanted = (rig.root / path[1:]).stat().st_size * repeat
    if got != wanted:
        raise load.LoadError(f"{path}: {got} bytes instead of {wanted}")


def _mib(prefix: str, memory: dict) -> Figures:
    return {f"{prefix}_{kind}_mib": size / trees.MB for kind, size in memory.items()}


def _per_gib(window: measure.Window, size: int, seconds: float) -> Figures:
    return {"mb_per_s": size / seconds / 1e6, "cpu_s_per_gib": window.cpu / (size / trees.GIB)}


# --- the table ---------------------------------------------------------------------------------------------------

KCUPS_WORK, DOWNLOADS, SLOW = "One file, kcup's own comparison", "Downloads of 1 GiB", "Slow readers"
TLS, HTTP2, ARCHIVES, START = "TLS", "HTTP/2", "Archives", "Start and size"

# Where all of them would take too long: of those with rustls, the fastest.
FEWER = ("nginx-tuned", "static-web-server", "caddy", "h2o", "lighttpd")

_RATE = dict(key="requests_per_s", label="requests/s", unit="", better=HIGHER, plot="rate")
_CPU = dict(key="cpu_us_per_request", label="server CPU per request", unit="us", better=LOWER, plot="cpu")
_CPU_GIB = dict(key="cpu_s_per_gib", label="server CPU per GiB", unit="s", better=LOWER, plot="cpu")
_MB_S = dict(key="mb_per_s", label="throughput", unit="MB/s", better=HIGHER, plot="rate")
_LOAD_RSS = Metric("load_rss_mib", "memory (RSS)", "MiB", LOWER)
_LOAD_ANONYMOUS = Metric("load_anonymous_mib", "of it anonymous", "MiB", LOWER)


def _kcup(
    name: str, short: str, size: int, cpu: float, rate: dict, memory: Optional[float] = None, connections: int = 400,
    only: Tuple[str, ...] = (),
) -> Case:
    return Case(
        f"kcup-{name}" + ("" if connections == 400 else f"-{connections}"), f"{short} file, {connections} connections", "text",
        one_file, dict(file=f"/{name}.txt", size=size, seconds=3, connections=connections),
        [
            Metric(**_RATE, ratio={**rate, "*": 1.0}),
            Metric(**_CPU, ratio={"kcup": cpu, "*": 1.0}),
            Metric("p50_us", "p50", "us", LOWER),
            Metric("p99_us", "p99", "us", LOWER, best=1.0),
            Metric("rest_rss_mib", "memory at rest (RSS)", "MiB", LOWER),
            Metric("load_rss_mib", "under load (RSS)", "MiB", LOWER, limit=memory, plot="memory" if memory else ""),
            Metric("load_pss_mib", "under load (PSS)", "MiB", LOWER),
            Metric("load_anonymous_mib", "under load (anonymous)", "MiB", LOWER),
        ],
        short=f"{short} file", quick=dict(seconds=1), connections=1024, disk=2 * trees.MB, group="published",
        section=KCUPS_WORK, needs="file", file=f"{name}.txt", turn_seconds=5.5, only=only,
    )


def _large(name: str, title: str, section: str, kind, params: dict, metrics: List[Metric], needs: str, **more) -> Case:
    return Case(
        name, title, "big", kind, dict(path="/1g.bin", **params), metrics, disk=trees.GIB, group="published",
        section=section, needs=needs, file="1g.bin" if needs != "folder" else "", **more,
    )


PUBLISHED = [
    _kcup("10k", "10 KB", 10 * trees.KB, 0.75, {"miniserve": 4, "fasthttp": 2}),
    _kcup("100k", "100 KB", 100 * trees.KB, 0.75, {"miniserve": 4}),
    _kcup("1m", "1 MB", trees.MB, 0.6, {"miniserve": 2.5}, memory=16),
    _kcup("10k", "10 KB", 10 * trees.KB, 0.75, {}, connections=64, only=("kcup",)),
    _kcup("100k", "100 KB", 100 * trees.KB, 0.75, {}, connections=64, only=("kcup",)),
    _kcup("1m", "1 MB", trees.MB, 0.6, {}, connections=64, only=("kcup",)),
    _large(
        "gib", "1 GiB file, 4 downloads at once", DOWNLOADS, download, dict(connections=4, repeat=1),
        [Metric(**_MB_S), Metric(**_CPU_GIB)], "folder", short="4 x 1 GiB", quick=dict(connections=2), turn_seconds=4,
    ),
    _large(
        "slow-1000", "1,000 readers at 100 KB/s each", SLOW, slow_readers, dict(clients=1000, rate=1e5, settle=5, seconds=5),
        [
            Metric("load_rss_mib", "memory (RSS)", "MiB", LOWER, plot="memory"),
            _LOAD_ANONYMOUS,
            Metric("rest_rss_mib", "memory at rest (RSS)", "MiB", LOWER),
            Metric("cpu_share", "share of a core", "", LOWER),
            Metric(**_CPU_GIB),
            Metric("slowest_kb_per_s", "rate of the slowest reader", "kB/s", HIGHER),
        ],
        "folder", short="1,000 slow readers", quick=dict(settle=2, seconds=3), rounds=2, connections=2048, turn_seconds=12,
    ),
    _large(
        "tls-gib", "1 GiB file over TLS 1.3, HTTP/1.1, by curl", TLS, fetch, dict(repeat=2, http="http1.1"),
        [Metric(**_CPU_GIB, ratio={"nginx-tuned": 1.0}), Metric(**_MB_S), _LOAD_RSS], "tls", tls=True,
        short="1 GiB over TLS", quick=dict(repeat=1), turn_seconds=5, only=FEWER,
    ),
    Case(
        "tls-handshakes", "full TLS 1.3 handshakes, each with a request of 1 KB", "text", handshakes,
        dict(path="/1k.txt", size=trees.KB, seconds=3, connections=32),
        [
            Metric("handshakes_per_s", "handshakes/s", "", HIGHER, ratio={"nginx-tuned": 0.9}, plot="rate"),
            Metric("cpu_us_per_handshake", "server CPU per handshake", "us", LOWER, plot="cpu"),
            Metric("cpu_share", "share of its core that the server used", "", LOWER),
            Metric("p50_us", "p50", "us", LOWER), Metric("p99_us", "p99", "us", LOWER),
        ],
        short="TLS handshakes", quick=dict(seconds=1), disk=2 * trees.MB, group="published", section=TLS, needs="tls-file",
        file="1k.txt", tls=True, turn_seconds=5,
        remark="X25519, ECDSA P-256, TLS_AES_128_GCM_SHA256, no resumption. Where the server used clearly less than its core, "
        "the client was the limit; the CPU per handshake stands.",
    ),
    _large(
        "h2-gib", "1 GiB file over TLS and HTTP/2, by curl", HTTP2, fetch, dict(repeat=2, http="http2"),
        [Metric(**_MB_S, ratio={"nginx-tuned": 1.0}), Metric(**_CPU_GIB, ratio={"nginx-tuned": 1.0}), _LOAD_RSS], "h2", tls=True,
        short="1 GiB, HTTP/2, TLS, curl", quick=dict(repeat=1), turn_seconds=6, only=FEWER,
    ),
    _large(
        "h2-gib-wide", "1 GiB file over TLS and HTTP/2, by h2load, 2 streams", HTTP2, h2_download, dict(repeat=2, streams=2),
        [Metric(**_MB_S, ratio={"nginx-tuned": 1.0}), Metric(**_CPU_GIB, ratio={"nginx-tuned": 1.0}), _LOAD_RSS], "h2", tls=True,
        short="2 x 1 GiB, HTTP/2, TLS", turn_seconds=6, only=FEWER,
    ),
    _large(
        "h2c-gib", "1 GiB file over HTTP/2 without TLS, by h2load", HTTP2, h2_download, dict(repeat=4, streams=1),
        [Metric(**_MB_S, ratio={"nginx-tuned": 1.0}), Metric(**_CPU_GIB), _LOAD_RSS], "h2c", h2c=True,
        short="1 GiB, HTTP/2, no TLS", quick=dict(repeat=2), turn_seconds=5,
    ),
    Case(
        "h2-10k", "10 KB file over TLS and HTTP/2, 16 connections of 16 streams", "text", h2_small,
        dict(path="/10k.txt", size=10 * trees.KB, seconds=3, clients=16, streams=16),
        [Metric(**_RATE), Metric(**_CPU, ratio={"h2o": 1.5, "nginx-tuned": 0.8}), _LOAD_RSS, _LOAD_ANONYMOUS],
        short="10 KB, HTTP/2, TLS", quick=dict(seconds=1), disk=2 * trees.MB, group="published", section=HTTP2, needs="h2",
        file="10k.txt", tls=True, turn_seconds=5.5, only=FEWER,
    ),
    Case(
        "folder", "archive of 1,000 x 1 MB", "1000 x 1 MB", whole_folder, dict(path="/arch/", files=1000, size=trees.MB),
        [
            Metric(**_MB_S), Metric(**_CPU_GIB),
            Metric("peak_mib", "peak memory (RSS)", "MiB", LOWER, plot="memory"),
            Metric("again_mb_per_s", "throughput, second time", "MB/s", HIGHER),
            Metric("again_cpu_s_per_gib", "server CPU per GiB, second time", "s", LOWER),
        ],
        short="archive of 1 GB", disk=3 * trees.GIB, group="published", section=ARCHIVES, needs="archive", rounds=3, turn_seconds=12,
        remark="By curl over HTTP/1.1. ZIP, stored, from everybody but `miniserve-tar`. The second time Outflow may know CRC-32s that "
        "it had to compute the first time.",
    ),
    Case(
        "start", "from the start of the process to its first answer", "text", start_up,
        dict(file="/10k.txt", size=10 * trees.KB, starts=20),
        [
            Metric("start_ms", "start to first answer", "ms", LOWER, limit=20, plot="time"),
            Metric("slowest_ms", "the slowest start", "ms", LOWER),
            Metric("binary_mb", "program, stripped", "MB", LOWER, limit=25, plot="size"),
        ],
        short="start", quick=dict(starts=3), rounds=3, disk=2 * trees.MB, group="published", section=START, needs="start",
        file="10k.txt", turn_seconds=2.5,
        remark="From the execution of its program to the first byte of its answer for a file of 10 KB. A program that lives off shared "
        "libraries is small for that reason.",
    ),
]


def takes_part(case: Case, peer: Peer) -> bool:
    """Whether a server can do a case. Who speaks TLS for folders does it for a file, too."""
    return case.needs in peer.offers or (case.needs == "tls-file" and "tls" in peer.offers)
