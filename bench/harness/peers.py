"""The servers: how each is found, configured, started and stopped. One class each; nginx's
are in nginx.py, others in rivals.py.

To add a peer, write a class with `name`, `packages`, `version()` and `command()`, and list it in KINDS in main.py or in
RIVALS.
A server runs in the foreground as our child, in a process group of its own, on one core, on 127.0.0.1.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, FrozenSet, List, Optional, Set, Tuple

from . import install

if TYPE_CHECKING:
    from .stores import Store

START_SECONDS = 15
STOP_SECONDS = 5
# The idle case needs 10,000 sockets in the server and as many in its client.
OPEN_FILES = 20_000
PR_SET_PDEATHSIG = 1
# Outflow's ledger in a server's scratch folder, which is its user's state folder.
LEDGER = Path("outflow", "ledger.sqlite")
# What `outflow file` and kcup would take from our user's environment.
FOREIGN = ("HOST", "PORT", "FILE", "STDIN_READ_TIMEOUT_SECONDS", "TLS_KEY", "TLS_CERT", "LOG_LEVEL")

_libc = ctypes.CDLL(None, use_errno=True)


class PeerError(Exception):
    """A server could not be found, built or started."""


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1 and its key, PEM."""

    certificate: Path
    key: Path


@dataclass
class Start:
    """What a peer may use to write its configuration and command."""

    root: Path  # the folder to serve
    scratch: Path  # an empty folder for configuration, logs and caches
    cache: Path  # a folder that outlives the server, shared by all rounds of a case
    port: int  # a free port, for servers that cannot choose one and tell
    connections: int  # how many connections must be possible at once
    store: Optional[Store] = None  # to be served instead of the folder
    flags: Tuple[str, ...] = ()  # what the case adds to Outflow's command
    file: Optional[Path] = None  # the one file that the case asks for, in `root`
    tls: Optional[Tls] = None  # speak TLS with this
    h2c: bool = False  # speak HTTP/2 without TLS, to who begins with it


class Peer:
    name = ""
    program = ""  # what is started; set by install() where it is not known before
    packages: List[str] = []  # Debian packages that provide it
    groups: Tuple[str, ...] = ("files",)  # of which cases it can do
    is_optional = False  # a run goes on without it
    offers: FrozenSet[str] = frozenset()  # what published cases may need of it
    how = ""  # how it is run, where its class does not say it
    heads = True  # answers HEAD
    archive_query = "?zip"  # asks for a folder as an archive
    archives = False  # answers /folder/?zip with an archive
    picks_port = False

    def install(self, folder: Path) -> None:
        """Makes sure that it is there, in `folder` if it is not Debian's; raises install.Missing."""
        install.debian(self.packages)

    def version(self) -> str:
        raise NotImplementedError

    def announces(self, start: Start) -> bool:
        """Whether it chooses its own port and tells in its first line on stdout."""
        return self.picks_port

    def command(self, start: Start) -> List[str]:
        raise NotImplementedError

    def environment(self, start: Start) -> dict:
        return {}

    def announced_port(self, first_line: str) -> Optional[int]:
        """The port in the first line on stdout, for servers that pick their own."""
        return None


def port_of(first_line: str) -> Optional[int]:
    found = re.search(r"listening on https?://[^/]*:(\d+)/", first_line)
    return int(found.group(1)) if found else None


class Outflow(Peer):
    """Outflow as a user starts it: with its ledger and its log, which goes to a file."""

    name = "outflow"
    groups = ("files", "stores", "receipts", "published", "channels")
    offers = frozenset({"file", "folder", "archive", "tls", "h2", "h2c", "start"})
    archives = True
    picks_port = True
    more: Tuple[str, ...] = ()
    how = "`outflow file` for one file without TLS, `outflow serve` for everything else, with its ledger and its log; one thread."

    def __init__(self, binary: Path):
        self.binary = binary
        self.program = str(binary)

    def version(self) -> str:
        return first_line([str(self.binary), "--version"])

    def announces(self, start: Start) -> bool:
        return not self._one(start)

    @staticmethod
    def _one(start: Start) -> bool:
        # Over TLS `serve` is measured, as everything else there is.
        return start.file is not None and start.tls is None and not start.h2c

    def command(self, start: Start) -> List[str]:
        if self._one(start):
            return [str(self.binary), "file", str(start.file), "--host", "127.0.0.1", "--port", str(start.port)]
        what = start.store.address if start.store else str(start.root)
        command = [str(self.binary), "serve", what, "--listen", "127.0.0.1:0", "--threads", "1"]
        command += ["--cache", str(start.cache), *start.flags, *self.more]
        if start.tls:
            command += ["--tls-cert", str(start.tls.certificate), "--tls-key", str(start.tls.key)]
        if start.h2c:
            command += ["--http2-cleartext"]
        if start.connections > 1024:
            command += ["--max-connections", str(start.connections)]
        return command

    def environment(self, start: Start) -> dict:
        # Neither the user's settings nor the user's folders may colour a figure.
        store = start.store.environment if start.store else {}
        home = {"HOME": str(start.scratch), "XDG_STATE_HOME": str(start.scratch), "XDG_CACHE_HOME": str(start.cache)}
        return {**home, **store, "OUTFLOW_THREADS": "1"}

    announced_port = staticmethod(port_of)


class NoLedger(Outflow):
    """The same program without a ledger: a delivery is tracked for its line in the log, and recorded nowhere."""

    name = "no-ledger"
    groups = ("receipts",)
    more = ("--ledger", "none")


class Server:
    """A running server: its process group, its address and what it has written."""

    def __init__(
        self, peer: Peer, root: Path, scratch: Path, cache: Path, core: Set[int], connections: int = 1024,
        store: Optional[Store] = None, flags: Tuple[str, ...] = (), file: Optional[Path] = None, tls: Optional[Tls] = None,
        h2c: bool = False,
    ):
        self.peer = peer
        self.host = "127.0.0.1"
        self.scratch = scratch
        scratch.mkdir(parents=True)
        cache.mkdir(parents=True, exist_ok=True)
        # A free port may be taken between our look and the server's bind; then another is tried.
        for attempt in range(3):
            self.start = start = Start(root, scratch, cache, free_port(), connections, store, flags, file, tls, h2c)
            self.process = spawn(peer, start, core)
            self.pid = self.process.pid
            if self._ready(start):
                return
            self.stop()
        raise PeerError(f"{peer.name} did not start:\n{self.log()}")

    def _ready(self, start: Start) -> bool:
        deadline = time.monotonic() + START_SECONDS
        self.port = None if self.peer.announces(start) else start.port
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.port is None:
                text = (self.scratch / "stdout").read_text(errors="replace")
                if "\n" in text:
                    self.port = self.peer.announced_port(text.split("\n", 1)[0])
                    if self.port is None:
                        raise PeerError(f"{self.peer.name} began with {text[:200]!r}, not with its address")
            else:
                try:
                    socket.create_connection((self.host, self.port), timeout=1).close()
                    # The port could be somebody else's; ours must still be alive.
                    time.sleep(0.05)
                    return self.process.poll() is None
                except OSError:
                    pass
            time.sleep(0.02)
        return False

    def url(self, path: str) -> str:
        return f"{'https' if self.start.tls else 'http'}://{self.host}:{self.port}{path}"

    def log(self) -> str:
        text = ""
        for name in ("stdout", "stderr", "error.log"):
            path = self.scratch / name
            if path.exists():
                text += path.read_text(errors="replace")
        return text[-4000:]

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        end_group(self.process)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def spawn(peer: Peer, start: Start, core: Set[int], stamp: Optional[int] = None) -> subprocess.Popen:
    """Starts a server, which is not yet ready then. What it says goes to files in its scratch folder. The time just before
    its program is executed goes to the descriptor `stamp`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OUTFLOW_", "AWS_")) and k not in FOREIGN}
    env.update(peer.environment(start))
    with open(start.scratch / "stdout", "wb") as out, open(start.scratch / "stderr", "wb") as err:
        return subprocess.Popen(
            peer.command(start), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env=env, cwd=str(start.scratch), preexec_fn=child_setup(core, stamp),
        )


def child_setup(cores: Set[int], stamp: Optional[int] = None):
    """For a child: a group of its own, its cores, enough descriptors, and an end with ours."""

    def setup() -> None:
        os.setsid()
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, cores)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if stamp is not None:
            os.write(stamp, struct.pack("d", time.monotonic()))

    return setup


def raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if os.geteuid() == 0:
        want = OPEN_FILES
        hard = max(hard, want) if hard != resource.RLIM_INFINITY else hard
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def end_group(process: subprocess.Popen) -> None:
    """Ends a child and what it started (they share a process group): politely, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_line(command: List[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    return (done.stdout or done.stderr).strip().split("\n")[0]
