"""The congestion control of all connections of a run: it decides who pays for sending.

Under bbr without the queue discipline fq, the kernel's pacing timers run on whichever core is near and favour a server
that sends less for each wake-up; a comparison on loopback then says little about servers. See bench/README.md.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator

SETTING = Path("/proc/sys/net/ipv4/tcp_congestion_control")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
USUAL = "cubic"


class Refused(Exception):
    """The kernel does not have it, or does not let us choose; the text says what to do."""


@contextlib.contextmanager
def of_all(name: str) -> Iterator[None]:
    """Sets the congestion control of new connections while the body of a `with` runs, and restores what was there."""
    before = SETTING.read_text().strip()
    if before == name:
        yield
        return
    if name not in AVAILABLE.read_text().split():
        raise Refused(f"this kernel has no congestion control {name} (tcp_available_congestion_control: {AVAILABLE.read_text().strip()})")
    try:
        SETTING.write_text(name)
    except OSError as why:
        raise Refused(
            f"the congestion control is {before}, and may not be changed here ({why.strerror}). "
            f"As root: sysctl -w net.ipv4.tcp_congestion_control={name}"
        ) from why
    try:
        yield
    finally:
        SETTING.write_text(before)
