"""The file trees that are served, and their state in the page cache.

Sizes are binary, whatever the short name says: 10 KB = 10,240 bytes, 1 MB = 1,048,576 bytes, 1 GiB = 2**30 bytes.
"""

from __future__ import annotations

import base64
import ctypes
import mmap
import os
import random
from pathlib import Path
from typing import Callable, Dict

KB, MB, GIB = 1 << 10, 1 << 20, 1 << 30
_libc = ctypes.CDLL(None, use_errno=True)
_SLAB = random.Random(1).randbytes(8 * MB)


def hot(root: Path, quick: bool) -> None:
    for name, size in (("1k.bin", KB), ("10k.bin", 10 * KB), ("100k.bin", 100 * KB), ("1m.bin", MB)):
        _write(root / name, size)


def text(root: Path, quick: bool) -> None:
    """Files of ASCII only: kcup serves nothing else."""
    letters = base64.b64encode(_SLAB[:MB])
    for name, size in (("1k.txt", KB), ("10k.txt", 10 * KB), ("100k.txt", 100 * KB), ("1m.txt", MB)):
        (root / name).write_bytes(letters[:size])


def big(root: Path, quick: bool) -> None:
    _write(root / "1g.bin", GIB)


def many_1m(root: Path, quick: bool) -> None:
    _many(root / "arch", 1000, MB)


def many_10k(root: Path, quick: bool) -> None:
    _many(root / "arch", 10_000, 10 * KB)


def cold(root: Path, quick: bool) -> None:
    _write(root / "10k.bin", 10 * KB)
    for n in range(8):
        _write(root / f"cold-{n}.bin", 256 * MB if quick else GIB)


def sparse(root: Path, quick: bool) -> None:
    _sparse(root / "100g.bin", 100 * GIB)


def sparse_many(root: Path, quick: bool) -> None:
    (root / "arch").mkdir()
    for n in range(100):
        _sparse(root / "arch" / f"{n:03}.bin", GIB)


def _transfer(root: Path) -> Path:
    """The objects of a transfer; its manifest is written when the store runs."""
    folder = root / "bench" / "files"
    folder.mkdir(parents=True)
    return folder


def object_1g(root: Path, quick: bool) -> None:
    _write(_transfer(root) / "1g.bin", GIB)


def object_256m(root: Path, quick: bool) -> None:
    _write(_transfer(root) / "256m.bin", 256 * MB)


def objects_100k(root: Path, quick: bool) -> None:
    _fill(_transfer(root), 300, 100 * KB)


def objects_20k(root: Path, quick: bool) -> None:
    _fill(_transfer(root), 500 if quick else 5000, 20 * KB)


def objects_24m(root: Path, quick: bool) -> None:
    folder = _transfer(root)
    for n in range(300):
        path = folder / f"{n:05}.bin"
        _sparse(path, 24 * MB)
        # No two alike at their ends, so that check_files() tells them apart.
        with open(path, "r+b") as file:
            file.write(_SLAB[n * 4096 :][:4096])
            file.seek(-4096, os.SEEK_END)
            file.write(_SLAB[n * 4096 + 2048 :][:4096])


TREES: Dict[str, Callable[[Path, bool], None]] = {
    "hot": hot, "text": text, "big": big, "1000 x 1 MB": many_1m, "10000 x 10 KB": many_10k, "cold": cold,
    "100 GiB": sparse, "100 x 1 GiB": sparse_many,
    "transfer of 1 GiB": object_1g, "transfer of 256 MiB": object_256m, "transfer of 300 x 100 KB": objects_100k,
    "transfer of 20 KB objects": objects_20k, "transfer of 300 x 24 MiB": objects_24m,
}


def build(name: str, root: Path, quick: bool) -> None:
    root.mkdir(parents=True)
    TREES[name](root, quick)
    # No write-back of ours may run under a later measurement.
    os.sync()


def warm(root: Path) -> None:
    """Reads every file once, so that all of it is in the page cache."""
    buffer = bytearray(4 * MB)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def evict(path: Path) -> float:
    """Drops a file from the page cache. Returns the share of it that is still there: 0.0 is cold."""
    with open(path, "rb", buffering=0) as file:
        os.fsync(file.fileno())  # dirty pages would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _resident(file.fileno())


def _resident(fd: int) -> float:
    # mincore(2) only looks. A read with RWF_NOWAIT would start a read-ahead, and on a fast disk find its result.
    with mmap.mmap(fd, 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (len(mapped) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        seen = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        try:
            address = ctypes.c_void_p(ctypes.addressof(start))
            if _libc.mincore(address, ctypes.c_size_t(len(mapped)), seen) != 0:
                raise OSError(ctypes.get_errno(), "mincore")
        finally:
            del start  # a mapping with a view on it cannot be closed
        return sum(page & 1 for page in seen) / pages


def _write(path: Path, size: int) -> None:
    with open(path, "wb", buffering=0) as file:
        left = size
        while left > 0:
            left -= file.write(memoryview(_SLAB)[: min(left, len(_SLAB))])


def _many(folder: Path, count: int, size: int) -> None:
    folder.mkdir()
    _fill(folder, count, size)


def _fill(folder: Path, count: int, size: int) -> None:
    for n in range(count):
        at = n * 331 % (len(_SLAB) - size)  # no two alike, so a mixed-up file would show
        (folder / f"{n:05}.bin").write_bytes(_SLAB[at : at + size])


def _sparse(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)
