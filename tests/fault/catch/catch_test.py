#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each kind of fault does, in code of one compiler and its flags, what docs/faults.md says.

usage: catch_test.py PROGRAM PAGE COMPILER COLUMN

COLUMN is that of the page's tables, counted from 1. Where the compiler is not of a version that the
page names, only what holds for all of them is checked.
"""
import pathlib
import platform
import re
import subprocess
import sys

HEADINGS = {"guarded": "### Under `guarded`", "panic": "### With `set_panic_on_fault`"}
CAUGHT = set("TtRH")


def table(page, heading):
    """The rows under a heading: {kind: its cells}."""
    text = page.split(heading + "\n")[1]
    rows = re.search(r"(^\|.*\n)+", text, re.M).group(0).splitlines()[2:]
    cells = ([each.strip() for each in row.strip("|").split("|")] for row in rows)
    return {kind: letters for kind, *letters in cells}


def is_named(page, compiler):
    major = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True,
                           check=True).stdout.strip().split(".")[0]
    name = "clang" if "clang" in compiler else "g++"
    return re.search(rf"\b{re.escape(name)} {major}\b", page) is not None


def holds_anywhere(way, wanted, got):
    if wanted == "D":
        return got == "D" or way == "panic"
    if way == "guarded" and wanted != "-":
        return got in CAUGHT | {"-"}
    return got != "?"


def main():
    program, page, compiler, column = sys.argv[1:5]
    page = pathlib.Path(page).read_text()
    exact = is_named(page, compiler) and platform.machine() == "x86_64"
    done = subprocess.run([program], capture_output=True, text=True, timeout=120, check=True)
    tables = {way: table(page, heading) for way, heading in HEADINGS.items()}
    seen = {way: set() for way in tables}
    failed = 0
    for line in done.stdout.splitlines():
        way, got, kind = line.split(" ", 2)
        seen[way].add(kind)
        wanted = tables[way].get(kind, [""] * int(column))[int(column) - 1]
        if got != wanted and (exact or not holds_anywhere(way, wanted, got)):
            failed += 1
            print(f"FAILED {way}, {kind}: {got}, the page says '{wanted}'")
    for way, kinds in tables.items():
        for kind in set(kinds) - seen[way] if exact else ():
            failed += 1
            print(f"FAILED {way}, {kind}: is in the page and not in the program")
    print(f"{len(done.stdout.splitlines())} cells, {failed} failed" + ("" if exact else
          "; the compiler is not one that the page names"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
