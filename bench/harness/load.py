"""The load: starts wrk and our own clients on the load core, and checks what came back."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import resource
import select
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Dict, List, Optional, Set

from .peers import Server, child_setup, end_group

HERE = Path(__file__).resolve().parent


class LoadError(Exception):
    """A response was wrong or missing; its figures would be worthless."""


def wrk(server: Server, path: str, size: int, seconds: float, connections: int, cores: Set[int]) -> Dict[str, float]:
    """wrk with one thread; raises unless every response was whole. `cpu` is wrk's own CPU time."""
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{int(seconds)}s", "--timeout", "10s",
        "-s", str(HERE / "wrk.lua"), server.url(path),
    ]
    before = _children_cpu()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=child_setup(cores),
    )
    try:
        output, _ = process.communicate(timeout=seconds + 30)
    finally:
        end_group(process)
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise LoadError(f"wrk failed:\n{output[-1000:]}\n{server.log()}")
    result = json.loads(lines[0][len("RESULT "):])
    wrong = {k: v for k, v in result.items() if (k.endswith("_errors") or k == "timeouts") and v}
    if wrong or result["requests"] == 0 or result["bytes"] < result["requests"] * size:
        raise LoadError(f"{server.peer.name} {path}: {result}\n{server.log()}")
    result["cpu"] = _children_cpu() - before
    result["seconds"] = result["duration_us"] / 1e6
    return result


def sink(server: Server, path: str, size: int, seconds: float, connections: int, cores: Set[int]) -> Dict[str, float]:
    """What wrk() does, by our own client: wrk copies what it receives, 8 KiB at a time, and with large files it, not
    the server, sets the pace."""
    with Client(
        "flood", cores, server, path=path, size=size, connections=connections, for_seconds=seconds
    ) as client:
        return client.finish()


class Client:
    """One of our clients as a process. `finish()` ends a holding one and returns the result."""

    def __init__(self, role: str, cores: Set[int], server: Server, patience: float = 120, **arguments):
        self.role, self.patience, self.server = role, patience, server
        arguments.update(host=server.host, port=server.port)
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-m", "harness.client", role, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(HERE.parent), preexec_fn=child_setup(cores),
            bufsize=0,  # a buffered reader could hold a line that select() no longer sees
        )

    def wait_ready(self) -> None:
        line = self._line()
        if "ready" not in line:
            raise LoadError(f"{self.role}: {line}\n{self.server.log()}")

    def finish(self) -> dict:
        self.process.stdin.close()
        result = self._line()
        if "error" in result:
            raise LoadError(f"{self.server.peer.name} {self.role}: {result['error']}\n{self.server.log()}")
        self.process.wait(10)
        return result

    def _line(self) -> dict:
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            raise LoadError(f"{self.role}: nothing for {self.patience:.0f} s\n{self.server.log()}")
        line = self.process.stdout.readline()
        if not line:
            raise LoadError(f"{self.role}: ended without a result (exit {self.process.wait(10)})")
        return json.loads(line)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        end_group(self.process)
        self.process.stdout.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def curl(server: Server, path: str, repeat: int, http: str, ciphers: str, cores: Set[int], timeout: float) -> Dict[str, float]:
    """Downloads by curl, each over a fresh connection: whole, over the version of HTTP that was asked for, verified TLS 1.3."""
    command = ["curl", "-sS", "--fail", "-o", os.devnull, "-w", "%{size_download} %{time_total} %{http_version}\n", f"--{http}"]
    if server.start.tls:
        command += ["--cacert", str(server.start.tls.certificate), "--tlsv1.3", "--tls13-ciphers", ciphers]
    before = _children_cpu()
    total, seconds = 0, 0.0
    for _ in range(repeat):
        size, took, version = program([*command, server.url(path)], {}, cores, timeout).split()
        if (version == "2") != (http != "http1.1"):
            raise LoadError(f"{server.peer.name} {path}: HTTP/{version} instead of {http}")
        total, seconds = total + int(size), seconds + float(took)
    return {"bytes": total, "seconds": seconds, "requests": repeat, "cpu": _children_cpu() - before}


def h2load(
    server: Server, path: str, size: int, cores: Set[int], clients: int, streams: int, ciphers: str,
    seconds: Optional[int] = None, requests: Optional[int] = None, timeout: float = 120,
) -> Dict[str, float]:
    """h2load with one thread: for a time, or so many requests. Its windows are as large as they may be (its defaults)."""
    command = ["h2load", "-t1", f"-c{clients}", f"-m{streams}", f"--tls13-ciphers={ciphers}"]
    command += [f"-D{seconds}", "--warm-up-time=0"] if seconds else [f"-n{requests}"]
    before, began = _children_cpu(), time.monotonic()
    output = program([*command, server.url(path)], {}, cores, timeout)
    used = _children_cpu() - before
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m|h)", output)
    counted = re.search(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    received = re.search(r"traffic: .*\((\d+)\) data", output)
    if not (finished and counted and received):
        raise LoadError(f"h2load failed:\n{output[-1000:]}\n{server.log()}")
    _, done, *wrong = (int(n) for n in counted.groups())
    # With a time, what was under way at its end counts as neither.
    if not done or (any(wrong) and not seconds) or int(received.group(1)) < done * size:
        raise LoadError(f"{server.peer.name} {path}: {counted.group(0)}, {received.group(0)}\n{server.log()}")
    took = seconds or float(finished.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}[finished.group(2)]
    return {
        "requests": done, "bytes": int(received.group(1)), "seconds": took, "cpu": used, "ran": time.monotonic() - began,
    }


def handshakes(tool: Path, server: Server, path: str, size: int, seconds: int, connections: int, cores: Set[int]) -> Dict[str, float]:
    """Full handshakes by our own client, see bench/load/handshakes.go."""
    output = program(
        [str(tool), f"{server.host}:{server.port}", path, str(size), str(seconds), str(connections)], {}, cores, seconds + 60,
        may_fail=True,
    )
    result = json.loads(output.splitlines()[0]) if output.startswith("{") else {"error": output[-500:]}
    if "error" in result:
        raise LoadError(f"{server.peer.name} handshakes: {result['error']}\n{server.log()}")
    return result


def program(command: List[str], environment: dict, cores: Set[int], timeout: float, may_fail: bool = False) -> str:
    """Runs a program that is measured by what it prints."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment}, preexec_fn=child_setup(cores),
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{Path(command[0]).name}: not done after {timeout:.0f} s") from None
    finally:
        end_group(process)
    if process.returncode != 0 and not may_fail:
        raise LoadError(f"{Path(command[0]).name} ended with {process.returncode}:\n{output[-2000:]}")
    return output


def head(server: Server, path: str) -> Dict[str, str]:
    return _request(server, "HEAD", path)[1]


def body(
    server: Server, path: str, first: Optional[int] = None, last: Optional[int] = None, tag: Optional[str] = None
) -> bytes:
    headers = {} if first is None else {"Range": f"bytes={first}-{last}"}
    if tag is not None:
        headers["If-Range"] = tag
    status, _, data = _request(server, "GET", path, headers)
    if status != (200 if first is None else 206):
        raise LoadError(f"{server.peer.name} {path}: status {status} for {headers or 'GET'}")
    return data


def check_files(server: Server, root: Path, prefix: str = "/") -> None:
    """Compares what is served with what is on disk: small files whole, ends of large ones, a sample of many."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    for file in files[:: max(1, len(files) // 8)]:
        path, size = prefix + str(file.relative_to(root)), file.stat().st_size
        if int(head(server, path).get("content-length", -1)) != size:
            raise LoadError(f"{server.peer.name} {path}: HEAD does not say {size} bytes")
        # Little is read, so that a cold file stays cold but for its ends (it is evicted afterwards).
        for first, last in [(None, size - 1)] if size <= 1 << 20 else [(0, 999), (size - 1000, size - 1)]:
            with open(file, "rb") as disk:
                disk.seek(first or 0)
                if body(server, path, first, last) != disk.read(last + 1 - (first or 0)):
                    raise LoadError(f"{server.peer.name} {path}: bytes {first}-{last} differ from the disk's")


def check_one(server: Server, file: Path, path: str, http: str) -> None:
    """The same for one file, by curl, so over any kind of connection; and with nothing but GET, if it is small."""
    size = file.stat().st_size
    command = ["curl", "-sS", "--fail", f"--{http}"]
    if server.start.tls:
        command += ["--cacert", str(server.start.tls.certificate)]
    for first, last in [(None, size - 1)] if size <= 1 << 20 else [(0, 999), (size - 1000, size - 1)]:
        part = [] if first is None else ["-r", f"{first}-{last}"]
        got = subprocess.run([*command, *part, server.url(path)], capture_output=True, timeout=60)
        with open(file, "rb") as disk:
            disk.seek(first or 0)
            if got.returncode != 0 or got.stdout != disk.read(last + 1 - (first or 0)):
                raise LoadError(
                    f"{server.peer.name} {path}: bytes {first or 0}-{last} are not the disk's {got.stderr.decode().strip()}\n{server.log()}"
                )


def wait_until_stored(server: Server, path: str, entries: int, timeout: float) -> float:
    """Waits until the archive's form is final: every entry stored with its CRC in its header, ETag at rest.

    Returns the seconds waited. The central directory is read through Range requests.
    """
    began, tag = time.monotonic(), None
    while True:
        now = head(server, path)
        if now.get("etag") == tag:
            with zipfile.ZipFile(RangeFile(server, path)) as archive:
                listed = [e for e in archive.infolist() if not e.is_dir()]
            if len(listed) != entries:
                raise LoadError(f"{path}: {len(listed)} entries instead of {entries}")
            if all(e.compress_type == zipfile.ZIP_STORED and not e.flag_bits & 8 for e in listed):
                return time.monotonic() - began
        tag = now.get("etag")
        if time.monotonic() - began > timeout:
            raise LoadError(f"{path}: CRCs not all known after {timeout:.0f} s")
        time.sleep(0.5)


def check_archive(server: Server, path: str, entries: int) -> None:
    """Takes a whole archive, and checks its list and every CRC-32."""
    taken = server.scratch / "archive.zip"
    program(["curl", "-sS", "--fail", "-o", str(taken), server.url(path)], {}, os.sched_getaffinity(0), timeout=120)
    with zipfile.ZipFile(taken) as archive:
        if len(archive.infolist()) != entries or archive.testzip():
            raise LoadError(f"{server.peer.name} {path}: not an archive of {entries} whole files")
    taken.unlink()


class RangeFile(io.RawIOBase):
    """A remote file as a seekable one, read by Range requests in blocks."""

    BLOCK = 1 << 20

    def __init__(self, server: Server, path: str):
        self.server, self.path, self.at = server, path, 0
        described = head(server, path)
        self.size, self.tag = int(described["content-length"]), described.get("etag")
        self._from, self._block = 0, b""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def read(self, n: int = -1) -> bytes:
        n = max(0, self.size - self.at) if n is None or n < 0 else min(n, max(0, self.size - self.at))
        if n == 0:
            return b""
        if not (self._from <= self.at and self.at + n <= self._from + len(self._block)):
            last = min(self.size, self.at + max(n, self.BLOCK)) - 1
            self._from, self._block = self.at, body(self.server, self.path, self.at, last, self.tag)
        start = self.at - self._from
        self.at += n
        return self._block[start : start + n]


def _request(server: Server, method: str, path: str, headers: Optional[dict] = None):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise LoadError(f"{server.peer.name} {method} {path}: status {answer.status}\n{data[:500]!r}")
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, data
    except (OSError, http.client.HTTPException) as why:
        raise LoadError(f"{server.peer.name} {method} {path}: {why}\n{server.log()}") from why
    finally:
        connection.close()


def _children_cpu() -> float:
    """CPU seconds of all children that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
