#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts the gateway and drives it, as its users, its operators and its supervisor would.

usage: gateway_test.py WHAT PROGRAM     WHAT is one of the functions below
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from gateway_client import WAIT_S, Gateway, Watcher


def notes(at):
    """What the API does, and what it refuses."""
    status, body = at.ask("POST", "/notes", "one thing")
    assert status == 201 and json.loads(body) == {"id": 1, "revision": 1, "text": "one thing"}
    assert at.ask("POST", "/notes", "zwei Äpfel".encode())[0] == 201
    assert json.loads(at.ask("GET", "/notes/2")[1])["text"] == "zwei Äpfel"
    assert json.loads(at.ask("PUT", "/notes/1", "another")[1])["revision"] == 3
    everything = json.loads(at.ask("GET", "/notes")[1])
    assert [one["id"] for one in everything] == [1, 2], everything
    assert len(json.loads(at.ask("GET", "/notes?after=1")[1])) == 1
    assert at.ask("DELETE", "/notes/1")[0] == 204
    for method, path, body, wanted in (
            ("GET", "/notes/1", None, 404), ("DELETE", "/notes/1", None, 404),
            ("PUT", "/notes/77", "x", 404), ("GET", "/notes/x", None, 400),
            ("GET", "/notes/99999999999999999999", None, 400),
            ("GET", "/notes?after=-1", None, 400),
            ("POST", "/notes", b"\xff\xfe", 400), ("POST", "/notes", "x" * 1001, 413),
            ("PATCH", "/notes/2", "x", 405), ("GET", "/nothing", None, 404),
            ("GET", "/feed", None, 426), ("POST", "/debug/crash", None, 404)):
        got = at.ask(method, path, body)
        assert got[0] == wanted, f"{method} {path}: {got}"
    for _ in range(4):
        assert at.ask("POST", "/notes", "more")[0] == 201
    assert at.ask("POST", "/notes", "one too many")[0] == 507
    assert at.status()["notes"] == {"count": 5, "revision": 8}
    assert at.ask("GET", "/healthz") == (200, "alive\n")
    assert at.ask("GET", "/readyz") == (200, "ready\n")


def feed(at):
    """Watchers see each change in order, from where they want to, and what others wrote too."""
    at.ask("POST", "/notes", "before")
    late, early = Watcher(at.port, "/feed"), Watcher(at.port, "/feed?after=0")
    assert early.next()["text"] == "before"
    for text in ("a", "b"):
        at.ask("POST", "/notes", text)
    at.ask("DELETE", "/notes/2")
    for watcher in (late, early):
        seen = []
        while not seen or "removed" not in seen[-1]:
            seen.append(watcher.next())
        # A note that was removed before it was looked at is only seen to go.
        assert [one["revision"] for one in seen] == sorted(one["revision"] for one in seen)
        assert seen[-1] == {"id": 2, "revision": 4, "removed": True}, seen
        assert {"id": 3, "revision": 3, "text": "b"} in seen, seen
    # A second gateway on the same database, as while an upgrade is under way.
    other = Gateway(at.program, tempfile.mkdtemp(dir=at.folder),
                    database=at.settings["database"])
    try:
        other.ask("POST", "/notes", "from elsewhere")
        assert late.next()["text"] == "from elsewhere"
        other.kill(signal.SIGTERM)
        assert other.end() == -signal.SIGTERM
    finally:
        other.close()
    early.close()
    at.until(lambda now: now["watchers"] == 1, "the watcher that left is forgotten")
    at.kill(signal.SIGTERM)
    assert late.next() == 1001  # going away
    assert at.end() == -signal.SIGTERM


def reload(at):
    """A good one is followed, a bad one is named and changes nothing."""
    at.write(title="Better", note_bytes=5)
    at.until(lambda now: now["config"]["version"] == 2, "the change of the file was seen")
    assert at.status()["config"]["title"] == "Better"
    assert at.ask("POST", "/notes", "123456")[0] == 413
    at.write(text='listen = "127.0.0.1:0"\ntitle = ""\nnote_bites = 7\n')
    at.kill(signal.SIGHUP)
    assert at.line(r'gateway\.toml:2: title: must not be empty')
    assert at.line(r'gateway\.toml:3: note_bites: unknown key; did you mean "note_bytes"')
    at.write(database=str(at.folder / "other.db"))
    at.kill(signal.SIGHUP)
    assert at.line(r"database: only a new process can have another one")
    now = at.until(lambda now: "database" in now["config"]["last"]["failure"], "refused")
    assert now["config"]["version"] == 2 and now["config"]["title"] == "Better"


def signals(at):
    """Beats with payloads all come, in order; the log is opened again after a rotation."""
    sender = pathlib.Path(at.program).parent / "example_send_burst"
    subprocess.run([sender, str(at.pid), "RTMIN+1", "3000"], check=True, timeout=WAIT_S)
    now = at.until(lambda now: now["beats"]["received"] == 3000, "all beats came")
    assert now["beats"]["sum"] == 2999 * 1500 and now["beats"]["overtaken"] == 0, now
    assert now["dead_letters"] == 0, now
    assert now["signals"]["dropped"] == 0 and now["signals"]["merged"] == 0, now
    log = at.folder / "access.log"
    at.until(lambda now: now["log"]["written"] > 0, "the log has lines")
    os.rename(log, at.folder / "access.log.1")
    at.kill(signal.SIGUSR1)
    at.until(lambda now: log.exists() and log.stat().st_size > 0, "the new log has lines")
    at.until(lambda now: now["handlers"]["rotate_log"]["handled"] == 1, "once")


def worker(at):
    """Its end, by any means, is seen by nobody."""
    at.ask("POST", "/notes", "three little words")

    def summary():
        status, body = at.ask("GET", "/notes/1/summary")
        assert status == 200, (status, body)
        return json.loads(body)
    first = summary()
    assert first["words"] == 3 and first["bytes"] == 18, first
    os.kill(first["worker"], signal.SIGSTOP)
    asked = threading.Thread(target=summary)
    asked.start()  # it waits, and the child is killed with the question
    os.kill(first["worker"], signal.SIGKILL)
    asked.join()
    second = summary()
    assert second["worker"] != first["worker"] and second["words"] == 3
    at.kill(signal.SIGTERM)
    assert at.end() == -signal.SIGTERM
    assert not os.path.exists(f"/proc/{second['worker']}"), "it outlived the gateway"


def drain(at):
    """At the end new clients are sent elsewhere, and who is being served is served."""
    slow = socket.create_connection(("127.0.0.1", at.port), WAIT_S)
    slow.sendall(b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    at.until(lambda now: now["goroutines"] > 0, "it serves")
    at.kill(signal.SIGTERM)
    # The lame-duck time: not ready, and all is served.
    while at.ask("GET", "/readyz")[0] == 200:
        pass
    assert at.ask("GET", "/readyz") == (503, "listen\n")
    assert at.ask("GET", "/notes")[0] == 200
    assert at.line(r"stop: drain, .* POST /notes")
    slow.sendall(b"cd")
    answer = slow.makefile().read()
    assert answer.startswith("HTTP/1.1 201 ") and '"text":"abcd"' in answer, answer
    assert "Connection: close" in answer, answer
    assert at.end() == -signal.SIGTERM


def upgrade(at):
    """A new process takes over with nothing lost; one that cannot start changes nothing."""
    at.ask("POST", "/notes", "stays")
    watcher = Watcher(at.port, "/feed?after=0")
    assert watcher.next()["text"] == "stays"
    at.write(text="title = 7\n")
    at.kill(signal.SIGUSR2)
    assert at.line(r"upgrade.*(rolled back|ended)")
    assert at.ask("GET", "/notes/1")[0] == 200
    at.write(title="New")
    first, second = at.pid, at.upgrade()
    assert second and second != first
    assert watcher.next() == 1001
    assert at.end() == 0  # the old one
    now = at.status()
    assert now["pid"] == second and now["config"]["title"] == "New" and now["ready"], now
    assert json.loads(at.ask("GET", "/notes/1")[1])["text"] == "stays"
    at.kill(signal.SIGTERM)
    while at.runs():
        pass


def crash(at):
    """A guarded fault is an answer; another one is the end, and a report says where it was."""
    status, body = at.ask("POST", "/debug/fault")
    assert status == 500 and body.startswith("caught: SIGSEGV"), (status, body)
    assert "goroutine" in at.ask("GET", "/debug/goroutines")[1]
    try:
        at.ask("POST", "/debug/crash")
        raise AssertionError("it was answered")
    except (OSError, Exception) as gone:  # the connection breaks off, in one way or another
        assert not isinstance(gone, AssertionError), gone
    assert at.end() == -signal.SIGSEGV
    report, = (at.folder / "crashes").glob("crash-*.json")
    text = report.read_text()
    json.loads(text)
    assert re.search(r"SIGSEGV", text) and "gateway" in text


SETTINGS = {"notes": {"notes_max": 5, "note_bytes": 1000}, "drain": {"lame_duck": "700ms"},
            "crash": {"debug": True}}


def main(what, program):
    dead_man = threading.Timer(WAIT_S + 15, lambda: os._exit(1))
    dead_man.daemon = True
    dead_man.start()
    with tempfile.TemporaryDirectory(prefix="sigrun-gateway-") as folder:
        at = Gateway(program, folder, **SETTINGS.get(what, {}))
        try:
            globals()[what](at)
            if at.process.poll() is None:
                at.kill(signal.SIGTERM)
                assert at.end() == -signal.SIGTERM
        except BaseException:
            print("\n".join(at.lines))
            raise
        finally:
            at.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
