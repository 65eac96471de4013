# SPDX-License-Identifier: Apache-2.0
"""The part of tools/demo that shows examples/gateway."""
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "examples" / "gateway"))
from gateway_client import CLIENTS, WAIT_S, Gateway, Load, Watcher  # noqa: E402

BEATS = 2000
STEP_S = 1.0
PR_SET_CHILD_SUBREAPER = 36


class Follower(threading.Thread):
    """A watcher of the feed that goes on where it was, whoever serves."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over = port, False
        self.revision = self.changes = self.goodbyes = self.backwards = self.broken = 0
        self.start()

    def run(self):
        while not self.over:
            try:
                watcher = Watcher(self.port, f"/feed?after={self.revision}")
            except (OSError, AssertionError):
                self.broken += not self.over
                return
            while isinstance(change := watcher.next(), dict):
                self.backwards += change["revision"] <= self.revision
                self.revision = change["revision"]
                self.changes += 1
            self.goodbyes += change == 1001
            self.broken += change != 1001
            watcher.close()


class Show:
    def __init__(self):
        self.failed = 0

    def row(self, load, step, holds, seen):
        now = load.figures() if load else None
        good = holds and (now is None or now["failed"] == 0)
        self.failed += not good
        figures = (f"{now['requests']:>9,} {now['failed']:>7} {now['p99_us'] / 1000:>8.1f}"
                   if now else " " * 26)
        print(f"  {'ok    ' if good else 'FAILED'} {step:<17} {figures}  {seen}", flush=True)


def reloads(show, at, load):
    for version in range(2, 7):
        at.write(title=f"Notes, edition {version}")
        at.kill(signal.SIGHUP)
        at.until(lambda now, v=version: now["config"]["version"] >= v, "reloaded")
    now = at.until(lambda now: now["config"]["title"] == "Notes, edition 6", "the last one")
    show.row(load, "5 reloads", True, f"configuration {now['config']['version']}, "
             f"\"{now['config']['title']}\"")
    before = now["config"]["version"]
    at.write(text='title = ""\nnote_bites = 7\n')
    at.kill(signal.SIGHUP)
    told = at.line(r"(gateway\.toml:2: note_bites: .*)")
    now = at.status()
    show.row(load, "a bad one", told and now["config"]["version"] == before,
             f"refused: {told[1] if told else 'not told'}")
    at.write()


def beats(show, at, load, where):
    sent = subprocess.run([where / "example_send_burst", str(at.pid), "RTMIN+1", str(BEATS)],
                          capture_output=True, text=True, timeout=WAIT_S)
    now = at.until(lambda now: now["beats"]["received"] >= BEATS, "all beats")
    right = now["beats"] | {"sum": now["beats"]["sum"] == BEATS * (BEATS - 1) // 2}
    show.row(load, f"{BEATS:,} signals", sent.returncode == 0 and right["sum"]
             and right["received"] == BEATS and now["signals"]["dropped"] == 0,
             f"{right['received']:,} received with their payload, "
             f"{now['signals']['dropped']} dropped")


def lose_worker(show, at, load):
    first = at.status()["worker"]["pid"]
    os.kill(first, signal.SIGKILL)
    now = at.until(lambda now: now["worker"]["pid"] not in (0, first), "a new worker")
    time.sleep(STEP_S / 2)
    show.row(load, "worker killed", now["worker"]["starts"] == 2,
             f"pid {first}, then {now['worker']['pid']}; who waited was answered by that one")


def upgrades(show, at, load):
    at.write(text="title = 7\n")
    at.kill(signal.SIGUSR2)
    told = at.line(r"upgrade.*rolled back")
    show.row(load, "a bad upgrade", told and at.status()["pid"] == at.pid,
             f"rolled back, {at.pid} goes on")
    at.write()
    for _ in range(2):
        old = at.pid
        new = at.upgrade()
        time.sleep(STEP_S)
        show.row(load, "upgrade", new and at.status()["pid"] == new, f"{old} handed over to {new}")


def wait_for(pid):
    """The end of a child, or of a child's child that has come to us."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got == pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return None


def drain(show, at):
    slow = socket.create_connection(("127.0.0.1", at.port), WAIT_S)
    slow.sendall(b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nsent ")
    at.status()  # it is accepted by now
    at.kill(signal.SIGTERM)
    at.line(r"stop: SIGTERM")
    time.sleep(STEP_S)
    slow.sendall(b"slowly")
    answer = slow.makefile().read().split("\n")[0].strip()
    code = wait_for(at.pid)
    show.row(None, "drain", " 201 " in answer and code == -signal.SIGTERM,
             f"an upload under way: {answer[9:]}; exit by SIGTERM: {code == -signal.SIGTERM}")


def crash(show, where, folder):
    inside = pathlib.Path(folder) / "crash"
    inside.mkdir()
    at = Gateway(where / "gateway", inside, debug=True)
    try:
        status, body = at.ask("POST", "/debug/fault")
        show.row(None, "a fault, guarded", status == 500 and "SIGSEGV" in body,
                 body.strip().split(", pc")[0] + ", answered 500, and it goes on")
        try:
            at.ask("POST", "/debug/crash")
        except OSError:
            pass
        code = at.end()
        reports = list((inside / "crashes").glob("crash-*.json"))
        text = "\n".join(at.lines)
        place = next((line.strip() for line in at.lines if "api.cpp:" in line), "")
        show.row(None, "and not", code == -signal.SIGSEGV and len(reports) == 1
                 and "SIGSEGV" in text, "exit by SIGSEGV, a report"
                 + (": " + "/".join(place.split()[0].split("/")[-3:]) if place else ""))
    finally:
        at.close()


def play(show, where, root, folder):
    at = Gateway(where / "gateway", folder, page=str(root / "examples/gateway/page"))
    load = None
    try:
        print(f"\n== the gateway: {CLIENTS} clients that try nothing twice\n\n"
              f"         {'step':<17} {'requests':>9} {'failed':>7} {'p99 ms':>8}")
        load = Load(where / "gateway_load", at.port)
        follower = Follower(at.port)
        time.sleep(STEP_S)
        show.row(load, "load", True, f"process {at.pid}")
        reloads(show, at, load)
        beats(show, at, load, where)
        lose_worker(show, at, load)
        upgrades(show, at, load)
        load.figures(last=True)
        revision = at.status()["notes"]["revision"]
        end = time.monotonic() + WAIT_S
        while follower.revision < revision and time.monotonic() < end:
            time.sleep(0.02)
        follower.over = True
        show.row(None, "the feed", follower.revision == revision and follower.backwards == 0
                 and follower.broken == 0 and follower.goodbyes == 2,
                 f"followed to revision {revision:,} over {follower.goodbyes} hand-overs, in order")
        drain(show, at)
        show.failed += load.requests == 0
        print(f"         {'all of it':<17} {load.requests:>9,} {load.failed:>7}")
        for what, count in load.said.items():
            print(f"           {count} x {what}")
    finally:
        if load:
            load.close()
        at.close()
        if show.failed:
            print("\nWhat the gateway said:\n" + "\n".join("    " + line for line in at.lines))


def show(where, root):
    """How many claims failed."""
    # Who takes over from the first gateway becomes a child of this process when that one ends.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    of = Show()
    with tempfile.TemporaryDirectory(prefix="sigrun-demo-") as folder:
        try:
            play(of, where, root, folder)
            crash(of, where, folder)
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"  FAILED {error}")
            of.failed += 1
    return of.failed


def stay(where, root):
    """The exit status. Ctrl-C and SIGTERM end the gateway as they should, whoever it is then."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A terminal that is closed is no reason to leave something behind.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    with tempfile.TemporaryDirectory(prefix="sigrun-demo-") as folder:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", 8080))
                port = 8080
            except OSError:
                port = 0
        at = Gateway(where / "gateway", folder, listen=f"127.0.0.1:{port}", debug=True,
                     page=str(root / "examples/gateway/page"))
        url = f"http://127.0.0.1:{at.port}"
        print(f"""
The gateway serves at {url}/ until Ctrl-C. Its files: {folder}

    curl -d 'a note' {url}/notes
    curl {url}/notes/1/summary        by the worker process: kill it and ask again
    curl {url}/status                 figures, and who handles which signal
    $EDITOR {at.config}   a change is loaded; so is `kill -HUP {at.pid}`
    kill -USR2 {at.pid}                 a new process takes over: {url}/ stays open
    {os.path.relpath(where / "sigrun")} dump {at.pid}    what each goroutine does
    curl -X POST {url}/debug/fault    a fault that is caught; /debug/crash is one that is not
    kill {at.pid}                       ends it in three phases

After an upgrade the lines below say which process it is then.
""", flush=True)
        shown = []
        try:
            follow(at, shown)
            return 0
        except (KeyboardInterrupt, SystemExit) as asked:
            at.kill(signal.SIGTERM)
            follow(at, shown, WAIT_S)
            return asked.code if isinstance(asked, SystemExit) else 0
        finally:
            at.close()


def follow(at, shown, seconds=None):
    """Shows what the gateway says, whoever serves, until it has ended: who takes over when it was
    told to, by a caller who gives it so many seconds, is told as well."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        with at.news:
            at.news.wait_for(lambda: at.over or len(at.lines) > len(shown), 0.5)
            fresh, over = at.lines[len(shown):], at.over
        for line in fresh:
            # Before it counts as shown: Ctrl-C may come between any two of these.
            if "listening on" in line and (pid := int(line.split()[1].rstrip(":"))) != at.pid:
                at.pids.append(pid)
                at.pid = pid
                if end is not None:
                    at.kill(signal.SIGTERM)
            shown.append(line)
            print(line, flush=True)
        if over:
            print("The gateway has ended.", flush=True)
            return
