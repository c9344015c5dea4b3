"""Channels: many subscribers to server-sent events, and when the last of them has heard. Peers, kinds of load, cases.

The load is load/channels.go, one process on the load's core; the server has the other. What counts is from before the
publisher's request is written until a subscriber has read the event, by one clock.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from . import load, measure, trees
from .cases import HIGHER, LOWER, NOBODY, Case, Figures, Metric, Rig
from .nginx import NginxTuned
from .peers import OPEN_FILES, Peer, Server, Start, child_setup, end_group, first_line

BENCH = Path(__file__).resolve().parent.parent
TOKENS = BENCH / "load" / "channels.tokens"
# Subscribers come from so many addresses.
SOURCES = 20
PATIENCE = 120


class Nchan(NginxTuned):
    """Debian's nginx with Debian's nchan, one worker, events kept in memory."""

    name = "nchan"
    packages = ["nginx", "libnginx-mod-nchan"]
    groups = ("channels",)
    offers = frozenset()
    modules = "load_module /usr/lib/nginx/modules/ngx_nchan_module.so;\n"

    def site(self, start: Start) -> str:
        return f"""\
    nchan_message_buffer_length 10;
    server {{
        listen 127.0.0.1:{start.port} backlog=4096;
        location = /subscribe {{ nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest; }}
        location = /publish {{ nchan_publisher; nchan_channel_id bench; }}
    }}"""


class PumaHijack(Peer):
    """Debian's Puma, one process, with our demo of a full hijack: 45 lines that keep sockets in a list and write to all."""

    name = "puma-hijack"
    program = "puma"
    packages = ["puma"]
    groups = ("channels",)

    def version(self) -> str:
        return first_line(["puma", "--version"])

    def command(self, start: Start) -> List[str]:
        bind = f"tcp://127.0.0.1:{start.port}?backlog=4096"
        demo = BENCH / "peers" / "puma" / "config.ru"
        return ["puma", "--quiet", "--environment", "production", "--threads", "1:5", "--bind", bind, str(demo)]


PEERS = {peer.name: peer for peer in (Nchan, PumaHijack)}


@dataclass(frozen=True)
class Way:
    """How one subscribes and publishes."""

    subscribe: str
    publish: str
    fields: str = ""


WAYS = {
    "nchan": Way("/subscribe", "/publish"),
    "puma-hijack": Way("/", "/"),
}
OURS = Way("/channels/bench", "/channels/bench", "Authorization: Bearer outflow-benchmark-publishes\r\n")


class Crowd:
    """The load client."""

    def __init__(self, rig: Rig, server: Server):
        self.server, self.way = server, WAYS.get(server.peer.name, OURS)
        self.address = f"{server.host}:{server.port}"
        self.process = subprocess.Popen(
            [str(rig.channels)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=child_setup(rig.load_cores),
        )

    def _ask(self, **task) -> dict:
        assert self.process.stdin and self.process.stdout and self.process.stderr
        try:
            self.process.stdin.write(json.dumps(dict(task, address=self.address)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise load.LoadError(f"{self.server.peer.name} {task}: {self.process.stderr.read()}\n{self.server.log()}")
        return json.loads(line)

    def connect(self, count: int) -> float:
        """Further subscribers; seconds that it took."""
        return self._ask(do="connect", path=self.way.subscribe, count=count, sources=SOURCES)["seconds"]

    def publish(self, events: int, size: int) -> dict:
        return self._ask(do="publish", path=self.way.publish, fields=self.way.fields, events=events, size=size, pause_ms=50)

    def stall(self, count: int) -> None:
        self._ask(do="stall", count=count)

    def leave(self) -> None:
        self._ask(do="leave")

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_) -> None:
        end_group(self.process)


def _memory(server: Server) -> Dict[str, int]:
    measure.wait_for_rest(server.pid)
    return measure.memory(server.pid)


def fan_out(rig: Rig, server: Server, subscribers: int, events: int, size: int, before: int = 1_000) -> Figures:
    """Subscribers by server-sent events; memory is the growth from the first of them, 1,000 or fewer, to the last. Then events, each when all
    have heard the one before; the time of the last receipt is the median of all events. Then all leave at once."""
    empty = _memory(server)
    with Crowd(rig, server) as crowd:
        crowd.connect(before)
        crowd.publish(2, size)
        few = _memory(server)
        seconds = crowd.connect(subscribers - before)
        many = _memory(server)
        with rig.window(server) as window:
            got = crowd.publish(events, size)
        if got["readers"] != subscribers:
            raise load.LoadError(f"{got['readers']} of {subscribers} heard")
        crowd.leave()
        deadline = time.monotonic() + 20
        while measure.sockets(server.pid) > 100 and time.monotonic() < deadline:
            time.sleep(0.1)
        left = _memory(server)
    more = subscribers - before
    return {
        "rss_bytes": (many["rss"] - few["rss"]) / more, "anonymous_bytes": (many["anonymous"] - few["anonymous"]) / more,
        "last_ms": got["last_ms"], "p50_ms": got["p50_ms"], "p99_ms": got["p99_ms"],
        "cpu_ms": window.cpu / events * 1000, "connects_per_s": more / seconds,
        "left_mib": (left["rss"] - empty["rss"]) / trees.MB, "peak_mib": many["rss"] / trees.MB,
        "others": window.others,
    }


def stalled(rig: Rig, server: Server, subscribers: int, share: float, events: int, size: int) -> Figures:
    """Events before and after some of the subscribers have stopped reading, and have taken all that their kernel takes for them."""
    deaf = int(subscribers * share)
    with Crowd(rig, server) as crowd:
        crowd.connect(subscribers)
        crowd.publish(5, size)
        before = crowd.publish(events, size)
        crowd.stall(deaf)
        # They fill up, and are still there.
        crowd.publish(20, size)
        after = crowd.publish(events, size)
        if after["readers"] != subscribers - deaf:
            raise load.LoadError(f"{after['readers']} heard")
    return {
        "growth": after["p99_ms"] / before["p99_ms"], "p99_before_ms": before["p99_ms"], "p99_after_ms": after["p99_ms"],
        "p50_before_ms": before["p50_ms"], "p50_after_ms": after["p50_ms"],
    }


_FLAGS = ("--channel-tokens", str(TOKENS), "--channel-subscribe", "open", "--channel-per-address", str(OPEN_FILES))


def _fan_out(subscribers: int, name: str, **more) -> Case:
    last = dict(ratio={"nchan": 1.0, "puma-hijack": 1 / 3}) if subscribers > 10_000 and "against" not in more else {}
    return Case(
        name, f"{subscribers:,} subscribers, an event of 100 bytes to all", "hot", fan_out,
        dict(subscribers=subscribers, events=9, size=100, before=min(1_000, subscribers // 2)),
        [
            Metric("last_ms", "publish to last receipt", "ms", LOWER, plot="last receipt", **last),
            Metric("p50_ms", "p50", "ms", LOWER), Metric("p99_ms", "p99", "ms", LOWER),
            Metric("cpu_ms", "server CPU per event", "ms", LOWER, plot="cpu"),
            # Fewer than some thousand are too few for a slope.
            Metric("rss_bytes", "memory (RSS) for each subscriber", "B", LOWER, limit=600 if subscribers >= 5_000 else None),
            Metric("connects_per_s", "subscriptions/s", "", HIGHER),
            Metric("peak_mib", "RSS with all of them", "MiB", LOWER),
            Metric("left_mib", "RSS more than before the first, when all have left", "MiB", LOWER),
        ],
        short=f"{subscribers:,} subscribers", quick=dict(events=3), connections=OPEN_FILES - 200, disk=2 * trees.MB,
        group="channels", flags=_FLAGS, **more,
    )


CASES = [
    _fan_out(1_000, "fan-out-1k"),
    _fan_out(5_000, "fan-out-5k"),
    _fan_out(10_222, "fan-out-10k"),
    _fan_out(19_500, "fan-out-19k", against=NOBODY),
    Case(
        "stalled-10k", "10,000 subscribers, of whom 100 stop reading, events of 4 KiB", "hot", stalled,
        dict(subscribers=10_000, share=0.01, events=15, size=4096),
        [
            Metric("growth", "p99 of the others, after / before", "x", LOWER, limit=1.2),
            Metric("p99_before_ms", "p99 before", "ms", LOWER), Metric("p99_after_ms", "p99 after", "ms", LOWER),
            Metric("p50_before_ms", "p50 before", "ms", LOWER), Metric("p50_after_ms", "p50 after", "ms", LOWER),
        ],
        quick=dict(events=5), connections=OPEN_FILES - 200, disk=2 * trees.MB, group="channels", flags=_FLAGS, against=NOBODY,
    ),
]
