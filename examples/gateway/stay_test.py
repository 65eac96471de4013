#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`./dev demo --stay` as its user has it: it says how to try the gateway, and ends when told to.

usage: stay_test.py HOW DEMO BIN

interrupt  Ctrl-C, that is SIGINT for the whole foreground group, after an upgrade
terminate  SIGTERM for the demo alone
hangup     the terminal is closed
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import urllib.request

WAIT_S = 40
# The gateway does not inherit names that begin with SIGRUN_.
MARK_NAME, MARK_VALUE = "STAY_TEST_MARK", str(os.getpid())


def marked():
    """What is left of the demo and all that it started."""
    mark = f"\0{MARK_NAME}={MARK_VALUE}\0".encode()
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in b"\0" + path.read_bytes() + b"\0":
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has ended, or is a zombie
    return found


class Demo:
    def __init__(self, program, where):
        self.process = subprocess.Popen(
            [program, "--stay", "--bin", where], stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, MARK_NAME: MARK_VALUE})
        self.said = []

    def until(self, pattern):
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern} was not said")

    def rest(self):
        self.said += self.process.stdout.readlines()
        return self.process.wait(WAIT_S)


def check(how, demo):
    url = demo.until(r"serves at (http://127\.0\.0\.1:\d+)/ until Ctrl-C")[1]
    folder = re.search(r"files: (\S+)$", demo.said[-1])[1]
    pid = int(demo.until(r"kill -USR2 (\d+) ")[1])
    demo.until(r"listening on")
    text = "".join(demo.said)
    for hint in ("curl -d", "/status", "kill -HUP", f"dump {pid}", "/debug/fault", f"kill {pid} "):
        assert hint in text, f"{hint} is not said"
    with urllib.request.urlopen(url + "/", timeout=WAIT_S) as page:
        assert page.status == 200
    note = urllib.request.Request(url + "/notes", b"a note", method="POST")
    with urllib.request.urlopen(note, timeout=WAIT_S) as made:
        assert made.status == 201
    if how == "interrupt":
        os.kill(pid, signal.SIGUSR2)
        assert int(demo.until(r"^gateway (\d+): listening on")[1]) != pid
        # As the terminal does.
        os.killpg(demo.process.pid, signal.SIGINT)
        wanted = 0
    elif how == "terminate":
        demo.process.terminate()
        wanted = 143
    else:
        demo.process.send_signal(signal.SIGHUP)
        wanted = 129
    code = demo.rest()
    text = "".join(demo.said)
    assert code == wanted, f"exit status {code}\n{text}"
    assert "Traceback" not in text and "The gateway has ended." in text, text
    # One signal, and so it drained: a second one would have cut it short.
    assert "stop: SIGTERM" in text and "second signal" not in text, text
    assert marked() == [], "processes are left behind"
    assert not os.path.exists(folder), "files are left behind"


def main(how, program, where):
    def give_up():
        for pid in marked():
            os.kill(pid, signal.SIGKILL)
        os._exit(1)
    dead_man = threading.Timer(WAIT_S + 10, give_up)
    dead_man.daemon = True
    dead_man.start()
    demo = Demo(program, where)
    try:
        check(how, demo)
    except BaseException:
        print("".join(demo.said))
        raise
    finally:
        for pid in marked():
            os.kill(pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
