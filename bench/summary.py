# SPDX-License-Identifier: Apache-2.0
"""The table of all goals in docs/perf/README.md, from the files of the runs beside it."""
import json
import re

BEGIN, END = "<!-- goals: written by bench/run.py -->\n", "<!-- end of goals -->\n"


def number(value):
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cells(check):
    """A check's text, as bench/declare.py writes it, in three cells."""
    row, value, sign, limit, against = re.fullmatch(
        r"(.+): (\S+) ([<>]=) (\S+)(?: x (.+))?", check["check"]).groups()
    goal = f"{'≤' if sign == '<=' else '≥'} {number(float(limit))}"
    if against:
        goal += f" × {against}"
    measured = number(check["measured"])
    if against and check["measured"] is not None:
        measured = f"{check['measured']:.2f} ×"
    return f"{row}: `{value}`", goal, measured


def table(folder, names):
    lines = ["| bench | measured | goal | is | |", "|---|---|---|---|---|"]
    for name in names:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        for check in json.loads(path.read_text())["checks"]:
            what, goal, measured = cells(check)
            verdict = "met" if check["met"] else "**missed**"
            lines.append(f"| `{name}` | {what} | {goal} | {measured} | {verdict} |")
    return "\n".join(lines) + "\n"


def update(folder, names):
    page = folder / "README.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(folder, names)}\n{END}{after}")
