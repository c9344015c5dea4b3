"""`bench/run quick`: the ten lines that matter, in three minutes, beside those of an earlier commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List

from .cases import Case, Group
from .report import number, rows

GROUP = Group("quick", "quick", ["nginx", "no-ledger"], "Ten lines", rounds=2, budget=4)
RECORD = "quick.json"
# Each case, and whom it is measured against.
LINES = {
    "hot-1k": "nginx", "hot-10k": "nginx", "hot-100k": "nginx", "hot-1m": "nginx", "big-1": "nginx", "archive-1m": "",
    "archive-10k": "", "noted-10k": "no-ledger", "idle": "", "rest": "",
}
# A change that is larger than this is pointed at: two short rounds do not tell smaller ones from noise.
NOTABLE = 0.15


def of(cases: List[Case]) -> List[Case]:
    """The cases of this run, each against at most one other, in the order of LINES."""
    by_name = {case.name: case for case in cases}
    found = []
    for name, against in LINES.items():
        case = by_name[name]
        rounds = 1 if name in ("idle", "rest") else GROUP.rounds
        found.append(_with(case, against, rounds))
    return found


def _with(case: Case, against: str, rounds: int) -> Case:
    # `only` that names nobody would be everybody.
    return Case(**{**vars(case), "only": (against or "nobody",), "rounds": rounds})


def finish(document: dict, record: Path, write: bool) -> int:
    """Prints a line for each case, and what it was before. Returns 1 if a case could not be measured."""
    lines = _lines(document)
    before: Dict[str, dict] = json.loads(record.read_text()) if record.exists() else {"lines": {}}
    failed = [case["title"] for case in document["cases"] if case.get("failed") or not case["runs"]]
    print(f"{'case':42} {'figure':26} {'now':>12} {'ratio':>7} {'before':>8} change")
    for title, line in lines.items():
        old = before["lines"].get(title)
        # Ratios compare machines, absolute figures do not.
        key = "ratio" if line["ratio"] else "own"
        change = line[key] / old[key] - 1 if old and old.get(key) else None
        ratio = f"{line['ratio']:.2f}x" if line["ratio"] else ""
        was = number(old[key]) if change is not None else ""
        shown = f"{change:+.0%}" + (" *" if abs(change) > NOTABLE else "") if change is not None else ""
        now = f"{number(line['own'])} {line['unit']}"
        print(f"{title[:42]:42} {line['label'][:26]:26} {now:>12} {ratio:>7} {was:>8} {shown}")
    if before["lines"]:
        print(f"before: commit {before['git'][:12]}, {before['date']}; * = changed by more than {NOTABLE:.0%}; two short rounds prove nothing")
    for title in failed:
        print(f"not measured: {title}")
    if write and not failed:
        record.write_text(json.dumps({**{key: document[key] for key in ("date", "git", "machine", "congestion")}, "lines": lines}, indent=1) + "\n")
    return 1 if failed else 0


def _lines(document: dict) -> Dict[str, dict]:
    """The first figure of each case: all of them are of the kind that should be low."""
    found: Dict[str, dict] = {}
    for row in rows(document):
        found.setdefault(row["title"], dict(
            label=row["label"], unit=row["unit"], own=row["own"]["median"], ratio=row["ratio"]["median"] if row["ratio"] else None,
        ))
    return found
