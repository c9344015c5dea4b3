"""The command: options, the order of turns, and the end of everything it has started or written."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional

from . import cases, channels, congestion, install, load, nginx, peers, published, quick, relay, report, results, stores, trees
from .cases import GROUPS, PEERS, Case, Figures, Rig
from .peers import NoLedger, Peer, PeerError, Server, Tls
from .rivals import RIVALS

BENCH = Path(__file__).resolve().parent.parent
REPO = BENCH.parent
# What a case that has not begun yet will need at least, when time runs short.
RESERVE_SECONDS = 20
CASES = cases.CASES + published.PUBLISHED + channels.CASES
GROUPS = {**GROUPS, "quick": quick.GROUP}
KINDS = {**nginx.PEERS, NoLedger.name: NoLedger, **RIVALS, **channels.PEERS}
# Before we leave the server's core ourselves.
CORES = sorted(os.sched_getaffinity(0))
# What `bench/run all` runs, and so what bench/RESULTS.md is made of.
ALL = ("files", "published")


@dataclass
class Side:
    """One of those who take turns in a case."""

    label: str
    peer: Peer
    tree: str
    kind: Callable[..., Figures]
    params: dict


def main() -> int:
    options = _options()
    if options.list:
        for case in CASES:
            print(f"{case.group:9} {case.name:15} {case.title}")
        return 0
    if options.render:
        pages = results.render if json.loads(options.render.read_text()).get("page") == "published" else report.render
        for path in pages(options.render):
            print(path)
        return 0
    if options.group == "results":
        print(results.write_page(BENCH))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with congestion.of_all(options.congestion):
            if options.group == "relay":
                return relay.run(options, _command(), CORES)
            return _all(options) if options.group == "all" else Run(options).go()
    except (PeerError, load.LoadError, install.Missing, congestion.Refused) as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; nothing is left behind", file=sys.stderr)
        return 130


def _all(options: argparse.Namespace) -> int:
    """Every group that is published, one after the other; the minutes are dealt out as the groups want them by default."""
    worst, wanted = 0, sum(GROUPS[name].budget for name in ALL)
    for name in ALL:
        one = argparse.Namespace(**vars(options))
        one.group, one.budget = name, options.budget * GROUPS[name].budget / wanted
        one.peer = GROUPS[name].peers
        one.rounds = options.rounds or _rounds(one)
        worst = max(worst, Run(one).go())
    return worst


class Run:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.began = time.monotonic()
        self.deadline = self.began + options.budget * 60
        self.is_quick = options.group == "quick"
        of_group = quick.of(CASES) if self.is_quick else [c for c in CASES if c.group == options.group]
        self.cases = [c for c in of_group if not options.case or c.name in options.case]
        self.built: Dict[str, Path] = {}
        self.is_published = options.group == "published"
        self.unavailable: Dict[str, str] = {}

    def go(self) -> int:
        options = self.options
        peers.raise_open_files()
        self._install()
        self._build()
        subject = self._peer(options.subject)
        subject.install(options.peers)
        rivals = self._label(self._rivals(), taken=options.subject)
        rig = self._rig()
        with contextlib.ExitStack() as stack:
            # Ctrl-C while 10 GB are being deleted must not leave them half there.
            stack.callback(lambda: [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)])
            self.temp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outflow-bench-", dir=options.tmp)))
            rig.tls = self._certificate() if any(case.tls for case in self.cases) else None
            document = self._document(subject, rivals, rig)
            for number, case in enumerate(self.cases):
                document["cases"].append(self._case(case, number, subject, rivals, rig))
                self._drop_trees(self.cases[number + 1 :])
            document["minutes"] = round((time.monotonic() - self.began) / 60, 1)
        if self.is_quick:
            return quick.finish(document, BENCH / "results" / quick.RECORD, options.write)
        pages = results if self.is_published else report
        folder = self._results_folder(rivals)
        paths = pages.write(document, folder, self._set_name(rivals))
        if folder == BENCH / "results" and options.group in ALL:
            paths.append(results.write_page(BENCH))
        print(pages.table(document))
        for path in paths:
            print(os.path.relpath(path), file=sys.stderr)
        failed = [c["name"] for c in document["cases"] if c.get("failed") or subject.name in c.get("absent", {})]
        if failed:
            print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
        return 1 if failed else 0

    # --- a case -------------------------------------------------------------------------------------------------

    def _case(self, case: Case, number: int, subject: Peer, rivals: Dict[str, Peer], rig: Rig) -> dict:
        sides = self._sides(case, subject, rivals)
        record = dict(
            name=case.name, title=case.title, short=case.short or case.title, measured=(case.kind.__doc__ or "").strip(),
            params=self._params(case), sides=[s.label for s in sides], runs=[],
            metrics=[vars(m).copy() for m in case.metrics],
        )
        if self.is_published:
            record.update(section=case.section, remark=case.remark, absent={})
        try:
            with congestion.of_all(case.congestion or self.options.congestion):
                pass
        except congestion.Refused as why:
            return dict(record, skipped=str(why))
        if not sides:
            return dict(record, skipped=f"{subject.name} makes no archives")
        free = shutil.disk_usage(self.temp).free
        if free < case.disk + trees.GIB:
            return dict(record, failed=f"needs {case.disk / trees.GIB:.0f} GiB of disk, {free / trees.GIB:.1f} are free")
        rounds = min(self.options.rounds, case.rounds or self.options.rounds)
        later = sum(self._reserve(c, subject, rivals) for c in self.cases[number + 1 :])
        began = time.monotonic()
        for turn in range(rounds):
            # A round of everybody is long: it has to fit in.
            own = (time.monotonic() - began) / turn if self.is_published and turn else 0
            if turn and time.monotonic() + own + later > self.deadline:
                _say(f"{case.name}: time is short, {turn} of {rounds} rounds")
                break
            # In turns, and each first as often as last: what drifts with time or lingers must favour nobody.
            for side in sides if turn % 2 == 0 else sides[::-1]:
                try:
                    with congestion.of_all(case.congestion or self.options.congestion):
                        figures = self._turn(case, side, rig, turn)
                except (PeerError, load.LoadError, OSError, subprocess.SubprocessError) as why:
                    _say(f"{case.name} {side.label}: FAILED {why}")
                    if not self.is_published:
                        return dict(record, failed=f"{side.label}: {why}")
                    # The others go on; what is published says why this one is not there.
                    record["absent"][side.label] = str(why)
                    record["runs"] = [r for r in record["runs"] if r["side"] != side.label]
                    sides = [s for s in sides if s is not side]
                    continue
                record["runs"].append(dict(round=turn, side=side.label, figures=figures))
                shown = "  ".join(f"{m.label} {report.number(figures[m.key])}{m.unit}" for m in case.metrics if m.key in figures)
                _say(f"{case.name} {turn + 1}/{rounds} {side.label}: {shown}")
        return record

    def _reserve(self, case: Case, subject: Peer, rivals: Dict[str, Peer]) -> float:
        """Seconds that a case which has not begun yet will need at least."""
        if not self.is_published:
            return RESERVE_SECONDS
        # Two rounds: one alone has no spread, and so says nothing about itself.
        return len(self._sides(case, subject, rivals)) * case.turn_seconds * min(2, self.options.rounds)

    def _turn(self, case: Case, side: Side, rig: Rig, turn: int) -> Figures:
        rig.root = self._tree(side.tree)
        # A server of its own for each turn: nobody idles, or hashes files in the background, beside the other.
        with contextlib.ExitStack() as stack:
            return self._served(case, side, rig, turn, stack)

    def _served(self, case: Case, side: Side, rig: Rig, turn: int, stack: contextlib.ExitStack) -> Figures:
        scratch = self.temp / f"{case.name}-{turn}-{side.label}".replace(" ", "-")
        rig.store, files, prefix = None, rig.root, "/"
        if case.store:
            store = stores.Store(case.store, rig.root, self.temp / f"store-{scratch.name}", rig.load_cores, self.double)
            rig.store = stack.enter_context(store)
            files, prefix = rig.root / stores.TRANSFER / "files", stores.PREFIX
        # A folder that is archived for the first time must not be one whose CRC-32s are remembered.
        fresh = f"-{turn}" if case.kind is published.whole_folder else ""
        cache = self.temp / f"cache-{case.name}-{side.label}{fresh}".replace(" ", "-")
        rig.first = turn == 0
        with Server(
            side.peer, rig.root, scratch, cache, {rig.server_core}, case.connections, rig.store, case.flags,
            rig.root / case.file if case.file else None, rig.tls if case.tls else None, case.h2c,
        ) as server:
            if self.is_published:
                if turn == 0 and case.file:
                    http = "http2-prior-knowledge" if case.h2c else "http2" if case.needs == "h2" else "http1.1"
                    load.check_one(server, rig.root / case.file, f"/{case.file}", http)
            elif turn == 0 and case.group != "channels":
                load.check_files(server, files, prefix)
            figures = side.kind(rig, server, **side.params)
            if not server.alive():
                raise PeerError(f"{side.label} ended by itself:\n{server.log()}")
        return figures

    def _sides(self, case: Case, subject: Peer, rivals: Dict[str, Peer]) -> List[Side]:
        params = self._params(case)
        sides = [Side(subject.name, subject, case.tree, case.kind, params)]
        if case.against == PEERS:
            wanted = {l: p for l, p in rivals.items() if not case.only or p.name in case.only}
            if self.is_published:
                wanted = {l: p for l, p in wanted.items() if published.takes_part(case, p)}
            sides += [Side(label, peer, case.tree, case.kind, params) for label, peer in wanted.items()]
        return [s for s in sides if s.peer.archives] if case.archives else sides

    def _params(self, case: Case) -> dict:
        return {**case.params, **(case.quick if self.options.quick else {})}

    # --- trees --------------------------------------------------------------------------------------------------

    def _tree(self, name: str) -> Path:
        if name not in self.built:
            began = time.monotonic()
            self.built[name] = self.temp / "trees" / name.replace(" ", "-")
            trees.build(name, self.built[name], self.options.quick)
            _say(f"files for {name!r}: {time.monotonic() - began:.0f} s")
        return self.built[name]

    def _drop_trees(self, left: List[Case]) -> None:
        wanted = {c.tree for c in left}
        for name in [n for n in self.built if n not in wanted]:
            shutil.rmtree(self.built.pop(name))

    # --- what surrounds it --------------------------------------------------------------------------------------

    def _peer(self, name: str) -> Peer:
        if name == "outflow":
            return peers.Outflow(self.binary)
        kind = KINDS[name]
        return kind(self.binary) if issubclass(kind, peers.Outflow) else kind()

    def _rivals(self) -> List[Peer]:
        """Those who are compared. One that cannot be had is named with the reason where results are published, and is an
        error elsewhere."""
        began, found = time.monotonic(), []
        for name in self.options.peer:
            peer = self._peer(name)
            try:
                peer.install(self.options.peers)
            except install.Missing as why:
                if not (self.is_published or peer.is_optional):
                    raise
                _say(f"{name} is not available: {why}")
                self.unavailable[name] = str(why)
                continue
            found.append(peer)
        self.deadline += time.monotonic() - began
        return found

    def _certificate(self) -> Tls:
        tls = Tls(self.temp / "certificate.pem", self.temp / "key.pem")
        load.program([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(tls.key), "-out", str(tls.certificate),
        ], {}, os.sched_getaffinity(0), 30)
        return tls

    def _build(self) -> None:
        """Builds what takes part, and says where it is."""
        options = self.options
        names = {options.subject, *options.peer} - {"outflow"}
        if options.subject != "outflow" and not any(issubclass(KINDS[n], peers.Outflow) for n in names):
            return
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
        binary = options.binary or target / "dist" / "outflow"
        self.double = target / "dist" / "outflow-s3-double"
        self.ledger_bench = target / "dist" / "examples" / "ledger-bench"
        # Another package each: built on its own, so that the features of `outflow` are those of a package.
        more = {
            "stores": (self.double, ["-p", "outflow-testkit", "--bin"]),
            "receipts": (self.ledger_bench, ["-p", "outflow-ledger", "--example"]),
        }.get(options.group)
        if not options.no_build and not options.binary:
            _say("cargo build --profile dist")
            for wanted in [["--bin", "outflow"], *([[*more[1], more[0].name]] if more else [])]:
                if subprocess.run(["cargo", "build", "--profile", "dist", *wanted], cwd=REPO).returncode != 0:
                    raise PeerError("Outflow does not build; the errors are above")
            # Building is not measuring: the time for it is not counted.
            self.deadline += time.monotonic() - self.began
        if more and not more[0].is_file():
            raise PeerError(f"no {more[0]}: cargo build --profile dist {' '.join(more[1])} {more[0].name}")
        if not binary.is_file():
            raise PeerError(f"no {binary}; run without --no-build, or say --binary")
        self.binary = binary.resolve()

    @staticmethod
    def _label(found: List[Peer], taken: str) -> Dict[str, Peer]:
        labels: Dict[str, Peer] = {}
        for peer in found:
            label, n = peer.name, 2
            while label == taken or label in labels:
                label, n = f"{peer.name} ({n})", n + 1
            labels[label] = peer
        return labels

    def _install(self) -> None:
        """What the load is made with."""
        needed = {"wrk"}
        for case in self.cases:
            if case.kind in (published.fetch, published.whole_folder) or case.group == "published":
                needed.add("curl")
            if case.kind in (published.h2_download, published.h2_small):
                needed.add("nghttp2-client")
            if case.kind is published.handshakes:
                needed |= {"golang-go", "golang-golang-x-crypto-dev"}
            if case.group == "channels":
                needed.add("golang-go")
            if case.tls:
                needed.add("openssl")
            if case.kind is cases.rare_noted:
                needed.add("strace")
        install.debian(sorted(needed))
        if any(case.group == "channels" for case in self.cases):
            self.channels = install.go(BENCH / "load" / "channels.go", self.options.peers)
        if any(case.kind is published.handshakes for case in self.cases):
            self.handshakes = install.go(BENCH / "load" / "handshakes.go", self.options.peers)

    def _rig(self) -> Rig:
        cores = CORES
        server = cores[0] if self.options.server_core is None else self.options.server_core
        if self.options.load_core is None:
            other = [c for c in cores if c != server]
            load_core = other[0] if other else server
        else:
            load_core = self.options.load_core
        if load_core == server:
            _say("server and load share a core: no figure of this run says much")
        # We too stay off the server's core.
        os.sched_setaffinity(0, {load_core})
        return Rig(
            server, load_core, ledger_bench=getattr(self, "ledger_bench", Path()), handshakes=getattr(self, "handshakes", Path()),
            channels=getattr(self, "channels", Path()),
        )

    def _document(self, subject: Peer, rivals: Dict[str, Peer], rig: Rig) -> dict:
        model = [l.split(":", 1)[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
        versions = {subject.name: subject.version(), **{label: p.version() for label, p in rivals.items()}}
        versions["wrk"] = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("[")[0].strip()
        if self.is_published:
            for tool, ask in (("curl", "--version"), ("h2load", "--version"), ("openssl", "version"), ("go", "version")):
                if shutil.which(tool):
                    versions[tool] = peers.first_line([tool, ask]).split(" (")[0]
        versions["python"] = platform.python_version()
        return {
            "format": 1, "page": GROUPS[self.options.group].page, "title": GROUPS[self.options.group].title,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "command": _command(),
            "subject": subject.name, "peers": list(rivals), "congestion": self.options.congestion, "unavailable": self.unavailable, "rounds": self.options.rounds, "quick": self.options.quick,
            "git": _git("rev-parse", "HEAD"),
            "git_clean": _git("status", "--porcelain", "--", ".", ":!bench/results") == "",
            "machine": {
                "cpu": model[0] if model else platform.machine(), "cores": os.cpu_count(),
                "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / trees.GIB, 1),
                "kernel": platform.release(), "server_core": rig.server_core, "load_core": rig.load_core,
            },
            "versions": versions, "cases": [],
            "about": {label: p.how or " ".join((type(p).__doc__ or "").split()) for label, p in {subject.name: subject, **rivals}.items()},
        }

    def _complete(self, rivals: Dict[str, Peer]) -> bool:
        """Whether this run measured what the project publishes: all cases of a group, in full, against its peers."""
        options = self.options
        return not (options.case or options.quick) and options.subject == "outflow" and {*rivals, *self.unavailable} >= set(GROUPS[options.group].peers)

    def _results_folder(self, rivals: Dict[str, Peer]) -> Path:
        if self.options.results:
            return self.options.results
        # A run of some cases must not replace the published table.
        return BENCH / "results" if self._complete(rivals) else BENCH / "results" / "partial"

    def _set_name(self, rivals: Dict[str, Peer]) -> str:
        options = self.options
        group = GROUPS[options.group]
        parts = ["+".join(options.case) if options.case else group.record]
        parts += ["quick"] if options.quick else []
        parts += [f"{options.subject}-vs-{'+'.join(options.peer)}"] if (options.subject, options.peer) != ("outflow", group.peers) else []
        return "-".join(parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Runs Outflow and its peers side by side, in turns, on the same files.",
        epilog="All figures of a run, the table and the plot go to bench/results. See bench/README.md.",
    )
    names = [c.name for c in CASES]
    parser.add_argument(
        "group", nargs="?", choices=[*GROUPS, "relay", "all", "results"],
        help="which cases: of files (default), of stores, of receipts, of channels, relays (their own), the published comparison, or `all` for files and published; "
        "`quick` is ten of them in three minutes, beside the figures of an earlier commit; `results` measures nothing and writes bench/RESULTS.md from the latest records",
    )
    parser.add_argument("--case", action="append", choices=names, metavar="NAME", help="only this case (repeatable); see --list")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument("--quick", action="store_true", help="shorter loads and 2 rounds: a look, not a measurement")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns for each side (default 5, of receipts 9; with --quick 2, published 1)")
    parser.add_argument("--peer", action="append", choices=list(KINDS), help="compare with this (repeatable; default nginx in two configurations and with mod_zip, everybody for published, its proxies for stores, Outflow without a ledger for receipts)")
    parser.add_argument("--subject", default="outflow", choices=["outflow", *KINDS], help="what is compared (default outflow)")
    parser.add_argument("--binary", type=Path, help="an Outflow binary to use as it is")
    parser.add_argument("--no-build", action="store_true", help="use target/dist/outflow without building it")
    parser.add_argument("--server-core", type=int, metavar="CORE", help="the servers' core (default: the first)")
    parser.add_argument("--load-core", type=int, metavar="CORE", help="the load's core (default: the second)")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="rounds are left out when time runs short (default 15, files 30, published 45, all 75)")
    parser.add_argument("--congestion", metavar="NAME", default=congestion.USUAL, help="congestion control of all connections (default cubic; restored afterwards)")
    parser.add_argument("--write", action="store_true", help="of `quick`: keep the figures, for later runs to be compared with")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", default=os.environ.get("OUTFLOW_BENCH_PEERS") or _cache(),
        help="where servers are installed that are not Debian's (default: OUTFLOW_BENCH_PEERS, or outflow-bench in the user's cache folder)",
    )
    parser.add_argument("--tmp", type=Path, help="where the served files go, 10 GB at most, on a disk (default: the system's)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="where the results go")
    parser.add_argument("--render", type=Path, metavar="JSON", help="write table and plot of earlier figures again, beside them")
    options = parser.parse_args()
    if options.group == "quick":
        options.quick = True
    if not options.group:
        wanted = {c.group for c in CASES if c.name in (options.case or [])}
        options.group = wanted.pop() if len(wanted) == 1 else "files"
    options.peers = Path(options.peers).absolute()
    if options.group in ("all", "results", "relay"):
        if options.case or options.peer or options.subject != "outflow":
            parser.error(f"{options.group} takes no --case, --peer or --subject")
        options.budget = options.budget or sum(GROUPS[name].budget for name in ALL)
        return options
    options.rounds = options.rounds or _rounds(options)
    options.budget = options.budget or GROUPS[options.group].budget
    members = quick.of(CASES) if options.group == "quick" else [c for c in CASES if c.group == options.group]
    strangers = [n for n in options.case or [] if n not in [c.name for c in members]]
    if strangers:
        parser.error(f"{', '.join(strangers)}: not of the group {options.group}")
    options.peer = options.peer or GROUPS[options.group].peers
    if options.group != "quick" and any(options.group not in KINDS[name].groups for name in options.peer):
        parser.error(f"these peers cannot do the cases of the group {options.group}")
    if options.subject != "outflow" and options.group not in KINDS[options.subject].groups:
        parser.error(f"{options.subject} cannot be the subject of the group {options.group}")
    return options


def _rounds(options: argparse.Namespace) -> int:
    if options.quick:
        return 1 if options.group == "published" else 2
    return GROUPS[options.group].rounds


def _command() -> str:
    """What was called, without the folders of this machine."""
    words, skip = ["bench/run"], False
    for word in sys.argv[1:]:
        name = word.split("=")[0]
        if skip or name in ("--peers", "--tmp", "--results"):
            skip = not skip and "=" not in word
        elif name == "--binary":
            words, skip = [*words, "--binary", "FILE"], "=" not in word
        else:
            words.append(word)
    return " ".join(words)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outflow-bench"


def _git(*arguments: str) -> Optional[str]:
    done = subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt
