# SPDX-License-Identifier: Apache-2.0
"""A gateway that runs, and clients of it from outside: for its test and for tools/demo."""
import base64
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

WAIT_S = 30
CLIENTS = 8


class Gateway:
    """The program and what takes over from it. Its output is read as it comes."""

    def __init__(self, program, folder, tls=None, environment=None, listener=None, **settings):
        """`tls` is the clients' ssl context; `listener` a socket that it gets as a supervisor's."""
        self.tls = tls
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "gateway.toml"
        self.settings = {"listen": "127.0.0.1:0", "database": str(self.folder / "notes.db"),
                         "access_log": str(self.folder / "access.log"),
                         "crash_reports": str(self.folder / "crashes"), **settings}
        self.write()
        plain = {k: v for k, v in os.environ.items() if not k.startswith("SIGRUN_")}
        command, passed = [program, str(self.config)], ()
        if listener is not None:
            passed = (listener.fileno(),)
            command = ["bash", "-c", f'exec 3<&{passed[0]} && LISTEN_PID=$$ LISTEN_FDS=1 '
                       'LISTEN_FDNAMES=http exec "$@"', "bash", *command]
        self.program = os.path.realpath(program)
        # In a session of its own, so that a Ctrl-C is whose it was meant for.
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, pass_fds=passed,
                                        env={**plain, **(environment or {})},
                                        start_new_session=True)
        self.pid, self.pids = self.process.pid, [self.process.pid]
        self.lines, self.news = [], threading.Condition()
        self.over = False  # nobody is left who could say something
        threading.Thread(target=self._read, daemon=True).start()
        at = self.line(rf"^gateway {self.pid}: listening on 127\.0\.0\.1:(\d+)$")
        assert at, "it does not start: " + "\n".join(self.lines)
        self.port = int(at[1])

    def write(self, text=None, **settings):
        """The configuration; replaced at once, as it should be."""
        self.settings.update(settings)
        if text is None:
            text = "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.settings.items())
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        os.rename(fresh, self.config)

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.over = True
            self.news.notify_all()

    def line(self, pattern, count=1):
        """Waits for that many lines that match; None when they do not come."""
        def found():
            hits = [m for m in map(re.compile(pattern).search, self.lines) if m]
            return hits[count - 1] if len(hits) >= count else None
        with self.news:
            self.news.wait_for(found, WAIT_S)
            return found()

    def kill(self, signo):
        os.kill(self.pid, signo)

    def upgrade(self):
        """Has a new process take over; its pid, which is None when it does not come."""
        starts = 1 + sum("listening on" in line for line in self.lines)
        self.kill(signal.SIGUSR2)
        at = self.line(r"^gateway (\d+): listening on", starts)
        if at is None:
            return None
        self.pid = int(at[1])
        self.pids.append(self.pid)
        return self.pid

    def connect(self):
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        return http.client.HTTPSConnection("localhost", self.port, timeout=WAIT_S,
                                           context=self.tls)

    def ask(self, method, path, body=None):
        """Status and body, over a connection of its own."""
        link = self.connect()
        try:
            link.request(method, path, body)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def status(self):
        return json.loads(self.ask("GET", "/status")[1])

    def until(self, holds, what):
        """Asks for the status until it is so; what it is then."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            now = self.status()
            if holds(now):
                return now
        raise AssertionError(f"{what}: {now}")

    def runs(self):
        """Whether who is in charge does: a child that nobody has waited for does not."""
        try:
            text = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
            return text[text.rindex(")") + 2] not in "ZX"
        except OSError:
            return False

    def end(self):
        """The exit status of the first process."""
        return self.process.wait(WAIT_S)

    def close(self):
        """For the worst case: ends the processes that it knows of, if they still are ours."""
        for pid in self.pids:
            try:
                if os.readlink(f"/proc/{pid}/exe") == self.program:
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Watcher:
    """A WebSocket client, RFC 6455 as far as it goes: text, ping, close."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n"
                             "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        self.stream = self.socket.makefile("rb")
        line = self.stream.readline().decode()
        assert " 101 " in line, line
        while self.stream.readline() != b"\r\n":
            pass

    def _send(self, kind, data):
        mask = os.urandom(4)
        hidden = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(data)]) + mask + hidden)

    def next(self):
        """The next change as a dict, or the close code as an int; None: it just broke off."""
        while True:
            head = self.stream.read(2)
            if len(head) < 2:
                return None
            size = head[1] & 0x7f
            if size == 126:
                size, = struct.unpack(">H", self.stream.read(2))
            elif size == 127:
                size, = struct.unpack(">Q", self.stream.read(8))
            data = self.stream.read(size)
            kind = head[0] & 15
            if kind == 1:
                return json.loads(data)
            if kind == 9:
                self._send(10, data)
            if kind == 8:
                self._send(8, data[:2])
                return struct.unpack(">H", data[:2])[0] if data else 1005

    def close(self):
        self.stream.close()
        self.socket.close()


class Load:
    """gateway_load: what it saw since the last question."""

    def __init__(self, program, port):
        self.process = subprocess.Popen([program, str(port), str(CLIENTS)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.requests = self.failed = 0
        self.said = {}

    def figures(self, last=False):
        if last:
            self.process.stdin.close()
        else:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        now = json.loads(self.process.stdout.readline())
        self.requests += now["requests"]
        self.failed += now["failed"]
        for what, count in now["said"].items():
            self.said[what] = self.said.get(what, 0) + count
        return now

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
