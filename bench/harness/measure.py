"""What is read from the kernel about a server: CPU time, memory, disk reads; and medians.

CPU time comes from each process's CPU clock (clock_getcpuclockid(3)): nanoseconds, all threads, those that have
ended included. /proc/PID/stat would give 10 ms steps, and schedstat forgets threads that have ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Tuple

TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2


def tree(pid: int) -> List[int]:
    """The process and its descendants."""
    children: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, []))
    return found


def cpu_by_pid(pids: Iterable[int]) -> Dict[int, float]:
    """CPU seconds of each process so far."""
    found = {}
    for pid in pids:
        try:
            # The clock's number as the kernel's make_process_cpuclock() composes it.
            found[pid] = time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
        except OSError:
            continue
    return found


def memory(pid: int) -> Dict[str, int]:
    """Bytes of memory of the tree: rss, pss (shared pages counted once) and anonymous (heap and stacks)."""
    total = {"rss": 0, "pss": 0, "anonymous": 0}
    for one in tree(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            key = line.split(":")[0].lower()
            if key in total:
                total[key] += int(line.split()[1]) * 1024
    return total


def peak_rss(pid: int) -> int:
    """The sum of the largest RSS that each process of the tree has had (VmHWM), in bytes."""
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total


def wait_for_rest(pid: int, patience: float = 15) -> bool:
    """Waits until the tree has used less than 2 % of a core for half a second; says whether it came to that."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        began, before = time.monotonic(), sum(cpu_by_pid(tree(pid)).values())
        time.sleep(0.5)
        if sum(cpu_by_pid(tree(pid)).values()) - before < 0.02 * (time.monotonic() - began):
            return True
    return False


def disk_bytes_read(pid: int) -> int:
    """Bytes that the tree has caused to be read from the disk: proof that a cold file was cold."""
    return _io(pid, "read_bytes")


def bytes_written(pid: int) -> int:
    """Bytes that the tree has caused to be written to a disk, now or later."""
    return _io(pid, "write_bytes")


def _io(pid: int, key: str) -> int:
    """A counter of proc(5), io, of the whole tree."""
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/io").read_text().splitlines():
            if line.startswith(f"{key}:"):
                total += int(line.split()[1])
    return total


def wakeups(pid: int) -> int:
    """How often the threads of the tree have waited for something and gone on."""
    total = 0
    for one in tree(pid):
        for thread in Path(f"/proc/{one}/task").iterdir():
            for line in (thread / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


class Calls:
    """Counts system calls of a server, by strace(1), while the body of a `with` runs."""

    def __init__(self, pid: int, names: Tuple[str, ...]):
        self.pid, self.names, self.count = pid, names, 0

    def __enter__(self) -> "Calls":
        self._file = tempfile.NamedTemporaryFile(prefix="outflow-bench-")
        command = ["strace", "-f", "-qq", "-e", f"trace={','.join(self.names)}", "-o", self._file.name, "-p", str(self.pid)]
        self._strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not all(self._is_traced(Path(f"/proc/{self.pid}/task/{thread}")) for thread in os.listdir(f"/proc/{self.pid}/task")):
            time.sleep(0.01)
        return self

    @staticmethod
    def _is_traced(thread: Path) -> bool:
        try:
            return "TracerPid:\t0\n" not in (thread / "status").read_text()
        except OSError:
            return True  # it has ended

    def __exit__(self, *_) -> None:
        self._strace.send_signal(signal.SIGINT)
        self._strace.wait()
        lines = Path(self._file.name).read_text().splitlines()
        self.count = sum(any(f" {name}(" in line for name in self.names) for line in lines)
        self._file.close()


def sockets(pid: int) -> int:
    """Open sockets of the tree."""
    total = 0
    for one in tree(pid):
        folder = f"/proc/{one}/fd"
        for fd in os.listdir(folder):
            try:
                total += os.readlink(f"{folder}/{fd}").startswith("socket:")
            except OSError:
                continue
    return total


def core_busy(core: int) -> Dict[str, float]:
    """Seconds that a core has been busy, and that the hypervisor has given to others, since boot."""
    for line in Path("/proc/stat").read_text().splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) / TICKS for f in fields[1:9])
            return {"busy": user + nice + system + irq + softirq, "steal": steal}
    raise ValueError(f"no core {core}")


def established(port: int) -> int:
    """Connections on 127.0.0.x that whoever listens on `port` has open now."""
    end = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(f[1].endswith(end) and f[3] == "01" for f in (line.split(None, 4) for line in lines))


class Most:
    """The largest value that `look()` has had, ten times a second, while the body of a `with` ran."""

    def __init__(self, look: Callable[[], int]):
        self.look, self.value, self._over = look, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.1):
            self.value = max(self.value, self.look())

    def __enter__(self) -> "Most":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()


class MemoryWatch:
    """The largest that each kind of memory() was, twice a second, while the body of a `with` ran."""

    def __init__(self, pid: int):
        self.pid, self.most, self._over = pid, {}, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.5):
            with contextlib.suppress(OSError):  # a child of the server may end under our eyes
                for kind, size in memory(self.pid).items():
                    self.most[kind] = max(self.most.get(kind, 0), size)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()


class Window:
    """Measures a server while the body of a `with` runs.

    Afterwards: `seconds`, `cpu` (seconds of the server), `others` (share of the server's core that went to
    somebody else's work), `steal` (share that the hypervisor took), `load_busy` (seconds that the load's core worked),
    `busy` (share of its core that the server used) and
    `store_cpu` (seconds of the store behind the server, if there is one).
    """

    def __init__(self, pid: int, core: int, load_core: int, store: Optional[int] = None):
        self.pid, self.core, self.load_core, self.store = pid, core, load_core, store

    def _store_cpu(self) -> float:
        return sum(cpu_by_pid(tree(self.store)).values()) if self.store else 0.0

    def __enter__(self) -> "Window":
        self._core, self._load = core_busy(self.core), core_busy(self.load_core)
        self._cpu, self._store = cpu_by_pid(tree(self.pid)), self._store_cpu()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.monotonic() - self._began
        after = cpu_by_pid(tree(self.pid))
        core = core_busy(self.core)
        self.cpu = sum(cpu - self._cpu.get(pid, 0.0) for pid, cpu in after.items())
        self.store_cpu = self._store_cpu() - self._store
        self.load_busy = core_busy(self.load_core)["busy"] - self._load["busy"]
        busy = core["busy"] - self._core["busy"]
        self.busy = self.cpu / self.seconds
        self.others = max(0.0, busy - self.cpu) / self.seconds
        self.steal = (core["steal"] - self._core["steal"]) / self.seconds


def spread(values: List[float]) -> Dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
