#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/contract.md to the tests: each test it names exists.

usage: contract.py ROOT

A test is named in backticks, as ctest prints it without its first words (`notify_test.a_claim`), by
its ctest name (`check.sigsafe`), or by its file or folder (`tests/abi`).
"""
import pathlib
import re
import sys

CASE = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", re.M)
NAMED = re.compile(r"`([A-Za-z]\w*\.\w+|tests/[\w/.]+)`")
ADDED = re.compile(
    r"\b(?:add_test\(NAME|sigrun_(?:check|docs_test|gdb_test)\()\s*([\w.]+)")


def main(root):
    known = set()
    for source in root.glob("tests/**/*.cpp"):
        known |= {f"{suite}.{name}" for suite, name in CASE.findall(source.read_text())}
    for lists in root.glob("**/CMakeLists.txt"):
        if "build" in lists.relative_to(root).parts:
            continue
        for name in ADDED.findall(lists.read_text()):
            known |= {name, f"check.{name}", f"docs.{name}"}
    problems, count = [], 0
    for number, line in enumerate((root / "docs/contract.md").read_text().splitlines(), 1):
        if not re.match(r"\| [A-K]\d+ ", line):
            continue
        for name in NAMED.findall(line):
            count += 1
            there = (root / name).exists() if name.startswith("tests/") else name in known
            if not there:
                problems.append(f"docs/contract.md:{number}: no test {name}")
    print("\n".join(problems + [f"contract: {count} tests named, {len(problems)} missing"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
