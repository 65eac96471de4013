#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each public header compiles alone, with each compiler.

usage: headers.py ROOT COMPILER...
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
         "-Wconversion", "-Werror", "-x", "c++"]


def compile_alone(root, compiler, header):
    """Twice, so that a missing #pragma once shows as well. Returns what the compiler said."""
    name = header.relative_to(root / "include")
    text = f"#include <{name}>\n#include <{name}>\nint main() {{}}\n"
    done = subprocess.run([compiler, *FLAGS, f"-I{root / 'include'}", "-"], input=text,
                          capture_output=True, text=True)
    return f"headers: {name} alone with {compiler}:\n{done.stderr}" if done.returncode else ""


def main():
    root, compilers = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    headers = sorted((root / "include").rglob("*.hpp"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(compile_alone, root, compiler, header)
                for compiler in compilers for header in headers]
        problems = [job.result() for job in jobs if job.result()]
    print("".join(problems), end="")
    print(f"headers: {len(headers)} headers, {len(compilers)} compilers, {len(problems)} problems")
    return 1 if problems or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
