"""Where the other servers come from: Debian, and the registries of Rust, Go (Debian's package) and Ruby.

Each function makes sure that something is there, and raises Missing with a reason that can be published if it is not.
What is not Debian's goes into one folder (`--peers`), and nothing outside of it is changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

GO_SOURCES = Path("/usr/share/gocode")
POLICY = Path("/usr/sbin/policy-rc.d")
# kcup's dependencies and their like take a while on a small machine.
BUILD_SECONDS = 3600


class Missing(Exception):
    """Something could not be installed; the text says why."""


def debian(packages: List[str]) -> None:
    """Debian packages. Only root can install what is missing; others are told what to do."""
    missing = [p for p in packages if not (shutil.which(p) or _installed(p))]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"missing: {' '.join(missing)}. Install them: apt-get install {' '.join(missing)}")
    _say(f"installing {' '.join(missing)}")
    # RUNLEVEL=1 keeps invoke-rc.d from starting a server that was only wanted as a program.
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    with _nothing_starts():
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", *missing]):
            _run(command, env, 900)


def cargo(crate: str, version: str, folder: Path) -> Path:
    """A Rust program of exactly this version."""
    program = folder / "bin" / crate
    recorded = folder / ".crates.toml"
    if program.is_file() and recorded.is_file() and f'"{crate} {version} ' in recorded.read_text():
        return program
    if not shutil.which("cargo"):
        raise Missing(f"{crate} {version}: there is no cargo")
    _say(f"cargo install {crate}@{version} (some minutes, once)")
    env = dict(os.environ, CARGO_TARGET_DIR=str(folder / "target"))
    command = ["cargo", "install", "--root", str(folder), f"{crate}@{version}"]
    try:
        _run([*command, "--locked"], env, BUILD_SECONDS)
    except Missing:
        # A locked dependency may be too old for today's compiler.
        _run(command, env, BUILD_SECONDS)
    shutil.rmtree(folder / "target", ignore_errors=True)
    return program


def go(source: Path, folder: Path) -> Path:
    """A Go program of ours, built with what Debian has of Go's libraries."""
    program = folder / "bin" / source.stem
    if program.is_file() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, GO111MODULE="off", GOPATH=str(GO_SOURCES), GOCACHE=str(folder / "go-cache"), GOFLAGS="")
    _run(["go", "build", "-o", str(program), str(source)], env, 600)
    return program


def gem(name: str, folder: Path) -> Path:
    """The `lib` folder of a gem."""
    gems = folder / "gems"
    if not _libs(gems, name):
        if not shutil.which("gem"):
            raise Missing(f"{name}: there is no gem")
        _say(f"gem install {name}")
        try:
            _run(["gem", "install", "--no-document", "--install-dir", str(gems), name], dict(os.environ), 120)
        except Missing as why:
            if re.search("SocketError|Unable to download|took longer", str(why)):
                raise Missing(f"no registry of gems can be reached for {name}; FAST_SEND_LIB can name the lib folder of a checkout") from why
            raise
    found = _libs(gems, name)
    if not found:
        raise Missing(f"{name}: gem install left nothing")
    return found[-1]


def nginx_module(source: Path, nginx: Path, folder: Path, name: str) -> Path:
    """A module for Debian's nginx, built of its sources in `source` with nginx's own in `nginx` (Debian's nginx-dev)."""
    made, work = folder / "nginx" / name, folder / "nginx" / "build"
    if made.is_file() and made.stat().st_mtime > max(f.stat().st_mtime for f in source.iterdir()):
        return made
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(nginx, work)
    _say(f"building {name}")
    out = work / "out"
    configure = ["./configure", "--with-compat", "--with-http_ssl_module", "--with-http_v2_module"]
    _run([*configure, f"--add-dynamic-module={source}", f"--builddir={out}"], dict(os.environ), 600, work)
    _run(["make", "-f", str(out / "Makefile"), "modules"], dict(os.environ), 600, work)
    shutil.copy(out / name, made)
    shutil.rmtree(work)
    return made


def version_of(package: str) -> str:
    """The version of a Debian package that is installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _libs(gems: Path, name: str) -> List[Path]:
    return sorted(gems.glob(f"gems/{name}-*/lib"))


def _installed(package: str) -> bool:
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True)
    except FileNotFoundError:
        return False
    return done.stdout == "installed"


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """Debian's packages start their servers; a policy that forbids it is there while we install, unless there is one."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _run(command: List[str], env: dict, seconds: float, folder: Optional[Path] = None) -> None:
    name = " ".join(c for c in command if not c.startswith("/"))
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=seconds, cwd=folder,
        )
    except FileNotFoundError:
        raise Missing(f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"`{name}` took longer than {seconds:.0f} s") from None
    if done.returncode != 0:
        raise Missing(f"`{name}` failed: {_reason(done.stdout)}")


def _reason(output: str) -> str:
    """What says most about a failure: the first lines from one on that speaks of an error, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    at = next((n for n, line in enumerate(lines) if "error" in line.lower()), len(lines) - 1)
    return " ".join(lines[at : at + 2])[:300] if lines else "no word why"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
