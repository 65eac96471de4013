#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of CONTRIBUTING.md that no compiler checks.

usage: tidy.py ROOT

A line may be exempted by a comment on it or on the line before: `// tidy: allow RULE, reason`.
A file may be exempted in tools/checks/tidy.allow.
"""
import pathlib
import re
import sys

import sources

LINE_MAX = 100
FILE_MAX = {"tests": 1000, "bench": 1000}
FILE_MAX_DEFAULT = 800
FUNCTION_MAX = 70

# rule: (folders it holds in, what it bans, what to do instead)
BANNED = {
    "errno": (("src", "include"), r"\berrno\b",
              "the compiler caches its address across a change of thread: use the kernel's value"),
    "thread_local": (("src", "include", "cmd"), r"\bthread_local\b",
                     "only sigsafe/thread_block.cpp owns thread_local"),
    "volatile": (("src", "include", "cmd", "tests", "examples", "bench"),
                 r"(?<!asm )(?<!__asm__ )\bvolatile\b", "use std::atomic"),
    "sleep": (("tests",), r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(",
              "wait for the thing itself: a pipe, a futex, a deadline on a wait"),
}
ALLOW = re.compile(r"//\s*tidy: allow (\w+),\s*\S")
TASK = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
NOT_A_FUNCTION = re.compile(r"\b(namespace|class|struct|union|enum|extern|requires)\b")
FENCE = re.compile(r"^(```|~~~)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(#[^)\s]*)?\)")


class Report:
    def __init__(self, root):
        self.root, self.problems = root, []
        self.allowed, self.used = {}, set()
        allow_file = root / "tools/checks/tidy.allow"
        for number, line in enumerate(allow_file.read_text().splitlines(), 1):
            entry, _, reason = line.partition("#")
            if not entry.strip():
                continue
            if not reason.strip():
                self.problems.append(f"{allow_file}:{number}: needs a reason after '#'")
            rule, _, path = entry.strip().partition(" ")
            self.allowed[rule, path.strip()] = number

    def add(self, rule, where, line, text):
        if (rule, where) in self.allowed:
            self.used.add((rule, where))
        else:
            self.problems.append(f"{where}:{line}: {text} [{rule}]")

    def close(self):
        for rule, path in sorted(set(self.allowed) - self.used):
            self.problems.append(f"tools/checks/tidy.allow: '{rule} {path}' is no longer used")


def check_lines(report, where, lines):
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            report.add("line_length", where, number, f"{len(line)} columns, at most {LINE_MAX}")
        if line != line.rstrip() or "\t" in line and not where.endswith(".S"):
            report.add("blanks", where, number, "blanks at the end of the line, or a tab")
        task = TASK.search(line)
        if task and not where.startswith("tools/checks/"):
            report.add("todo", where, number, f"{task.group(1)} needs a number: TODO(#12)")
    limit = FILE_MAX.get(where.split("/")[0], FILE_MAX_DEFAULT)
    if len(lines) > limit:
        report.add("file_length", where, len(lines), f"{len(lines)} lines, at most {limit}")


def check_banned(report, where, lines, code):
    folder = where.split("/")[0]
    for rule, (folders, pattern, instead) in BANNED.items():
        if folder not in folders:
            continue
        for number, line in enumerate(code, 1):
            if line.lstrip().startswith("#") or not re.search(pattern, line):
                continue
            near = lines[max(0, number - 2):number]
            if not any(found.group(1) == rule for text in near for found in ALLOW.finditer(text)):
                report.add(rule, where, number, f"{rule}: {instead}")


def functions(code):
    """Yields (first line, last line) of each outermost body in braces that looks like a function.

    Braces of namespaces, classes and enums are looked into; of a function, a lambda or an
    initializer they are only matched.
    """
    head, line, opaque, stack = "", 1, 0, []
    for char in code:
        if char == "{":
            text = head.strip()
            is_function = (")" in text and not text.endswith("=")
                           and not NOT_A_FUNCTION.search(text.split("(")[0]))
            is_scope = bool(NOT_A_FUNCTION.search(text)) and not is_function
            stack.append((line, is_function and not opaque, is_scope))
            opaque += not is_scope
            head = ""
        elif char == "}" and stack:
            first, is_function, is_scope = stack.pop()
            opaque -= not is_scope
            if is_function:
                yield first, line
            head = ""
        elif char == ";":
            head = ""
        else:
            head += char
        line += char == "\n"


def check_cpp(report, where, text, lines):
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        report.add("licence", where, 1, "begin with // SPDX-License-Identifier: Apache-2.0")
    if where.endswith(".hpp") and "#pragma once" not in lines:
        report.add("pragma_once", where, 1, "a header needs #pragma once")
    if where.endswith(".S"):
        return
    code = sources.code_only(text)
    check_banned(report, where, lines, code.splitlines())
    no_macros = re.sub(r"(?m)^[ \t]*#(?:.*\\\n)*.*$", sources.blank_text, code)
    for first, last in functions(no_macros):
        if last - first + 1 > FUNCTION_MAX:
            report.add("function_length", where, first,
                       f"a function of {last - first + 1} lines, at most {FUNCTION_MAX}")


def check_markdown(report, path, where, lines):
    titles, fenced = 0, False
    for number, line in enumerate(lines, 1):
        if FENCE.match(line):
            fenced = not fenced
        if fenced:
            continue
        titles += line.startswith("# ")
        for target, _ in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                report.add("link", where, number, f"link to {target}, which is not there")
    if titles != 1:
        report.add("title", where, 1, f"{titles} titles ('# …'), there must be exactly one")


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    report, files = Report(root), 0
    for path in sources.project_files(root):
        where = str(path.relative_to(root))
        is_script = path.name in {"dev", "run", "demo", "CMakeLists.txt"}
        if path.suffix not in sources.CPP | {".py", ".cmake", ".sh", ".md"} and not is_script:
            continue
        files += 1
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if path.suffix == ".md":
            check_markdown(report, path, where, lines)
            continue
        check_lines(report, where, lines)
        if path.suffix in sources.CPP:
            check_cpp(report, where, text, lines)
    report.close()
    for problem in report.problems:
        print(f"tidy: {problem}")
    print(f"tidy: {files} files, {len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
