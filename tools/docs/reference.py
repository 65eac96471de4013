#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference.md from the comments of the public headers.

usage: reference.py [--check] ROOT     --check: change nothing, fail when it is not up to date

A type is in it, and what has a `///` comment before it; what follows without a blank line belongs
to it. Private parts and function bodies are left out.
"""
import pathlib
import re
import sys

RULER = re.compile(r"^\s*// -{3,} (.+)$")
TYPE = re.compile(r"(struct|class|enum|using) ")
FORWARD = re.compile(r"(struct|class) \w+;|using namespace")
NAME = re.compile(r"(?:enum class|class|struct|enum)\s+(\w[\w:]*)|"
                  r"using\s+(\w+)|(?:(~?\w+)\s*\()|(\w+)\s*(?:=|\{|;)")
FIRST = ("signal.hpp", "signal_event.hpp", "signal_names.hpp", "signal_set.hpp", "chan.hpp",
         "select.hpp", "sync.hpp", "time.hpp", "process.hpp")


def end_of_braces(code, i):
    depth = 0
    while True:
        depth += (code[i] == "{") - (code[i] == "}")
        i += 1
        if depth == 0:
            return i


def without_bodies(code):
    """Function bodies become `;`, initializers of constructors go with them."""
    out, i = "", 0
    while i < len(code):
        if code[i] == "{" and re.search(r"(\)|\bconst|\bnoexcept)\s*$", out):
            head = out.rstrip()
            start = max(head.rfind(";"), head.rfind("}"), head.rfind("{ "), head.rfind("{\n"),
                        head.rfind("\n\n")) + 1
            cut = re.search(r"(?<=[)\w])\s+:\s(?!:)", head[start:])
            out = (head[:start + cut.start()] if cut else head) + ";"
            i = end_of_braces(code, i)
            i += code[i:i + 1] == ";"
            continue
        out += code[i]
        i += 1
    return out


def without_private(code):
    return re.sub(r"\n\n?( *) private:\n.*?(?=\n\1\};)", "", code, flags=re.S)


def declaration(lines, start):
    """Lines of one declaration from `start`: to its `;` outside braces, or the end of its body."""
    depth, text, i = 0, [], start
    while i < len(lines):
        text.append(lines[i])
        code = re.sub(r"//.*|\"[^\"]*\"|'[^']*'", "", lines[i])
        depth += code.count("{") - code.count("}")
        i += 1
        if depth == 0 and re.search(r"[;}]\s*$", code.rstrip()):
            break
    return text, i


def name_of(code):
    flat = re.sub(r"template\s*<[^>]*>|requires\([^)]*\).*?&&\.\.\.\)|\[\[\w+\]\]|//.*", "", code)
    for match in NAME.finditer(flat):
        name = next(group for group in match.groups() if group)
        if name not in ("requires", "is_convertible_v", "constexpr", "inline"):
            return name
    return "?"


def entries(lines):
    """Yields ('section', text) and ('entry', doc, code)."""
    i = 0
    while i < len(lines):
        line = lines[i]
        ruler = RULER.match(line)
        if ruler and not line.startswith(" "):
            yield "section", ruler.group(1).strip(" -").capitalize(), ""
        if re.match(r"namespace detail|namespace sigrun::\w*detail", line):
            _, i = declaration(lines, i)
            continue
        if line.startswith("///") or TYPE.match(line) and not FORWARD.match(line):
            doc = []
            while i < len(lines) and lines[i].startswith("///"):
                doc.append(lines[i][3:].removeprefix(" "))
                i += 1
            code = []
            while i < len(lines) and lines[i].strip() and not lines[i].startswith(("///", "}")):
                more, i = declaration(lines, i)
                code += more
            yield "entry", "\n".join(doc), without_bodies(without_private("\n".join(code)))
            continue
        i += 1


def introduction(lines):
    text = []
    for line in lines[1:]:
        if not line.startswith("//"):
            break
        text.append(line[2:].removeprefix(" "))
    out, fenced = [], False
    for line in "\n".join(text).strip("\n").split("\n"):
        is_code = line.startswith("  ") and (fenced or not out or not out[-1])
        if is_code != fenced:
            out.append("```" + ("c++" if is_code else ""))
            fenced = is_code
            if not is_code and line:
                out.append("")
        out.append(line[2:] if is_code else line)
    return "\n".join(out + (["```"] if fenced else []))


def escape(doc):
    """Names with < > would vanish in markdown."""
    return re.sub(r"(?<!`)<(?=[\w/])", r"\\<", doc)


def page(root):
    headers = sorted((h for h in (root / "include/sigrun").glob("*.hpp")
                      if h.name != "sigrun.hpp"),
                     key=lambda h: (FIRST.index(h.name) if h.name in FIRST else 99, h.name))
    out = ["# Reference", "",
           "Made by `tools/docs/reference.py` from the public headers; do not edit. Everything is",
           "in namespace `sigrun`. Where nothing else is said, a function may be called from any",
           "thread, but not in a signal handler."]
    for header in headers:
        lines = header.read_text().splitlines()
        out += ["", f"## `<sigrun/{header.name}>`", "", introduction(lines)]
        for kind, text, code in entries(lines):
            if kind == "section":
                out += ["", f"**{text}**"]
                continue
            out += ["", f"### {name_of(code)}", ""] + ([escape(text), ""] if text else [])
            out += ["```c++", code, "```"]
    return "\n".join(out) + "\n"


def main(arguments):
    check = "--check" in arguments
    root = pathlib.Path([a for a in arguments if not a.startswith("-")][0]).resolve()
    target, text = root / "docs/reference.md", page(root)
    if not check:
        target.write_text(text)
        return 0
    if target.exists() and target.read_text() == text:
        print("reference: up to date")
        return 0
    print("docs/reference.md is not that of the headers: python3 tools/docs/reference.py .")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
