#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/man/sigrun.1 to the command: every option that --help names is in the page.

usage: man.py ROOT SIGRUN
"""
import pathlib
import re
import subprocess
import sys


def help_of(program, *words):
    return subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True,
                          timeout=10).stdout


def main(root, program):
    page = (root / "docs/man/sigrun.1").read_text().replace("\\-", "-")
    in_page = {"-" + name for name in re.findall(r"\bFl (-[\w-]+)", page)}
    in_page |= set(re.findall(r"(?<![\w-])--[\w-]+", page))
    commands = re.findall(r"^  ([a-z]+)  ", help_of(program), re.M)
    missing = []
    for command in commands:
        if not re.search(rf"^\.Ss sigrun {command}$", page, re.M):
            missing.append(f"a section about {command}")
        for option in set(re.findall(r"^ {2,6}(?:-\w, )?(--[\w-]+)", help_of(program, command),
                                     re.M)):
            if option not in in_page:
                missing.append(f"{command} {option}")
    for what in sorted(missing):
        print(f"docs/man/sigrun.1 lacks {what}")
    print(f"man: {len(commands)} commands, {len(missing)} things missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]))
