#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a benchmark beside its floor and its peers.

usage: run.py NAME...|all|list [--rounds N] [--check] [--build-dir DIR]

Builds what is needed, runs the rows of the bench in turn, round after round, prints the medians
with their ratios, and writes docs/perf/NAME.json and the table in docs/perf/README.md. With --check
the exit status is 1 when a goal is missed, and each missed row is named.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys

import benches
import http_benches
import sched_benches
import summary

BENCHES = benches.BENCHES + sched_benches.BENCHES + http_benches.BENCHES
ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 90  # the sender gives up after 60


def build(directory):
    """Configures and builds the benches, the peers and the sigrun command; returns bin/."""
    subprocess.run(["cmake", "--preset", "release", "-B", directory, "-DSIGRUN_BENCH=ON"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", directory, "--target", "benches", "sigrun"], cwd=ROOT,
                   check=True, stdout=sys.stderr)
    return directory / "bin"


def resolve(command, programs):
    """Replaces the names of programs by their paths. None: one of them is not there."""
    words = []
    for word in command:
        if re.fullmatch(r"(bench|peer)_\w+|sigrun|tini|dumb-init", word):
            here = programs / word
            word = str(here) if here.exists() else shutil.which(word)
            if word is None:
                return None
        words.append(word)
    return words


def run_row(row, command):
    """One run of one row: its values, or None after saying what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
        values = json.loads(done.stdout.splitlines()[-1])
        if row.extra:
            values.update(row.extra(command))
        return values
    except (RuntimeError, OSError, ValueError, IndexError, subprocess.TimeoutExpired) as problem:
        print(f"bench: {row.name}: {problem}", file=sys.stderr)
        return None


def measure(bench, programs, rounds):
    """Returns [{row name: values}], one dict per round; each round begins with another row."""
    commands = {}
    for row in bench.rows:
        command = resolve(row.command, programs)
        if command is None:
            print(f"bench: {row.name} is not installed: left out", file=sys.stderr)
        else:
            commands[row] = command
    results = []
    for number in range(rounds):
        rows = list(commands)
        start = number % len(rows)
        values = {}
        for row in rows[start:] + rows[:start]:
            got = run_row(row, commands[row])
            if got is not None:
                values[row.name] = got
        if bench.derive:
            bench.derive(values)
        results.append(values)
        print(f"\rbench: {bench.name}: round {number + 1} of {rounds}", end="", file=sys.stderr,
              flush=True)
    print(file=sys.stderr)
    return results


def series(results, row, value):
    return [r[row][value] for r in results if row in r and value in r[row]]


def ratios(results, row, other, value):
    """The ratio of two rows in each round that has both."""
    return [r[row][value] / r[other][value] for r in results
            if value in r.get(row, {}) and r.get(other, {}).get(value)]


def judge(bench, results):
    """One dict per check; measured is None when the row did not run in every round."""
    verdicts = []
    for check in bench.checks:
        if check.against:
            found = ratios(results, check.row, check.against, check.value)
        else:
            found = series(results, check.row, check.value)
        measured = None
        if found and len(found) == len(results):
            # What must never happen must not happen in one round either.
            exact = not check.against and check.limit in (0, 1, 100000)
            worst = min if check.at_least else max
            measured = worst(found) if exact else statistics.median(found)
        verdicts.append({"check": check.text(), "measured": measured, "limit": check.limit,
                         "met": measured is not None and check.met_by(measured)})
    return verdicts


def summarise(bench, results):
    rows = []
    for row in bench.rows:
        names = dict.fromkeys(name for r in results for name in r.get(row.name, {}))
        values = {}
        for name in names:
            found = series(results, row.name, name)
            values[name] = {"median": statistics.median(found), "low": min(found),
                            "high": max(found)}
        rows.append({"name": row.name, "role": row.role, "rounds": len(
            [r for r in results if row.name in r]), "values": values,
            "ratios": floor_ratios(bench, results, row)})
    return rows


def floor_ratios(bench, results, row):
    """Median ratio of the shown values to each floor."""
    found = {}
    for floor in (r.name for r in bench.rows if r.role == "floor" and r.name != row.name):
        for value in bench.columns:
            each = ratios(results, row.name, floor, value)
            if each:
                found.setdefault(floor, {})[value] = round(statistics.median(each), 3)
    return found


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT,
                              check=True).stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.CalledProcessError):
        return None


def boost_version():
    header = pathlib.Path("/usr/include/boost/version.hpp")
    found = header.exists() and re.search(r'BOOST_LIB_VERSION "(.*)"', header.read_text())
    return found.group(1).replace("_", ".") if found else None


def environment(directory):
    cache = (directory / "CMakeCache.txt").read_text()
    compiler = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache, re.M).group(1)
    cpu = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    dirty = subprocess.run(["git", "status", "--porcelain", "--", ".", ":!docs/perf"], cwd=ROOT,
                           capture_output=True, text=True).stdout.strip()
    commit = first_line("git", "rev-parse", "--short", "HEAD")
    return {
        "machine": {"cpu": cpu.group(1) if cpu else platform.machine(),
                    "cores": os.cpu_count(), "kernel": platform.release(),
                    "virtual": "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()},
        "compiler": first_line(compiler, "--version"),
        "peers": {"go": first_line("go", "version"),
                  "boost": boost_version(),
                  "libuv": first_line("pkg-config", "--modversion", "libuv"),
                  "libevent": first_line("pkg-config", "--modversion", "libevent_core"),
                  "tini": first_line("tini", "--version")},
        "commit": f"{commit}{'+changes' if dirty else ''}",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def short(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(bench, rows, verdicts):
    floors = [r["name"] for r in rows if r["role"] == "floor"]
    print(f"\n{bench.name}: {bench.question}\ngoal: {bench.goal}\n")
    head = [f"{'':20s}", *(f"{c:>13s}" for c in bench.columns)]
    head += [f"{'x ' + f:>22s}" for f in floors]
    print(" ".join(head))
    for row in rows:
        cells = [f"{row['name']:20s}"]
        cells += [f"{short(row['values'].get(c, {}).get('median')):>13s}" for c in bench.columns]
        for floor in floors:
            ratio = row["ratios"].get(floor, {})
            text = " / ".join(f"{ratio[c]:.2f}" for c in bench.columns[:2] if c in ratio)
            cells.append(f"{text or '-':>22s}")
        print(" ".join(cells))
    print()
    for verdict in verdicts:
        print(f"  {'met   ' if verdict['met'] else 'MISSED'}  {verdict['check']}: "
              f"{short(verdict['measured'])}")


def run_bench(bench, directory, programs, rounds):
    """Measures, prints and writes one bench; returns the checks that were missed."""
    before = os.getloadavg()[0]
    results = measure(bench, programs, rounds)
    rows, verdicts = summarise(bench, results), judge(bench, results)
    print_table(bench, rows, verdicts)
    report = {"bench": bench.name, "question": bench.question, "goal": bench.goal,
              **environment(directory), "rounds": rounds,
              "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
              "checks": verdicts, "rows": rows}
    path = ROOT / "docs/perf" / f"{bench.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return [v["check"] for v in verdicts if not v["met"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["all"], metavar="NAME",
                        help="a bench, all (the default), or list")
    parser.add_argument("--rounds", type=int, help="instead of the bench's own number")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--build-dir", default="build/release",
                        help="default: build/release")
    arguments = parser.parse_args()
    if arguments.names == ["list"]:
        for bench in BENCHES:
            print(f"{bench.name:24s}{bench.question}\n{'':24s}goal: {bench.goal}")
        return 0
    unknown = set(arguments.names) - {b.name for b in BENCHES} - {"all"}
    if unknown:
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; see list")
    chosen = [b for b in BENCHES if {b.name, "all"} & set(arguments.names)]
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {arguments.rounds}")
    directory = (ROOT / arguments.build_dir).resolve()
    programs = build(directory)
    missed = []
    for bench in chosen:
        missed += [f"{bench.name}: {m}"
                   for m in run_bench(bench, directory, programs, arguments.rounds or bench.rounds)]
    summary.update(ROOT / "docs/perf", [b.name for b in BENCHES])
    for line in missed:
        print(f"bench: missed: {line}", file=sys.stderr)
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
