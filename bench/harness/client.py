"""The clients that wrk is not: run as `python3 -m harness.client ROLE JSON`, one process, one result line of JSON.

Bodies are taken with recv(MSG_TRUNC), which on TCP discards bytes without copying them (tcp(7)), so that even
Python costs less than the server it drives. Every response's byte count is checked against its Content-Length.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from typing import Dict, List, Optional, Tuple

MAX_HEAD = 64 << 10
# recv_into wants a buffer as large as it may return, although MSG_TRUNC leaves it untouched.
_sink = bytearray(1 << 20)


class Broken(Exception):
    """A response was not what was asked for."""


class Connection:
    """One HTTP/1.1 connection on which requests follow each other."""

    def __init__(
        self, host: str, port: int, source: Optional[str] = None, timeout: float = 30, copy: bool = False,
        buffer: Optional[int] = None,
    ):
        self.host = host
        self.flags = 0 if copy else socket.MSG_TRUNC
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        if buffer:
            # Before connecting: the window's scale is agreed on then.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.sock.fileno()

    def ask(self, path: str, headers: Optional[Dict[str, str]] = None) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._head = b""
        self.status = 0
        self.received = 0
        self.remaining: Optional[int] = None

    def take(self, most: int = len(_sink)) -> int:
        """Receives what is there, the head first; returns how many bytes of the body came."""
        if self.remaining is None:
            return self._take_head()
        got = self.sock.recv_into(_sink, min(self.remaining, most, len(_sink)), self.flags)
        if got == 0:
            raise Broken(f"connection closed with {self.remaining} bytes missing after {self.received}")
        self._count(got)
        return got

    def done(self) -> bool:
        return self.remaining == 0

    def _take_head(self) -> int:
        data = self.sock.recv(MAX_HEAD)
        if not data:
            raise Broken("connection closed before a response head")
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD:
                raise Broken("response head too long")
            return 0
        head, body = self._head[:end].decode("latin-1"), len(self._head) - end - 4
        status, *fields = head.split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {k.lower(): v.strip() for k, v in (f.split(":", 1) for f in fields)}
        if self.status not in (200, 206):
            raise Broken(f"status {self.status}")
        if "content-length" not in self.headers:
            raise Broken("no Content-Length")
        self.remaining = int(self.headers["content-length"])
        if body > self.remaining:
            raise Broken("more bytes than Content-Length")
        self._count(body)
        return body

    def _count(self, got: int) -> None:
        self.received += got
        self.remaining -= got


def download(host: str, port: int, path: str, connections: int, repeat: int, copy: bool, timeout: float) -> dict:
    """Takes `path` on each of `connections` at the same time, `repeat` times, on fresh connections each time.

    With `copy` it receives as downloaders do, into memory and 64 KiB at a time, and is slower than a server.
    """
    most = 64 << 10 if copy else len(_sink)
    total, seconds, deadline = 0, 0.0, time.monotonic() + timeout
    for _ in range(repeat):
        active = [Connection(host, port, copy=copy) for _ in range(connections)]
        with selectors.DefaultSelector() as selector:
            began = time.monotonic()
            for one in active:
                one.ask(path)
                one.sock.setblocking(False)
                selector.register(one, selectors.EVENT_READ)
            left = len(active)
            while left:
                for key, _ in _ready(selector, deadline):
                    one = key.fileobj
                    one.take(most)
                    if one.done():
                        selector.unregister(one)
                        left -= 1
            seconds += time.monotonic() - began
        total += sum(one.received for one in active)
        for one in active:
            one.sock.close()
    return {"bytes": total, "seconds": seconds, "length": active[0].received}


def flood(host: str, port: int, path: str, size: int, connections: int, for_seconds: float) -> dict:
    """Asks for `path` again and again on each of `connections`, and times every response to its last byte."""
    active = [Connection(host, port) for _ in range(connections)]
    asked: Dict[Connection, float] = {}
    times: List[float] = []
    with selectors.DefaultSelector() as selector:
        began = now = time.monotonic()
        for one in active:
            one.ask(path)
            one.sock.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
            asked[one] = began
        while now - began < for_seconds:
            for key, _ in _ready(selector, began + for_seconds + 30):
                one = key.fileobj
                one.take()
                if one.done():
                    if one.received != size:
                        raise Broken(f"{one.received} bytes instead of {size}")
                    now = time.monotonic()
                    times.append(now - asked[one])
                    one.ask(path)
                    asked[one] = now
        seconds = now - began
    for one in active:
        one.sock.close()
    times.sort()
    return {
        "requests": len(times), "seconds": seconds, "max_us": times[-1] * 1e6,
        "p50_us": times[len(times) // 2] * 1e6, "p99_us": times[len(times) * 99 // 100] * 1e6,
    }


def idle(host: str, port: int, path: str, connections: int, length: int) -> dict:
    """Opens connections that make one request each, then holds them until stdin ends."""
    batch, held = 64, []
    while len(held) < connections:
        fresh = []
        for n in range(len(held), min(len(held) + batch, connections)):
            one = Connection(host, port, source=f"127.0.0.{2 + n % 10}")
            one.ask(path)
            fresh.append(one)
        for one in fresh:
            while not one.done():
                one.take()
            if one.received != length:
                raise Broken(f"{one.received} bytes instead of {length}")
        held += fresh
    _hold()
    closed = 0
    for one in held:
        one.sock.setblocking(False)
        try:
            one.sock.recv(1)
            closed += 1
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    return {"held": len(held) - closed, "closed": closed}


def readers(host: str, port: int, paths: List[str], rate: float) -> dict:
    """One reader for each path at `rate` bytes a second, until stdin ends."""
    active = [Connection(host, port) for _ in paths]
    for one, path in zip(active, paths):
        one.ask(path)
        one.sock.setblocking(False)
    with selectors.DefaultSelector() as stop, selectors.DefaultSelector() as selector:
        stop.register(sys.stdin, selectors.EVENT_READ)
        for one in active:
            selector.register(one, selectors.EVENT_READ)
        announced, began = False, time.monotonic()
        while not stop.select(0):
            allowed = (time.monotonic() - began) * rate
            for key, _ in selector.select(0):
                one = key.fileobj
                # 256 KiB at a time: a slow reader, but not one that costs a core.
                while one.received + (256 << 10) <= allowed:
                    try:
                        one.take(256 << 10)
                    except BlockingIOError:
                        break
                    if one.done():
                        selector.unregister(one)
                        break
            if not announced and (all(o.received for o in active) or time.monotonic() - began > 3):
                print(json.dumps({"ready": True}), flush=True)
                announced = True
            time.sleep(0.004)
        seconds = time.monotonic() - began
    return {
        "bytes": sum(o.received for o in active), "seconds": seconds,
        "started": sum(o.received > 0 for o in active), "finished": sum(o.done() for o in active),
    }


def paced(host: str, port: int, paths: List[str], rate: float, for_seconds: float, buffer: int, settle: float = 0) -> dict:
    """One client for each path, all at the same time, that takes `rate` bytes a second and has a small receive buffer.

    As with a line of that rate, time in which nothing came is lost, but for 256 KiB of it. With `settle`, so many seconds go by
    before anything counts: servers fill all of the sockets' buffers first.
    """
    piece, make_up = 32 << 10, 256 << 10
    active = [Connection(host, port, buffer=buffer) for _ in paths]
    began = time.monotonic()
    for one, path in zip(active, paths):
        one.ask(path)
        one.sock.setblocking(False)
    credit, before = {one: 0.0 for one in active}, began
    uncounted = {one: 0 for one in active}
    while (now := time.monotonic()) - began < settle + for_seconds:
        if settle and now - began >= settle:
            print(json.dumps({"ready": True}), flush=True)
            began, settle, uncounted = now, 0, {one: one.received for one in active}
        earned, before = (now - before) * rate, now
        for one in active:
            have = min(credit[one] + earned, make_up)
            while have >= piece and not one.done():
                try:
                    have -= one.take(piece)
                except BlockingIOError:
                    break
            credit[one] = have
        time.sleep(0.005)
    if any(one.done() for one in active):
        raise Broken("an object ended before the time did")
    rates = sorted((one.received - uncounted[one]) / (now - began) for one in active)
    return {
        "bytes": sum(one.received - uncounted[one] for one in active), "seconds": now - began,
        "slowest": rates[0], "median": rates[len(rates) // 2],
    }


def one_by_one(host: str, port: int, paths: List[str], pause: float) -> dict:
    """Asks for each path after the other on one connection. Times are from the request to the body's first and last byte."""
    one = Connection(host, port)
    first, whole, total = [], [], 0
    began = time.monotonic()
    for path in paths:
        time.sleep(pause)
        asked = time.monotonic()
        one.ask(path)
        while not one.received:
            one.take()
        first.append(time.monotonic() - asked)
        while not one.done():
            one.take()
        whole.append(time.monotonic() - asked)
        total += one.received
    first.sort()
    figures = {
        "seconds": time.monotonic() - began, "bytes": total, "requests": len(paths), "asking": sum(whole),
        "first_p50_us": first[len(first) // 2] * 1e6, "first_p99_us": first[len(first) * 99 // 100] * 1e6,
    }
    whole.sort()
    return {**figures, "whole_p50_us": whole[len(whole) // 2] * 1e6}


def ranges(host: str, port: int, path: str, clients: int, piece: int, pieces: int, timeout: float) -> dict:
    """Clients that read `pieces` ranges of `piece` bytes each, spread over the whole, and leave in the midst of the last.

    Stops early, without an error, when `timeout` is over: what counts is the server's memory meanwhile.
    """
    with_length = Connection(host, port)
    with_length.ask(path)
    while with_length.remaining is None:
        with_length.take()
    length = with_length.received + with_length.remaining
    with_length.sock.close()

    plans: Dict[Connection, List[Tuple[int, Optional[int]]]] = {}
    for n in range(clients):
        starts = [(length * (n + clients * k) // (clients * pieces)) for k in range(pieces)]
        plan = [(s, min(s + piece, length) - 1) for s in starts[:-1]] + [(starts[-1], None)]
        plans[Connection(host, port, timeout=timeout)] = plan
    total, full, began = 0, 0, time.monotonic()
    with selectors.DefaultSelector() as selector:
        for one, plan in plans.items():
            _ask_range(one, path, *plan[0])
            one.sock.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - began < timeout:
            for key, _ in selector.select(0.2):
                one = key.fileobj
                fresh = one.remaining is None
                total += one.take()
                plan = plans[one]
                if fresh and one.remaining is not None:
                    _check_range(one, plan[0], length)
                if plan[0][1] is None:
                    ended = one.received >= piece or one.done()
                else:
                    ended = one.done()
                if ended:
                    plan.pop(0)
                    if plan:
                        _ask_range(one, path, *plan[0])
                    else:
                        selector.unregister(one)
                        one.sock.close()
                        full += 1
    return {"bytes": total, "seconds": time.monotonic() - began, "length": length, "completed": full}


def _ask_range(one: Connection, path: str, first: int, last: Optional[int]) -> None:
    one.sock.setblocking(True)
    one.ask(path, {"Range": f"bytes={first}-{'' if last is None else last}"})
    one.sock.setblocking(False)


def _check_range(one: Connection, asked: Tuple[int, Optional[int]], length: int) -> None:
    last = length - 1 if asked[1] is None else asked[1]
    got = one.headers.get("content-range", "")
    if one.status != 206 or not re.fullmatch(rf"bytes {asked[0]}-{last}/{length}", got):
        raise Broken(f"asked for bytes {asked[0]}-{last}/{length}, got status {one.status}, {got!r}")
    if one.received + one.remaining != last - asked[0] + 1:
        raise Broken(f"Content-Length {one.received + one.remaining} does not fit {got}")


def _ready(selector: selectors.BaseSelector, deadline: float):
    if time.monotonic() > deadline:
        raise Broken("time is over")
    return selector.select(1)


def _hold() -> None:
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.read()


ROLES = {
    "download": download, "flood": flood, "idle": idle, "readers": readers, "ranges": ranges, "paced": paced,
    "one_by_one": one_by_one,
}


def main() -> None:
    try:
        result = ROLES[sys.argv[1]](**json.loads(sys.argv[2]))
    except (Broken, OSError) as why:
        result = {"error": f"{type(why).__name__}: {why}"}
    result["cpu"] = time.process_time()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
