#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs an example as a user would: waits for its first line, signals it, checks how it ends.

usage: run.py SIGNAL STATUS PATTERN PROGRAM [ARGUMENT...]

SIGNAL is a name such as TERM, or none. STATUS is what the program must end with: an exit status, or
minus the number of the signal that kills it. PATTERN must be found in what it prints.
"""
import re
import signal
import subprocess
import sys
import threading

WAIT_S = 20


def main(name, status, pattern, *command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    dead_man = threading.Timer(WAIT_S, process.kill)
    dead_man.start()
    try:
        said = process.stdout.readline()
        if name != "none":
            process.send_signal(signal.Signals["SIG" + name])
        said += process.stdout.read()
        process.wait()
    finally:
        dead_man.cancel()
    print(said, end="")
    print(f"ended with {process.returncode}, expected {status} and: {pattern}")
    return 0 if process.returncode == int(status) and re.search(pattern, said, re.S) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
