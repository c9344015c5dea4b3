"""The published page: from the latest records to bench/RESULTS.md and its plots. Everything shown derives from records alone."""

from __future__ import annotations

import json
import re
import statistics
from html import escape
from pathlib import Path
from typing import Dict, List, Optional

from . import report
from .measure import spread
from .report import number


def write(document: dict, folder: Path, name: str) -> List[Path]:
    """Writes <date>-<name>.json, its page and its plots."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{document['date'][:10]}-{name}.json"
    record.write_text(json.dumps(document, indent=1) + "\n")
    return [record, *render(record)]


def render(record: Path) -> List[Path]:
    document = json.loads(record.read_text())
    page = record.parent / f"{document['page']}.md"
    page.write_text("\n".join([f"# {document['title']}", "", *_about(document), "", *_behind(document), "", *_sections(document, "")]) + "\n")
    written = [page]
    for section in _section_names(document):
        picture = record.parent / _picture(section)
        picture.write_text(svg(document, section))
        written.append(picture)
    return written


def table(document: dict) -> str:
    """What a terminal shows."""
    return "\n".join([*_behind(document), "", *_sections(document, None)])


def write_page(bench: Path) -> Path:
    """bench/RESULTS.md, of the latest complete records."""
    folder, page = bench / "results", bench / "RESULTS.md"
    published, files = _latest(folder, "published"), _latest(folder, "all")
    lines = [
        "# Results", "",
        "`bench/run all` writes this page. How it is measured, what the cases are and what must hold: [README.md](README.md). The command "
        "under each heading repeats what is below it; `--peer NAME` limits it to one row.", "",
    ]
    if files:
        lines += [
            "## As it is started, against nginx", "",
            "Outflow with its ledger and its log, as `outflow serve FOLDER` starts; nginx as Debian's users run it, and tuned "
            "(no log, `open_file_cache`); nginx with mod_zip where archives are made.", "",
            f"`bench/run files`; measured {_measured(files)}, {_where(files)}, congestion control {files.get('congestion', 'not recorded')}.", "",
            *_files_behind(files), "",
            "![Outflow / nginx](results/latest.svg)", "", *report.table_of(files), "",
        ]
    if published:
        lines += ["## All servers: the machine, and who took part", "", *_about(published), ""]
        lines += ["## Where Outflow is behind the others", "", *_behind(published, heading=False), ""]
        lines += [*_sections(published, "results/"), ""]
    more = [("stores.md", "Stores: Outflow and nginx as proxies", "stores"), ("receipts.md", "What receipts cost", "receipts"), ("channels.md", "Channels: Outflow, nchan and Puma", "channels")]
    there = [f"- [{title}](results/{file}): `bench/run {group}`" for file, title, group in more if (folder / file).exists()]
    if there:
        lines += ["## Other measurements", "", *there, ""]
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page


def _latest(folder: Path, name: str) -> Optional[dict]:
    found = sorted(folder.glob(f"????-??-??-{name}.json"))
    return json.loads(found[-1].read_text()) if found else None


# --- figures -----------------------------------------------------------------------------------------------------


def values(case: dict, side: str, key: str) -> Dict[int, float]:
    return {r["round"]: r["figures"][key] for r in case["runs"] if r["side"] == side and key in r["figures"]}


def median(case: dict, side: str, key: str) -> Optional[float]:
    found = values(case, side, key)
    return spread(list(found.values()))["median"] if found else None


def ratio(case: dict, side: str, other: str, key: str) -> Optional[dict]:
    """side / other, of each round, since what drifts with time is the same for both then."""
    own, theirs = values(case, side, key), values(case, other, key)
    found = [own[r] / theirs[r] for r in own if theirs.get(r)]
    return spread(found) if found else None


def is_held(metric: dict, value: float, target: float) -> bool:
    return value <= target if metric["better"] == "lower" else value >= target


def judgements(document: dict) -> List[dict]:
    """Every target of the record, and whether it was held: by the median, as everywhere."""
    subject, found = document["subject"], []

    def judge(case: dict, metric: dict, whom: str, got: dict, target: float, unit: str) -> None:
        sign = "≤" if metric["better"] == "lower" else "≥"
        found.append(dict(
            case=case, metric=metric, whom=whom, got=got, unit=unit, needed=f"{sign} {target:g}{unit}",
            held=is_held(metric, got["median"], target), close=got["min"] < got["max"] and got["min"] <= target <= got["max"],
        ))

    for case in document["cases"]:
        others = [s for s in case["sides"] if s != subject]
        for metric in case["metrics"]:
            own = values(case, subject, metric["key"])
            if not own:
                continue
            if metric["limit"] is not None:
                judge(case, metric, "", spread(list(own.values())), metric["limit"], f" {metric['unit']}")
            targets = metric["ratio"] or {}
            for other in others:
                target = targets.get(other, targets.get("*"))
                got = ratio(case, subject, other, metric["key"])
                if target is not None and got:
                    judge(case, metric, other, got, target, "x")
            if metric["best"] is not None:
                best = _best(case, others, metric)
                if best:
                    judge(case, metric, f"{best}, the best of the others", ratio(case, subject, best, metric["key"]), metric["best"], "x")
    return found


def _best(case: dict, others: List[str], metric: dict) -> Optional[str]:
    known = [(median(case, s, metric["key"]), s) for s in others if values(case, s, metric["key"])]
    if not known:
        return None
    return (min if metric["better"] == "lower" else max)(known)[1]


def _notes(case: dict, side: str) -> str:
    notes = []
    load, busy = median(case, side, "load"), median(case, side, "busy")
    if load is not None and load > report.LOAD_BOUND and (busy is None or busy < report.LOAD_BOUND):
        notes.append("load at its limit")
    for key, core in (("others", "server's"), ("others_beside_load", "load's")):
        most = max(values(case, side, key).values(), default=0)
        if most > report.DISTURBED:
            notes.append(f"others used up to {most:.0%} of the {core} core")
    return "; ".join(notes)


# --- the page ----------------------------------------------------------------------------------------------------


def _measured(document: dict) -> str:
    commit = (document["git"] or "unknown")[:12] + ("" if document["git_clean"] else " with uncommitted changes")
    quick = ", **a quick look whose figures prove nothing**" if document["quick"] else ""
    return f"on {document['date']} by `{document['command']}` at commit {commit}, {document['minutes']:g} minutes{quick}"


def _where(document: dict) -> str:
    machine = document["machine"]
    return (
        f"on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
        f"server on core {machine['server_core']}, load on core {machine['load_core']}"
    )


def _about(document: dict) -> List[str]:
    lines = [
        f"Measured {_measured(document)}, {_where(document)}, congestion control {document.get('congestion', 'not recorded')}.", "",
        f"Medians of up to {document['rounds']} rounds in turns; in brackets the smallest and the largest. Ratios are "
        f"{document['subject'].capitalize()} / other of each round. 1 MB of a file is 1,048,576 bytes; MB/s are 1,000,000 bytes a second. "
        "RSS is all that is resident, shared libraries included; PSS counts what is shared in part; anonymous is heap and stacks. What a "
        "server keeps in a memfd or in the page cache is in none of them.", "",
        "| server | version | how |", "|---|---|---|",
    ]
    about = document.get("about", {})
    lines += [_row([name, document["versions"][name], about[name]]) for name in about]
    for name, why in document.get("unavailable", {}).items():
        lines.append(_row([name, "**not available**", _plain(why)]))
    tools = [version if name in version.lower() else f"{name} {version}" for name, version in document["versions"].items() if name not in about]
    return [*lines, "", f"Load and tools: {', '.join(tools)}."]


def _behind(document: dict, heading: bool = True) -> List[str]:
    """What has missed its target, and every figure in which somebody else was better."""
    subject, judged = document["subject"], judgements(document)
    lines = [f"## Where {subject.capitalize()} is behind", ""] if heading else []
    missed = [j for j in judged if not j["held"]]
    lines.append(f"Targets: {len(judged) - len(missed)} of {len(judged)} held." if judged else "No target was judged.")
    absent = [c for c in document["cases"] if subject in c.get("absent", {})]
    if absent:
        lines += ["", f"Not measured, because {subject.capitalize()} could not do it: {'; '.join(c['title'] for c in absent)}."]
    if missed:
        lines += ["", "| target missed | figure | measured | needed | |", "|---|---|---|---|---|"]
        for j in missed:
            lines.append(_row([j["case"]["title"], _judged(j), _got(j), j["needed"], "target within the spread" if j["close"] else ""]))
    worse = _worse(document)
    if worse:
        lines += [
            "", "Every figure in which another server was better (its name, and Outflow's figure / its; in brackets where the rounds do not agree):", "",
            "| case | figure | Outflow | better |", "|---|---|---|---|", *worse,
        ]
    return lines


def _worse(document: dict) -> List[str]:
    subject, lines = document["subject"], []
    for case in document["cases"]:
        for metric in case["metrics"]:
            own, better = median(case, subject, metric["key"]), []
            for other in case["sides"]:
                got = ratio(case, subject, other, metric["key"]) if other != subject else None
                # As shown: 1.00x is as good as the other.
                if got and not is_held(metric, round(got["median"], 2), 1):
                    sure = is_held(metric, 1, got["min"]) and is_held(metric, 1, got["max"])
                    text = f"{other} {got['median']:.2f}x"
                    better.append((got["median"], text if sure else f"({text})"))
            if own is not None and better:
                better.sort(reverse=metric["better"] == "lower")
                lines.append(_row([case["title"], metric["label"], _with_unit(own, metric), ", ".join(t for _, t in better)]))
    return lines


def _files_behind(document: dict) -> List[str]:
    rows = [r for r in report.rows(document) if r["mark"] == "behind"]
    judged = [r for r in report.rows(document) if r["mark"]]
    lines = [f"{len(judged) - len(rows)} of {len(judged)} targets held."]
    if rows:
        lines += ["", "| target missed | figure | measured | needed | |", "|---|---|---|---|---|"]
    for r in rows:
        got = r["ratio"] if r["target"].endswith("x") and r["ratio"] else r["own"]
        who = f"{r['label']} / {r['reference']}" if r["target"].endswith("x") and r["reference"] else r["label"]
        lines.append(_row([r["title"], who, f"{number(got['median'])} ({number(got['min'])}–{number(got['max'])})", r["target"], "; ".join(r["notes"])]))
    return lines


def _sections(document: dict, folder: Optional[str]) -> List[str]:
    """The tables, with plots where there is a folder for them."""
    lines, judged = [], judgements(document)
    for section in _section_names(document):
        lines += [f"## {section}", ""]
        if folder is not None:
            lines += [f"![{section}: the medians as bars]({folder}{_picture(section)})", ""]
        for case in [c for c in document["cases"] if c["section"] == section]:
            lines += _case(document, case, [j for j in judged if j["case"] is case])
    return lines


def _case(document: dict, case: dict, judged: List[dict]) -> List[str]:
    metrics = [m for m in case["metrics"] if any(values(case, s, m["key"]) for s in case["sides"])]
    lines = [f"### {case['title'][0].upper()}{case['title'][1:]}", "", f"`bench/run --case {case['name']}`", ""]
    if case.get("remark"):
        lines += [case["remark"], ""]
    if case.get("failed") or case.get("skipped"):
        lines += [f"Not measured: {_plain(case.get('failed') or case['skipped'])}", ""]
    if metrics:
        notes = {side: _notes(case, side) for side in case["sides"]}
        noted = any(notes.values())
        lines += [_row(["server", *(m["label"] for m in metrics), *(["notes"] if noted else [])])]
        lines += ["|---|" + "---:|" * len(metrics) + ("---|" if noted else "")]
        for side in case["sides"]:
            if not any(values(case, side, m["key"]) for m in metrics):
                continue
            name = f"**{side.capitalize()}**" if side == document["subject"] else side
            lines.append(_row([name, *(_cell(case, side, m) for m in metrics), *([notes[side]] if noted else [])]))
        lines.append("")
    for side, why in case.get("absent", {}).items():
        lines.append(f"- {side} could not be measured: {_plain(why)}")
    if case.get("absent"):
        lines.append("")
    if judged:
        lines += ["| target | measured | needed | |", "|---|---|---|---|"]
        for j in judged:
            mark = ("pass" if j["held"] else "**BEHIND**") + (", target within the spread" if j["close"] else "")
            lines.append(_row([_judged(j), _got(j), j["needed"], mark]))
        lines.append("")
    return lines


def _cell(case: dict, side: str, metric: dict) -> str:
    found = values(case, side, metric["key"])
    if not found:
        return ""
    of = spread(list(found.values()))
    # The spread of what matters most; with all of them nobody could read the table.
    more = f" ({number(of['min'])}–{number(of['max'])})" if metric["plot"] and of["min"] < of["max"] else ""
    return _with_unit(of["median"], metric) + more


def _judged(judgement: dict) -> str:
    return judgement["metric"]["label"] + (f" / {judgement['whom']}" if judgement["whom"] else "")


def _got(judgement: dict) -> str:
    got, unit = judgement["got"], judgement["unit"]
    return f"{number(got['median'])}{unit} ({number(got['min'])}–{number(got['max'])})"


def _with_unit(value: float, metric: dict) -> str:
    return f"{number(value)} {metric['unit']}".strip()


def _row(cells: List[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _plain(why: str) -> str:
    """What a reason says first, without the paths of this machine; where that only announces more, its word on an error too."""
    first, *more = [line.strip() for line in why.split("\n") if line.strip()]
    if first.endswith(":"):
        first += " " + next((line for line in more if "error" in line.lower()), more[-1] if more else "")
    return re.sub(r"(\w+:/)?(/[\w.+-]+){2,}/?", "…", first)[:300]


def _section_names(document: dict) -> List[str]:
    return list(dict.fromkeys(case["section"] for case in document["cases"]))


def _picture(section: str) -> str:
    return "published-" + re.sub(r"[^a-z0-9]+", "-", section.lower()).strip("-") + ".svg"


# --- the plots ---------------------------------------------------------------------------------------------------

# Two panels beside each other, each with a name, a bar and a value in every row.
PANEL, NAME, VALUE, GAP, ROW, BAR = 372, 122, 92, 16, 20, 12
STYLE = report.STYLE.replace("@media", ".own { font-weight: 600; }\n.other { fill: #8c959f; }\n@media", 1)


def svg(document: dict, section: str) -> str:
    """A panel for each case and plotted figure: a bar for each server, the best first."""
    cases = [c for c in document["cases"] if c["section"] == section]
    panels = [(c, m) for c in cases for m in c["metrics"] if m["plot"] and any(values(c, s, m["key"]) for s in c["sides"])]
    out, y = [], 34
    out.append(report._text(GAP, y, section, "title"))
    y += 18
    out.append(report._text(GAP, y, f"{document['date'][:10]} · {document['machine']['cpu']}, one core for the server · medians, smallest to largest round · →: the bar is cut", "dim small"))
    for row in range(0, len(panels), 2):
        heights = [_panel(out, document, *panel, GAP + column * (PANEL + GAP), y + 30) for column, panel in enumerate(panels[row : row + 2])]
        y += 30 + max(heights)
    y += 14
    width = 2 * PANEL + 3 * GAP
    spoken = f"{section}. " + " ".join(
        f"{c['title']}, {m['label']}: " + ", ".join(f"{s} {_with_unit(v, m)}" for s, v in _ordered(c, m)) + "." for c, m in panels
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img" aria-label="{escape(spoken, quote=True)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{y - 1}" rx="8"/>', *out, "</svg>",
    ]) + "\n"


def _ordered(case: dict, metric: dict) -> List[tuple]:
    found = [(s, median(case, s, metric["key"])) for s in case["sides"] if values(case, s, metric["key"])]
    return sorted(found, key=lambda one: one[1], reverse=metric["better"] == "higher")


def _panel(out: List[str], document: dict, case: dict, metric: dict, x: int, y: int) -> int:
    hint = "longer is better" if metric["better"] == "higher" else "shorter is better"
    title = escape(f"{case['short']}: {metric['label'].replace('server CPU', 'CPU')}" + (f", {metric['unit']}" if metric["unit"] else ""))
    out.append(f'<text x="{x}" y="{y}"><tspan class="panel">{title}</tspan><tspan class="dim small" dx="8">{hint}</tspan></text>')
    servers = _ordered(case, metric)
    room, most = PANEL - NAME - VALUE, max((v for _, v in servers), default=0) or 1
    # One that is far off must not make the others look alike: its bar is cut, and says so.
    longest = min(most, 3 * (statistics.median(v for _, v in servers) or most))
    for n, (side, value) in enumerate(servers):
        top = y + 10 + n * ROW
        own = side == document["subject"]
        of = spread(list(values(case, side, metric["key"]).values()))
        label = "own" if own else ""
        out.append(report._text(x, top + BAR - 1.5, side.capitalize() if own else side, label))
        out.append(f'<rect class="track" x="{x + NAME}" y="{top}" width="{room}" height="{BAR}" rx="3"/>')
        out.append(f'<rect class="{"good" if own else "other"}" x="{x + NAME}" y="{top}" width="{max(1.5, min(1, value / longest) * room):.1f}" height="{BAR}" rx="3"/>')
        if of["min"] < of["max"] and of["min"] < longest:
            left, right, middle = x + NAME + of["min"] / longest * room, x + NAME + min(1.08, of["max"] / longest) * room, top + BAR / 2
            out.append(f'<path class="whisker" fill="none" d="M{left:.1f} {middle}H{right:.1f}M{left:.1f} {middle - 3}v6M{right:.1f} {middle - 3}v6"/>')
        out.append(report._text(x + PANEL - VALUE + 18, top + BAR - 1.5, number(value) + (" →" if value > longest else ""), label))
    return 10 + len(servers) * ROW
