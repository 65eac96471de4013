# SPDX-License-Identifier: Apache-2.0
"""The bench every runner test is put on: starts runners, reads their lines, cleans up by pid."""
import ctypes
import importlib.util
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 200  # for one step; a test that waits longer has failed
DEAD_MAN_S = 100

_libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    pass


def queue(pid, signo, value):
    """sigqueue(3) with an int; False when the receiver's queue is full."""
    if _libc.sigqueue(pid, signo, ctypes.c_void_p(value)) == 0:
        return True
    error = ctypes.get_errno()
    if error == 11:
        return False
    raise OSError(error, os.strerror(error))


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def state_of(pid):
    """The one-letter state of /proc/PID/stat; '-' for no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "-"


def until(what, reached):
    """Polls a condition that nothing announces; the pace only costs time, never the outcome."""
    end = time.monotonic() + PATIENCE_S
    while True:
        result = reached()
        if result:
            return result
        assert time.monotonic() < end, f"never came true: {what}"
        select.select([], [], [], 0.002)


class Runner:
    """A started runner: .process, lines of its stdout, and its end."""

    def __init__(self, bench, command, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        self.process = subprocess.Popen(command, **options)
        self.pid = self.process.pid
        self.rest = b""
        self.stderr = b""
        bench.started.append(self)

    def line(self):
        end = time.monotonic() + PATIENCE_S
        fd = self.process.stdout.fileno()
        while b"\n" not in self.rest:
            ready = select.select([fd], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"no line came; so far {self.rest!r}"
            more = os.read(fd, 65536)
            assert more, f"stdout ended; so far {self.rest!r}, stderr {self.errors()!r}"
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\n")
        return text.decode()

    def ready(self):
        """Words after "ready" as numbers: pid, group, session."""
        words = self.line().split()
        assert words[0] == "ready", words
        return [int(word) for word in words[1:]]

    def signal_line(self):
        """(signo, code, pid, value) of the probe's next line."""
        words = self.line().split()
        assert words[0] == "signal", words
        return tuple(int(word) for word in words[1:])

    def kill(self, signo):
        os.kill(self.pid, signo)

    def end(self):
        """Waits; returns the exit code, or -N for death by signal N."""
        out, self.stderr = self.process.communicate(timeout=PATIENCE_S)
        self.rest += out or b""
        return self.process.returncode

    def errors(self):
        return (self.stderr or b"").decode()


class Bench:
    def __init__(self, sigrun, probe):
        self.sigrun = sigrun
        self.probe = probe
        self.started = []
        self.folder = tempfile.TemporaryDirectory(prefix="sigrun-runner-")

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def named(self, name):
        """The command under another name."""
        link = self.path(name)
        if not os.path.islink(link):
            os.symlink(self.sigrun, link)
        return link

    def run(self, *words, **options):
        return Runner(self, [self.sigrun, "run", *words], **options)

    def start(self, *command, **options):
        return Runner(self, list(command), **options)

    def exit_code(self, *words, **options):
        return self.run(*words, **options).end()

    def clean(self):
        for runner in self.started:
            family, found = [runner.pid], 0
            while found < len(family):
                family += children_of(family[found])
                found += 1
            if runner.process.poll() is None:
                for pid in reversed(family):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                runner.process.wait()
            for stream in (runner.process.stdout, runner.process.stderr):
                if stream:
                    stream.close()
        self.folder.cleanup()


def main():
    path, claim, sigrun, probe = sys.argv[1:5]
    sys.path.insert(0, os.path.dirname(path))
    sys.modules["bench"] = sys.modules["__main__"]
    signal.alarm(DEAD_MAN_S)
    spec = importlib.util.spec_from_file_location("claims", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bench = Bench(sigrun, probe)
    try:
        getattr(module, claim)(bench)
    except Skip as reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    finally:
        bench.clean()


if __name__ == "__main__":
    main()
