#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that clang-format and shellcheck have nothing to say.

usage: format.py ROOT

A tool that is not installed is named and passed over.
"""
import pathlib
import re
import shutil
import subprocess
import sys

import sources


def is_shell(path):
    if path.suffix == ".sh":
        return True
    if path.suffix:
        return False
    with open(path, "rb") as file:
        return file.readline().rstrip() in {b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"}


def run(tool, options, paths):
    """Yields what `tool` says about the paths."""
    if shutil.which(tool) is None:
        print(f"format: {tool} is not installed, its part is not checked")
        return
    print(f"format: {tool} reads {len(paths)} files", flush=True)
    if paths:
        done = subprocess.run([tool, *options, *map(str, paths)], capture_output=True, text=True)
        yield from (done.stdout + done.stderr).splitlines()


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    files = sources.project_files(root)
    cpp = [path for path in files if path.suffix in {".hpp", ".cpp"}]
    shell = [path for path in files if is_shell(path)]
    # clang-format reports each blank; which lines are meant is enough.
    said = {match.group(1) for line in run("clang-format", ["--dry-run"], cpp)
            if (match := re.match(r"(.*?:\d+):\d+: ", line))}
    for place in sorted(said):
        print(f"format: {place}: not as clang-format would write it; ./dev format cures it")
    shell_said = list(run("shellcheck", ["--format=gcc"], shell))
    print("\n".join(shell_said))
    return 1 if said or shell_said else 0


if __name__ == "__main__":
    sys.exit(main())
