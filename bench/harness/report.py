"""From figures to the JSON record, the Markdown table and the plot. Everything shown derives from the record alone."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Dict, List, Optional

from .measure import spread

# Above this share of its core the load generator, not the server, may have set the pace.
LOAD_BOUND = 0.95
# Above this share of a core used by others the run was not alone on the machine.
DISTURBED = 0.05


def write(document: dict, folder: Path, name: str) -> List[Path]:
    """Writes <date>-<name>.json, and the table and the plot of its group beside it (latest.*, stores.*)."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{document['date'][:10]}-{name}.json"
    record.write_text(json.dumps(document, indent=1) + "\n")
    return [record, *_render(document, folder)]


def render(record: Path) -> List[Path]:
    return _render(json.loads(record.read_text()), record.parent)


def _render(document: dict, folder: Path) -> List[Path]:
    stem = document.get("page", "latest")
    page, picture = folder / f"{stem}.md", folder / f"{stem}.svg"
    page.write_text(markdown(document))
    picture.write_text(svg(document))
    return [page, picture]


# --- figures -----------------------------------------------------------------------------------------------------


def rows(document: dict) -> List[dict]:
    """One row for each case, metric and reference: medians, ratio with spread, target and mark."""
    found = []
    for case in document["cases"]:
        if not case["runs"]:
            continue
        subject, *references = case["sides"]
        for reference in references or [None]:
            for metric in case["metrics"]:
                own = _values(case, subject, metric["key"])
                if own:
                    found.append(_row(case, metric, subject, own, reference))
    return found


def _row(case: dict, metric: dict, subject: str, own: Dict[int, float], reference: Optional[str]) -> dict:
    theirs = _values(case, reference, metric["key"]) if reference else {}
    # Each round's ratio is of two turns that followed each other, so slow drift cancels out.
    ratios = [own[r] / theirs[r] for r in own if theirs.get(r)]
    row = dict(
        title=case["title"], short=case["short"], label=metric["label"], unit=metric["unit"], better=metric["better"],
        plot=metric["plot"], reference=reference, own=spread(list(own.values())),
        theirs=spread(list(theirs.values())) if theirs else None, ratio=spread(ratios) if ratios else None,
        target=None, mark="", notes=[], case_notes=_notes(case, subject, reference),
    )
    target, judged = None, None
    if metric["limit"] is not None:
        target, judged = metric["limit"], row["own"]
    elif metric["ratio"] is not None:
        # One target for all references, or one for each.
        ratio = metric["ratio"]
        target, judged = (ratio.get(reference, ratio.get("*")) if isinstance(ratio, dict) else ratio), row["ratio"]
    if target is not None:
        sign = "≤" if metric["better"] == "lower" else "≥"
        unit = f" {metric['unit']}" if metric["limit"] is not None and metric["unit"] != "x" else "x"
        row["target"], row["target_value"] = f"{sign} {target:g}{unit}", target
        if judged is not None:
            held = judged["median"] <= target if metric["better"] == "lower" else judged["median"] >= target
            row["mark"] = "pass" if held else "behind"
            if judged["min"] <= target <= judged["max"] and judged["min"] < judged["max"]:
                row["notes"].append("target within the spread")
    return row


def _values(case: dict, side: Optional[str], key: str) -> Dict[int, float]:
    return {r["round"]: r["figures"][key] for r in case["runs"] if r["side"] == side and key in r["figures"]}


def _notes(case: dict, subject: str, reference: Optional[str]) -> List[str]:
    notes = []
    for side in (subject, reference):
        busy = _values(case, side, "load")
        if busy and spread(list(busy.values()))["median"] > LOAD_BOUND:
            notes.append(f"load at its limit ({side})")
    for key, core in (("others", "server's"), ("others_beside_load", "load's")):
        others = [v for side in (subject, reference) for v in _values(case, side, key).values()]
        if others and max(others) > DISTURBED:
            notes.append(f"others used up to {max(others):.0%} of the {core} core")
    return notes


def number(value: float) -> str:
    """Three significant digits, without exponents."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


# --- the table ---------------------------------------------------------------------------------------------------

HEADINGS = ["case", "figure", "subject", "reference", "ratio", "spread", "target", "", "notes"]


def _cells(document: dict) -> List[List[str]]:
    cells = []
    previous = None
    for row in rows(document):
        theirs = f"{_with_unit(row['theirs']['median'], row['unit'])} ({row['reference']})" if row["theirs"] else ""
        ratio = row["ratio"]
        first = previous != (row["title"], row["reference"])
        cells.append([
            row["title"] if first else "",
            row["label"], _with_unit(row["own"]["median"], row["unit"]), theirs,
            f"{ratio['median']:.2f}x" if ratio else "", f"{ratio['min']:.2f}–{ratio['max']:.2f}" if ratio else "",
            row["target"] or "", row["mark"], "; ".join((row["case_notes"] if first else []) + row["notes"]),
        ])
        previous = row["title"], row["reference"]
    for case in document["cases"]:
        why = case.get("failed") or case.get("skipped")
        if why:
            cells.append([case["title"], "failed" if case.get("failed") else "skipped"] + [""] * 6 + [why.split("\n")[0]])
    return cells


def _headings(document: dict) -> List[str]:
    return [document["subject"].capitalize() if h == "subject" else h for h in HEADINGS]


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".strip()


def table(document: dict) -> str:
    """The table for a terminal."""
    lines = [_headings(document), *_cells(document)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def _title(document: dict) -> str:
    usual = document["subject"] == "outflow" and "title" in document
    return document["title"] if usual else f"{document['subject'].capitalize()} against {', '.join(document['peers'])}"


def markdown(document: dict) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{name}: {version}" for name, version in document["versions"].items())
    commit = (document["git"] or "unknown")[:12] + ("" if document["git_clean"] else " with uncommitted changes")
    lines = [
        f"# {_title(document)}",
        "",
        f"`{document['command']}` on {document['date']}, commit {commit}, {document['minutes']} minutes.",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
        f"server on core {machine['server_core']}, load on core {machine['load_core']}; "
        f"congestion control {document.get('congestion', 'not recorded')}. {versions}.",
        "",
        f"Medians of up to {document['rounds']} rounds in turns. The ratio is {document['subject'].capitalize()} / reference "
        "of each round: median, then smallest–largest. 1 MB = 1,048,576 bytes; MB/s = 1,000,000 bytes a second.",
        "",
        *table_of(document),
    ]
    for name, why in document.get("unavailable", {}).items():
        lines += ["", f"Not available: {name} ({why})."]
    return "\n".join(lines) + "\n"


def table_of(document: dict) -> List[str]:
    """The lines of the table for a page."""
    lines = ["| " + " | ".join(_headings(document)) + " |", "|---|---|---:|---:|---:|---|---|---|---|"]
    for cells in _cells(document):
        cells[7] = f"**{cells[7]}**" if cells[7] == "behind" else cells[7]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return lines


# --- the plot ----------------------------------------------------------------------------------------------------

PANELS = [
    ("cpu", "Server CPU for the same work", "shorter is better"),
    ("rate", "Requests/s, throughput", "longer is better"),
    ("p99", "p99 latency", "shorter is better"),
    ("first", "Time to the first byte", "shorter is better"),
]
WIDTH, LEFT, RIGHT, ROW, BAR = 760, 218, 64, 30, 16
SCALE = 1.6  # the ratio at the right edge of the plot; longer bars are cut and say so

STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.panel { font-weight: 600; }
.dim, .axis { fill: #656d76; }
.small { font-size: 11px; }
.page { fill: #ffffff; stroke: #d0d7de; }
.track { fill: #f0f2f5; }
.good { fill: #1a7f64; }
.bad { fill: #bc5a1e; }
.one { stroke: #656d76; stroke-width: 1; stroke-dasharray: 3 3; }
.whisker { stroke: #1f2328; stroke-width: 1.5; }
.target { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .dim, .axis { fill: #8d96a0; }
  .page { fill: #0d1117; stroke: #30363d; }
  .track { fill: #1a2029; }
  .good { fill: #3fb58f; }
  .bad { fill: #e0894a; }
  .one { stroke: #8d96a0; }
  .whisker { stroke: #e6edf3; }
  .target { fill: #e6edf3; }
}"""


def svg(document: dict) -> str:
    """Bars of the ratios against the first peer. Drawn on its own ground, so that it reads on any page."""
    peer = document["peers"][0]
    shown = [r for r in rows(document) if r["ratio"] and r["plot"] and r["reference"] == peer]
    subject = document["subject"].capitalize()
    out, y = [], 34
    out.append(_text(24, y, f"{subject} / {peer}, in turns on the same machine", "title"))
    y += 20
    about = f"{document['date'][:10]} · {document['machine']['cpu']}, one core for the server · {peer} {_version(document, peer)} = 1"
    out.append(_text(24, y, about, "dim small"))
    y += 16
    for key, title, hint in PANELS:
        panel = [r for r in shown if r["plot"] == key]
        if not panel:
            continue
        y += 26
        out.append(f'<text x="24" y="{y}"><tspan class="panel">{escape(title)}</tspan><tspan class="dim small" dx="8">{hint}</tspan></text>')
        y += 12
        top = y
        for row in panel:
            out += _bar(row, y)
            y += ROW
        out.append(f'<line class="one" x1="{_x(1)}" y1="{top - 2}" x2="{_x(1)}" y2="{y}"/>')
    y += 26
    out += _legend(peer, y)
    y += 18
    out.append("</svg>")
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'aria-label="{escape(_spoken(subject, peer, shown), quote=True)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y - 1}" rx="8"/>',
    ]
    return "\n".join(head + out) + "\n"


def _bar(row: dict, y: int) -> List[str]:
    ratio, middle = row["ratio"], y + ROW / 2
    median = round(ratio["median"], 2)  # as shown: 1.00x is as good as the reference
    good = median <= 1 if row["better"] == "lower" else median >= 1
    top = middle - BAR / 2
    parts = [
        _text(24, middle + 4.5, row["short"], ""),
        f'<rect class="track" x="{LEFT}" y="{top}" width="{WIDTH - RIGHT - LEFT}" height="{BAR}" rx="3"/>',
        f'<rect class="{"good" if good else "bad"}" x="{LEFT}" y="{top}" width="{_x(median) - LEFT:.1f}" height="{BAR}" rx="3"/>',
    ]
    if ratio["min"] < ratio["max"]:
        left, right = _x(ratio["min"]), _x(ratio["max"])
        parts.append(
            f'<path class="whisker" fill="none" d="M{left} {middle}H{right}M{left} {middle - 4}v8M{right} {middle - 4}v8"/>'
        )
    if row.get("target_value") is not None:
        at = _x(row["target_value"])
        parts.append(f'<path class="target" d="M{at - 4.5:.1f} {top - 5}h9l-4.5 7z"/>')
    more = " →" if median > SCALE else ""
    parts.append(_text(WIDTH - RIGHT + 10, middle + 4.5, f"{median:.2f}x{more}", ""))
    return parts


def _legend(peer: str, y: int) -> List[str]:
    return [
        f'<path class="target" d="M24 {y - 8}h9l-4.5 7z"/>', _text(38, y, "target", "dim small"),
        f'<path class="whisker" fill="none" d="M90 {y - 4}h22M90 {y - 8}v8M112 {y - 8}v8"/>',
        _text(118, y, "smallest to largest round", "dim small"),
        f'<path class="one" fill="none" d="M276 {y - 11}v14"/>', _text(284, y, f"{peer} = 1", "dim small"),
        f'<rect class="good" x="350" y="{y - 9}" width="14" height="10" rx="2"/>',
        _text(369, y, f"as good as {peer} or better", "dim small"),
        f'<rect class="bad" x="534" y="{y - 9}" width="14" height="10" rx="2"/>', _text(553, y, "worse", "dim small"),
    ]


def _x(ratio: float) -> float:
    return round(LEFT + min(ratio, SCALE) / SCALE * (WIDTH - RIGHT - LEFT), 1)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'


def _version(document: dict, peer: str) -> str:
    return document["versions"].get(peer, "").split("/")[-1]


def _spoken(subject: str, peer: str, shown: List[dict]) -> str:
    return f"{subject} divided by {peer}. " + " ".join(
        f"{r['title']}, {r['label']}: {r['ratio']['median']:.2f}." for r in shown
    )
