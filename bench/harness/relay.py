"""`bench/run relay`: bytes from socket to socket, beside socat, HAProxy and a plain copy loop.

Its peers have no files and speak no HTTP, so it has a runner of its own: each turn starts one relay on the server's core, with
its target and its clients on the other one. What is measured is the relay's CPU time; how fast bytes flow is set by
whoever drives them, in Python, as much as by the relay.
"""

from __future__ import annotations

import datetime
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

from . import install, measure, peers

BENCH = Path(__file__).resolve().parent.parent
GIB = 1 << 30
PATIENCE = 60
IDLE_SECONDS = 5


@dataclass
class Relay:
    name: str
    how: str
    command: Callable[[Path, int, int], List[str]]  # scratch folder, port to listen on, port of the target
    forks: bool = False  # a process for each connection: too many for the idle case
    packages: tuple = ()


def _haproxy(splice: str) -> Callable[[Path, int, int], List[str]]:
    def command(scratch: Path, port: int, target: int) -> List[str]:
        conf = scratch / "haproxy.cfg"
        conf.write_text(f"""\
global
    maxconn 6000
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
{splice}listen relay
    bind 127.0.0.1:{port}
    server target 127.0.0.1:{target}
""")
        return ["haproxy", "-db", "-f", str(conf)]

    return command


def _socat(*options: str) -> Callable[[Path, int, int], List[str]]:
    def command(scratch: Path, port: int, target: int) -> List[str]:
        return ["socat", *options, f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=128", f"TCP:127.0.0.1:{target},nodelay"]

    return command


def relays(binary: Path, loop: Path) -> List[Relay]:
    def outflow(scratch: Path, port: int, target: int) -> List[str]:
        listen, to = f"127.0.0.1:{port}", f"127.0.0.1:{target}"
        return [str(binary), "relay", listen, to, "--threads", "1", "--log-level", "warn", "--max-connections", "6000"]

    splice = "    option splice-request\n    option splice-response\n"
    return [
        Relay("outflow", "`outflow relay --threads 1`", outflow),
        Relay("HAProxy, splice", "nbthread 1, splice-request, splice-response", _haproxy(splice), packages=("haproxy",)),
        Relay("HAProxy", "nbthread 1", _haproxy(""), packages=("haproxy",)),
        Relay("socat", "fork, buffers of 8 KiB, its default", _socat(), True, ("socat",)),
        Relay("socat -b 65536", "the same with buffers of 64 KiB", _socat("-b", "65536"), True, ("socat",)),
        Relay("copy loop", "tokio's copy_bidirectional, buffers of 64 KiB, one thread", lambda _, port, target: [
            str(loop), f"127.0.0.1:{port}", f"127.0.0.1:{target}"
        ]),
    ]


class Turn:
    """A running relay, and the listening socket of its target."""

    def __init__(self, relay: Relay, core: int, load_core: int):
        self.relay, self.core, self.load_core = relay, core, load_core

    def __enter__(self) -> "Turn":
        self._scratch = tempfile.TemporaryDirectory(prefix="outflow-relay-")
        scratch = Path(self._scratch.name)
        self.target = socket.create_server(("127.0.0.1", 0), backlog=4096)
        port = peers.free_port()
        with open(scratch / "log", "wb") as log:
            self.process = subprocess.Popen(
                self.relay.command(scratch, port, self.target.getsockname()[1]), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=peers.child_setup({self.core}), cwd=str(scratch),
            )
        self.port = port
        self._await(scratch)
        return self

    def _await(self, scratch: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                pair = self.pair()
            except OSError:
                time.sleep(0.05)
                continue
            for one in pair:
                one.close()
            return
        raise peers.PeerError(f"{self.relay.name} did not start: {(scratch / 'log').read_text()}")

    def pair(self):
        """A client, and the target's end of its connection."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        far, _ = self.target.accept()
        for one in (client, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, far

    def window(self) -> measure.Window:
        return measure.Window(self.process.pid, self.core, self.load_core)

    def __exit__(self, *_) -> None:
        peers.end_group(self.process)
        self.target.close()
        self._scratch.cleanup()


def bulk(turn: Turn, gib: float) -> Dict[str, float]:
    """One direction, two connections at once; sent by sendfile from memory, discarded by the kernel (MSG_TRUNC)."""
    each = int(gib * GIB / 2)
    memory = os.memfd_create("bulk")
    os.truncate(memory, 64 << 20)
    pairs = [turn.pair() for _ in range(2)]

    def send(to: socket.socket) -> None:
        left = each
        while left:
            left -= os.sendfile(to.fileno(), memory, 0, min(left, 64 << 20))
        to.shutdown(socket.SHUT_WR)

    def drop(source: socket.socket) -> None:
        room, got = bytearray(4 << 20), 0
        while n := source.recv_into(room, len(room), socket.MSG_TRUNC):
            got += n
        if got != each:
            raise peers.PeerError(f"{got} bytes instead of {each}")

    for one in (one for pair in pairs for one in pair):
        one.settimeout(None)
    with turn.window() as window:
        threads = [threading.Thread(target=send, args=(client,)) for client, _ in pairs]
        threads += [threading.Thread(target=drop, args=(far,)) for _, far in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one in (one for pair in pairs for one in pair):
        one.close()
    os.close(memory)
    return {"cpu": window.cpu / gib, "rate": gib * GIB / window.seconds / 1e6}


def echo(turn: Turn, count: int) -> Dict[str, float]:
    """64 bytes there and back, one after the other."""
    client, far = turn.pair()

    def answer() -> None:
        while message := far.recv(4096):
            far.sendall(message)

    thread = threading.Thread(target=answer)
    client.settimeout(None)
    far.settimeout(None)
    thread.start()
    message, times = b"x" * 64, []
    for _ in range(count // 10):
        client.sendall(message)
        client.recv(4096)
    with turn.window() as window:
        for _ in range(count):
            began = time.perf_counter()
            client.sendall(message)
            client.recv(4096)
            times.append(time.perf_counter() - began)
    client.close()
    thread.join()
    far.close()
    times.sort()
    return {"p50": times[count // 2] * 1e6, "p99": times[count * 99 // 100] * 1e6, "cpu": window.cpu / count * 1e6}


def idle(turn: Turn, connections: int) -> Dict[str, float]:
    """Connections that say one byte each way, and then nothing."""
    if turn.relay.forks:
        return {}
    before = measure.memory(turn.process.pid)["anonymous"]
    pairs = [turn.pair() for _ in range(connections)]
    for client, far in pairs:
        client.sendall(b"x")
        far.recv(1)
        far.sendall(b"y")
        client.recv(1)
    measure.wait_for_rest(turn.process.pid)
    after = measure.memory(turn.process.pid)["anonymous"]
    with turn.window() as window:
        time.sleep(IDLE_SECONDS)
    for one in (one for pair in pairs for one in pair):
        one.close()
    return {"memory": (after - before) / connections / 1024, "cpu": window.cpu / IDLE_SECONDS * 1e3}


# What is done, with how much of it, and what of it is shown: key, unit, and how large Outflow's may be beside whom.
CASES = [
    ("bulk", bulk, 1.0, [
        ("cpu", "CPU s/GiB", {"HAProxy, splice": 1.1, "HAProxy": 0.6, "socat": 0.6, "socat -b 65536": 0.6}), ("rate", "MB/s", {}),
    ]),
    ("echo", echo, 5_000, [("p50", "p50 us", {"copy loop": 1.1}), ("p99", "p99 us", {}), ("cpu", "CPU us/message", {})]),
    ("idle", idle, 5_000, [("memory", "KiB/connection", {}), ("cpu", "CPU ms/s", {})]),
]


def run(options, command: str, cores: List[int]) -> int:
    peers.raise_open_files()
    target = Path(os.environ.get("CARGO_TARGET_DIR", BENCH.parent / "target")) / "dist"
    binary, loop = options.binary or target / "outflow", target / "examples" / "copy-loop"
    if not (options.no_build or options.binary):
        built = subprocess.run(
            [
                "cargo", "build", "--profile", "dist", "-p", "outflow", "-p", "outflow-relay", "--bin", "outflow",
                "--example", "copy-loop",
            ],
            cwd=BENCH.parent,
        )
        if built.returncode != 0:
            raise peers.PeerError("Outflow does not build; the errors are above")
    every = relays(Path(binary).absolute(), loop.absolute())
    install.debian(sorted({package for relay in every for package in relay.packages}))
    core, load_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})
    rounds = options.rounds or (2 if options.quick else 5)
    found: Dict[str, Dict[str, List[Dict[str, float]]]] = {}
    for name, kind, much, _ in CASES:
        sides = found.setdefault(name, {relay.name: [] for relay in every})
        for turn in range(rounds):
            # In turns, and each first as often as last.
            for relay in every if turn % 2 == 0 else every[::-1]:
                with Turn(relay, core, load_core) as running:
                    figures = kind(running, much)
                if figures:
                    sides[relay.name].append(figures)
                    print(f"{name} {turn + 1}/{rounds} {relay.name}: {figures}", file=sys.stderr, flush=True)
    page = (options.results or BENCH / "results") / "relay.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(markdown(found, every, command, rounds))
    print(page.read_text())
    return 0


def median(figures: List[Dict[str, float]], key: str) -> Optional[float]:
    return measure.spread([one[key] for one in figures])["median"] if figures else None


def markdown(found: dict, every: List[Relay], command: str, rounds: int) -> str:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    model = next((l.split(":", 1)[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")), "")
    lines = [
        "# Relays", "",
        f"`{command}` on {now}. {model}, {os.cpu_count()} cores, Linux {platform.release()}; the relay on one core, clients and target on the "
        f"other, in Python {platform.python_version()}. Medians of {rounds} rounds in turns, smallest and largest beside them. The load average "
        f"at the end was {os.getloadavg()[1]:.1f}: what is above 2 is other people's work on the same machine.", "",
    ]
    for name, kind, much, metrics in CASES:
        lines += [f"## {name}: {(kind.__doc__ or '').strip()}", "", f"{much:,} {dict(bulk='GiB', echo='messages', idle='connections')[name]} a turn.", ""]
        lines += ["| | " + " | ".join(unit for _, unit, _ in metrics) + " | Outflow beside it |", "|---|" + "---:|" * len(metrics) + "---|"]
        own = found[name][every[0].name]
        for relay in every:
            figures = found[name][relay.name]
            if not figures:
                continue
            cells = []
            for key, _, _ in metrics:
                spread = measure.spread([one[key] for one in figures])
                cells.append(f"{spread['median']:.3g} ({spread['min']:.3g} to {spread['max']:.3g})")
            verdicts = []
            for key, unit, targets in metrics:
                theirs, ours = median(figures, key), median(own, key)
                if relay.name in targets and theirs and ours is not None:
                    ratio = ours / theirs
                    met = "met" if ratio <= targets[relay.name] else "**missed**"
                    verdicts.append(f"{ratio:.2f}x {unit.split(' ')[0]}, at most {targets[relay.name]}x wanted: {met}")
            lines.append(f"| {relay.name} | " + " | ".join(cells) + f" | {'; '.join(verdicts)} |")
        lines.append("")
    lines += ["Who took part: " + "; ".join(f"{relay.name}: {relay.how}" for relay in every) + ".", ""]
    return "\n".join(lines)
