#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the program of README.md and holds it to what README.md says it prints.

usage: readme_program.py PROGRAM SEND_BURST
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time


def in_set(pid, name, signo):
    """Whether a set of signals in /proc/PID/status has this one."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(rf"^{name}:\s*(\w+)", status, re.M).group(1), 16) >> (signo - 1) & 1)


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        os.sched_yield()


def main(program, sender):
    process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    last = signal.SIGRTMIN + 1
    try:
        # The handlers are installed in ascending order, so the last one says that all are there.
        wait_until(lambda: in_set(process.pid, "SigCgt", last))
        os.kill(process.pid, signal.SIGUSR1)
        subprocess.run([sender, str(process.pid), "RTMIN+1", "1"], check=True, timeout=60)
        # Of what pends at the same time the kernel hands out the lowest number first.
        wait_until(lambda: not in_set(process.pid, "ShdPnd", last))
        os.kill(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    print(said, end="")
    expected = [rf"#\d+ SIGUSR1 from pid {os.getpid()}, value 0",
                r"#\d+ SIGRTMIN\+1 from pid \d+, value -?\d+",
                rf"#\d+ SIGTERM from pid {os.getpid()}, value 0"]
    missing = [line for line in expected if not re.search(rf"^{line}$", said, re.M)]
    for line in missing:
        print(f"README.md: nothing like: {line}")
    return 1 if missing or process.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
