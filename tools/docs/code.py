#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The C++ in the documentation, as a compiler sees it.

usage: code.py check ROOT COMPILER...     every ```cpp block compiles, without warnings
       code.py program FILE.md OUT.cpp    the first block of FILE.md, which is a whole program

A block that has a main() is taken as a whole program; another one is a piece of a function, unless
its first line is `// at namespace scope`. Pieces may use what the preamble below declares.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```cpp\n(.*?)^```$", re.M | re.S)
INCLUDE = re.compile(r"^#include .*\n", re.M)
# An adapter's block needs the library it adapts to, and is left out where that is not installed.
ADAPTERS = {"sigrun/asio.hpp": "boost/asio.hpp", "sigrun/beast.hpp": "boost/beast.hpp",
            "sigrun/libuv.hpp": "uv.h", "sigrun/spdlog.hpp": "spdlog/spdlog.h"}
PREAMBLE = """
#include <sigrun/chan.hpp>
#include <sigrun/process.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/time.hpp>
#include <signal.h>
#include <poll.h>
#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>
using namespace std::chrono_literals;
[[maybe_unused]] static void use(const sigrun::signal_event&) {}
[[maybe_unused]] static void reload() {}
[[maybe_unused]] static void serve() {}
"""
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-variable",
         "-Wno-return-type", "-Wno-unused-but-set-variable", "-Wno-unused-function", "-Werror"]


def blocks(path):
    text = path.read_text()
    for found in BLOCK.finditer(text):
        yield text.count("\n", 0, found.start()) + 2, found.group(1)


def pages(root):
    yield from (root / name for name in ("README.md", "ARCHITECTURE.md") if (root / name).exists())
    yield from sorted((root / "docs").glob("*.md"))


def as_unit(number, where, line, code):
    """A block in a namespace of its own; its includes are hoisted out of it."""
    includes = "".join(INCLUDE.findall(code))
    body = INCLUDE.sub("\n", code)
    whole = re.search(r"\bmain\(", body) or body.startswith("// at namespace scope")
    if not whole:
        body = "inline void piece() {\n#line %d \"%s\"\n%s}\n" % (line, where, body)
    return includes, 'namespace block_%d {\n#line %d "%s"\n%s}\n' % (number, line, where, body)


def usable(include_dirs, includes):
    for ours, theirs in ADAPTERS.items():
        if ours in includes and not any((folder / theirs).exists() for folder in include_dirs):
            return False
    return True


def check(root, compilers):
    system = [pathlib.Path("/usr/include"), pathlib.Path("/usr/local/include")]
    heads, bodies, count = [PREAMBLE], [], 0
    for page in pages(root):
        for line, code in blocks(page):
            head, body = as_unit(count, page.relative_to(root), line, code)
            if not usable(system, head):
                print(f"docs: {page.name}:{line} needs a library that is not installed; left out")
                continue
            heads.append(head)
            bodies.append(body)
            count += 1
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "docs.cpp"
        unit.write_text("".join(heads) + "\n".join(bodies))
        for compiler in compilers:
            command = [compiler, *FLAGS, f"-I{root / 'include'}", str(unit)]
            status |= subprocess.run(command).returncode != 0
    print(f"docs: {count} blocks of C++, {'some do not compile' if status else 'all compile'}")
    return status


def program(page, out):
    for _, code in blocks(page):
        text = "// From %s; do not edit.\n%s" % (page.name, code)
        if not out.exists() or out.read_text() != text:
            out.write_text(text)
        return 0
    print(f"docs: {page} has no block of C++")
    return 1


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "check":
        return check(pathlib.Path(arguments[1]).resolve(), arguments[2:])
    if len(arguments) == 3 and arguments[0] == "program":
        return program(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
