#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway with what others give it: certificates, a supervisor, a listening socket.

usage: supervised_test.py WHAT PROGRAM

tls         HTTPS; new certificates with a reload, for new connections; bad ones change nothing
watchdog    WATCHDOG=1 comes as long as the gateway does its work, and no longer
activation  a supervisor's socket is served, and outlives the gateway
"""
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

from gateway_client import WAIT_S, Gateway


def make_certificate(folder, name):
    """Who it is for is what tells one from another here."""
    for kind in ("pem", "key"):
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
                    f"/O={name}/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
                   check=True, capture_output=True, timeout=WAIT_S)


def put(folder, certificate, key):
    """What the gateway reads; each file is replaced as a whole."""
    for name, kind in ((certificate, "pem"), (key, "key")):
        fresh = folder / "server.new"
        fresh.write_bytes((folder / f"{name}.{kind}").read_bytes())
        os.rename(fresh, folder / f"server.{kind}")


def who_is_shown(link):
    return dict(part[0] for part in link.sock.getpeercert()["subject"])["organizationName"]


def tls(program, folder):
    for name in ("first", "second"):
        make_certificate(folder, name)
    put(folder, "first", "first")
    both = ssl.create_default_context()
    for name in ("first", "second"):
        both.load_verify_locations(folder / f"{name}.pem")
    at = started(program, folder, tls=both, certificate=str(folder / "server.pem"),
                 key=str(folder / "server.key"))
    old = at.connect()
    old.request("POST", "/notes", "one")
    assert old.getresponse().read() and who_is_shown(old) == "first"
    # What goes together and does not fit changes nothing, and neither does what is no certificate.
    put(folder, "second", "first")
    at.kill(signal.SIGHUP)
    assert at.line(r"reload: rolled back.*server\.key: key values mismatch"), at.lines
    (folder / "server.pem").write_text("nonsense\n")
    at.kill(signal.SIGHUP)
    assert at.line(r"reload: rolled back.*server\.pem: no start line"), at.lines
    link = at.connect()
    link.request("GET", "/notes/1")
    assert link.getresponse().read() and who_is_shown(link) == "first"
    version = at.status()["config"]["version"]
    put(folder, "second", "second")
    at.kill(signal.SIGHUP)
    at.until(lambda now: now["config"]["version"] > version, "reloaded")
    fresh = at.connect()
    fresh.request("GET", "/notes/1")
    assert fresh.getresponse().read() and who_is_shown(fresh) == "second"
    old.request("GET", "/notes/1")  # the connection of before goes on
    assert b'"one"' in old.getresponse().read()
    # Who speaks no TLS is no reason to stop.
    plain = socket.create_connection(("127.0.0.1", at.port), WAIT_S)
    plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1" not in plain.makefile("rb").read()
    # The next process has the files of then.
    put(folder, "first", "first")
    assert at.upgrade() and at.end() == 0
    link = at.connect()
    link.request("GET", "/notes/1")
    assert link.getresponse().read() and who_is_shown(link) == "first"


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self):
        self.name = f"sigrun-gateway-{os.getpid()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name)
        self.environment = {"NOTIFY_SOCKET": "@" + self.name}

    def await_message(self, begin):
        self.socket.settimeout(WAIT_S)
        while not (message := self.socket.recv(4096).decode()).startswith(begin):
            pass
        return message

    def heard_in(self, seconds):
        """What comes until there is silence for that long."""
        self.socket.settimeout(seconds)
        heard = []
        try:
            while len(heard) < 100:
                heard.append(self.socket.recv(4096).decode())
        except TimeoutError:
            pass
        return heard

    def forget(self):
        """What others have said until now."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass


def watchdog(program, folder):
    supervisor = Supervisor()
    at = started(program, folder, debug=True,
                 environment={**supervisor.environment, "WATCHDOG_USEC": "200000"})
    supervisor.await_message("READY=1")
    for _ in range(3):
        supervisor.await_message("WATCHDOG=1")
    # Whoever holds the store holds up every request: the process runs, and does not work.
    assert at.ask("POST", "/debug/stall")[0] == 204
    assert len(supervisor.heard_in(0.5)) < 10
    assert supervisor.heard_in(0.5) == []
    assert at.ask("GET", "/healthz")[0] == 200  # which knows nothing of that
    assert at.ask("DELETE", "/debug/stall")[0] == 204
    supervisor.await_message("WATCHDOG=1")
    # The next process has the watchdog as well, and says so for itself.
    next_one = at.upgrade()
    assert next_one and f"MAINPID={next_one}" in supervisor.await_message("MAINPID=")
    assert at.end() == 0
    supervisor.forget()
    for _ in range(3):
        supervisor.await_message("WATCHDOG=1")
    at.kill(signal.SIGTERM)
    supervisor.await_message("STOPPING=1")


def activation(program, folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Who comes before the gateway does is served.
        early = socket.create_connection(listener.getsockname(), WAIT_S)
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        at = started(program, folder, listener=listener)
        assert at.port == listener.getsockname()[1], "it has opened one of its own"
        assert early.makefile().read().startswith("HTTP/1.1 200 ")
        assert at.ask("POST", "/notes", "kept")[0] == 201
        assert at.upgrade() and at.end() == 0
        assert at.status()["pid"] == at.pid
        at.kill(signal.SIGTERM)
        while at.runs():
            pass
        # The socket is the supervisor's: who comes now waits for the next one.
        late = socket.create_connection(listener.getsockname(), WAIT_S)
        late.sendall(b"GET /notes/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        started(program, folder, listener=listener)
        assert '"kept"' in late.makefile().read()


on_end = []


def started(*arguments, **settings):
    at = Gateway(*arguments, **settings)
    on_end.append(at)
    return at


def main(what, program):
    dead_man = threading.Timer(WAIT_S + 15, lambda: os._exit(1))
    dead_man.daemon = True
    dead_man.start()
    with tempfile.TemporaryDirectory(prefix="sigrun-gateway-") as folder:
        try:
            globals()[what](program, pathlib.Path(folder))
        except BaseException:
            print("\n".join(line for at in on_end for line in at.lines))
            raise
        finally:
            for at in on_end:
                at.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
