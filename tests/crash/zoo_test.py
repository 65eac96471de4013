#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash zoo. Each case that dies ends by the signal that it must, with its siginfo, and leaves
the report that it must; each that recovers goes on serving, and says of its faults what it must.

usage: zoo_test.py ZOO SYMBOLIZER|none SIGRUN|none [CASE...]

The siginfo is seen by ptrace(2) at the last stop before the death.
"""
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
CONT, GETSIGINFO, SEIZE = 7, 0x4202, 0x4206
TRACECLONE, TRACEFORK = 8, 2
KERNEL, USER, TKILL = 0x80, 0, -6
WALL = 0x40000000

SEGV, BUS, FPE, ILL = signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL
ABRT, TRAP, QUIT = signal.SIGABRT, signal.SIGTRAP, signal.SIGQUIT


class Died:
    """How a child died: status, siginfo of the last signal, stderr, the report if there is one."""

    def __init__(self, zoo, case, symbolizer, environment):
        with tempfile.TemporaryDirectory() as folder:
            self.folder = pathlib.Path(folder) / "reports"
            begun = time.monotonic()
            self.home = folder
            self.run([os.path.abspath(zoo), case, str(self.folder), symbolizer], environment)
            self.seconds = time.monotonic() - begun
            self.names = sorted(os.listdir(self.folder)) if self.folder.exists() else []
            self.reports = [json.loads((self.folder / name).read_text())
                            for name in self.names if name.endswith(".json")]
            self.modes = {(self.folder / name).stat().st_mode & 0o777 for name in self.names}

    def run(self, arguments, environment):
        out, into = os.pipe()
        go, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(into, 2)
            os.read(go, 1)
            os.chdir(self.home)  # where a core file goes, if the system writes one
            os.closerange(3, 64)
            os.execve(arguments[0], arguments, {**os.environ, **environment})
        os.close(into)
        libc.ptrace(SEIZE, pid, None, TRACECLONE)
        os.write(ready, b"x")
        os.close(ready)
        os.close(go)
        self.signo = self.code = self.address = self.failed_at = None
        self.status = self.trace(pid)
        # From the first fatal signal on; what is said before abort() comes before that.
        self.ended_in = time.monotonic() - (self.failed_at or time.monotonic())
        with os.fdopen(out, errors="replace") as file:
            self.text = file.read()

    def trace(self, pid):
        while True:
            tid, status = os.waitpid(-1, WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if tid == pid:
                    return status
                continue
            signo = os.WSTOPSIG(status)
            if status >> 16:
                signo = 0  # an event of ptrace's own
            else:
                info = (ctypes.c_int * 32)()
                libc.ptrace(GETSIGINFO, tid, None, info)
                if signo in (SEGV, BUS, FPE, ILL, ABRT, TRAP, QUIT):
                    self.failed_at = self.failed_at or time.monotonic()
                    self.signo, self.code = info[0], info[2]
                    self.address = (info[4] & 0xffffffff) | (info[5] & 0xffffffff) << 32
            libc.ptrace(CONT, tid, None, signo)

    def describe(self):
        return (f"status {self.status:#x}, siginfo {self.signo} {self.code} {self.address}, "
                f"{self.names}\n{self.text}")


def functions(frames):
    return [each["function"] for frame in frames for each in frame["symbols"]]


def shows(frames, name):
    return any(name in each for each in functions(frames))


# case: (signal, si_code or None, si_addr or None, a function that must be seen, extra check)
def thrown(kind, message):
    def check(died, report):
        assert report["reason"] == "exception", report["reason"]
        assert report["exception"]["type"] == kind, report["exception"]["type"]
        assert report["exception"]["message"] == message, report["exception"]["message"]
        where = report["exception"]["thrown_at"]["frames"]
        assert shows(where, "throws_"), functions(where)
        assert kind in died.text
    return check


def others_are_there(died, report):
    names = [each["name"] for each in report["goroutines"]]
    assert names[0] == "victim", names
    assert names.count("waiter") == 3 and "runner" in names and "main" in names, names
    for each in report["goroutines"]:
        if each["name"] == "waiter":
            assert each["state"] == "chan receive", each
            assert shows(each["frames"], "with_others_waiting"), functions(each["frames"])
        if each["name"] == "runner":
            assert each["state"] == "running" and each["frames"], each
    assert re.search(r"goroutine \d+ \[chan receive.*name=waiter.*\]:", died.text)


def overflow_is_said(died, report):
    assert "stack overflow" in died.text
    assert report["failed"]["more_frames"]


def sender_is_known(died, report):
    assert report["signal"]["code_name"] == "SI_USER" and report["signal"]["pid"] > 0, report


CASES = {
    "null_write": (SEGV, 1, 0, "writes_to", None),
    "null_write_on_a_thread": (SEGV, 1, 0, "writes_to", None),
    "wild": (SEGV, KERNEL, None, "writes_to", None),
    "read_only": (SEGV, 2, None, "writes_to", None),
    "truncated_file": (BUS, 2, None, "writes_to", None),
    "divide": (FPE, 1, None, "divides", None),
    "illegal": (ILL, None, None, "illegal", None),
    "breakpoint": (TRAP, None, None, "breakpoint", None),
    "calls_null": (SEGV, 1, 0, "calls_null", None),
    "aborts": (ABRT, TKILL, None, "aborts", None),
    "aborts_on_a_thread": (ABRT, TKILL, None, "aborts", None),
    "terminates": (ABRT, TKILL, None, "terminates", None),
    "throws": (ABRT, TKILL, None, None, thrown("std::runtime_error", 'no more "bread"\n')),
    "throws_on_a_thread": (ABRT, TKILL, None, "throws_late",
                           thrown("std::runtime_error", 'no more "bread"\n')),
    "throws_a_number": (ABRT, TKILL, None, None, thrown("int", "")),
    "breaks_noexcept": (ABRT, TKILL, None, None,
                        thrown("std::runtime_error", 'no more "bread"\n')),
    "overflows": (SEGV, None, None, "runs_deep", overflow_is_said),
    "overflows_on_a_thread": (SEGV, None, None, "runs_deep", None),
    "sends_itself": (SEGV, USER, None, None, sender_is_known),
    "frees_twice": (ABRT, TKILL, None, "frees_twice", None),
    "heap_is_rubbish": (SEGV, 1, 0, "writes_to", None),
    "inlined_write": (SEGV, 1, 0, "holds_inlined", None),
    "many_at_once": (SEGV, 1, 0, "writes_to", None),
    "in_a_foreign_call": (SEGV, 1, 0, "in_a_foreign_call", None),
    "with_others_waiting": (SEGV, 1, 0, "writes_to", others_are_there),
    "uses_up_descriptors": (SEGV, 1, 0, "writes_to", None),
    "closes_stderr": (SEGV, 1, 0, "writes_to", None),
    "stderr_has_no_room": (SEGV, 1, 0, "writes_to", None),
    "has_no_address_space": (SEGV, 1, 0, None, None),
    "recovers_and_dies": (SEGV, 2, None, "writes_to", None),
    "blocks_on_stderr": (SEGV, 1, 0, "writes_to", None),
    "blocks_on_a_fifo": (SEGV, 1, 0, "writes_to", None),
    "throws_what_hangs": (ABRT, TKILL, None, None,
                          thrown("(anonymous namespace)::says_nothing", "")),
}
# Of these the text goes nowhere.
UNSAID = ("closes_stderr", "stderr_has_no_room", "blocks_on_stderr", "blocks_on_a_fifo")

# A report that is complete was so before its timer ended the process, however busy the machine is.
TIME_MAX_NS = 2_500_000_000
# Seconds from the first fatal signal to the end. Nothing but HANGING comes near its time.
END_MAX = 3.0
HANGING = ("hangs_in_a_write", "hangs_while_others_set_alarms")

# Those that cannot leave a whole report: (signal, si_code, si_addr, what stderr has, or None).
WITHOUT = {
    "faults_twice": (SEGV, 1, 0x1230, "SIGSEGV: SEGV_MAPERR at 0x1230"),
    "hangs_in_a_write": (SEGV, 1, 0, None),
    "hangs_while_others_set_alarms": (SEGV, 1, 0, None),
    "has_no_disk": (SEGV, 1, 0, "no report in"),
    "quits": (QUIT, None, None, "name=victim"),
    "quits_with_nobody_reading": (QUIT, None, None, None),
}


# Those that recover, ten times each: what they say of it, where it is not the usual.
ROUNDS = 10
RECOVERING = {
    "recovers_from_null": {"signal": SEGV, "code": 1, "address": 0, "goroutine": 1},
    "recovers_from_wild": {"signal": SEGV, "code": KERNEL, "has_address": 0},
    "recovers_from_read_only": {"signal": SEGV, "code": 2, "has_address": 1},
    "recovers_from_a_truncated_file": {"signal": BUS, "code": 2, "has_address": 1},
    "recovers_from_a_division": {"signal": FPE, "code": 1, "has_address": 0},
    "recovers_from_a_null_call": {"signal": SEGV, "code": 1, "address": 0},
    "recovers_in_libc": {"signal": SEGV, "code": 1, "address": 0},
    "recovers_in_a_foreign_call": {"signal": SEGV, "code": 1, "goroutine": 1},
    "recovers_on_a_thread": {"signal": SEGV, "code": 1, "goroutine": 0},
    "recovers_with_a_mutex": {"signal": SEGV, "poisoned": ROUNDS, "told": ROUNDS},
    "recovers_by_panicking": {"signal": SEGV, "returned": 0, "thrown": ROUNDS},
    "recovers_by_joining": {"signal": SEGV, "returned": 0, "thrown": ROUNDS, "goroutine": 1},
    "recovers_in_a_crowd": {"caught": 100 * ROUNDS, "observed": 100 * ROUNDS,
                            "returned": 100 * ROUNDS},
    "recovers_from_a_sent_one_too": {"signal": SEGV, "code": 1, "told": ROUNDS},
}
USUAL = {"caught": ROUNDS, "answered": ROUNDS, "observed": ROUNDS, "returned": ROUNDS, "thrown": 0,
         "poisoned": 0, "told": 0}


def check_recovering(zoo, symbolizer, case):
    with tempfile.TemporaryDirectory() as folder:
        reports = pathlib.Path(folder) / "reports"
        begun = time.monotonic()
        done = subprocess.run([zoo, case, str(reports), symbolizer], capture_output=True, text=True,
                              timeout=60)
        assert time.monotonic() - begun < 15
        assert done.returncode == 0 and not done.stderr, f"{done.returncode} {done.stderr}"
        assert not os.listdir(reports), "a report of what was caught"
    seen = json.loads(done.stdout)
    for name, value in {**USUAL, **RECOVERING[case]}.items():
        assert seen[name] == value, f"{name} is {seen[name]}, not {value}"
    if case != "recovers_in_a_crowd":
        assert seen["frames"] > 2, seen


def check_report(died, report, wanted):
    number, code, address, function, extra = wanted
    assert report["schema"] == 1 and report["kind"] == "sigrun-crash"
    assert report["complete"] is True
    assert 0 < report["took_ns"] < TIME_MAX_NS, report["took_ns"]
    assert report["signal"]["number"] == number, report["signal"]
    assert code is None or report["signal"]["code"] == code, report["signal"]
    if address is not None:
        assert int(report["signal"]["address"], 16) == address, report["signal"]
    assert report["build"]["program"] == "zoo" and report["build"]["version"] == "1.2.3"
    assert re.fullmatch("[0-9a-f]{40}", report["build"]["build_id"]), report["build"]
    assert report["build"]["compiler"], report["build"]
    assert report["failed"]["frames"], report["failed"]
    assert report["registers"] and report["modules"] and report["memory"]["mappings"] > 5
    if report["failed"]["goroutine"] != 0:
        first = report["goroutines"][0]
        assert first["id"] == report["failed"]["goroutine"], first
    if function is not None:
        assert shows(report["failed"]["frames"], function), functions(report["failed"]["frames"])
    if extra is not None:
        extra(died, report)


def check_case(zoo, symbolizer, case):
    wanted = CASES.get(case) or WITHOUT[case]
    # What nothing but the timer ends has less time than others, because it takes all of it.
    died = Died(zoo, case, symbolizer, {"ZOO_TIME_MS": "500"} if case in HANGING else {})
    try:
        assert os.WIFSIGNALED(died.status), "it was not killed"
        assert os.WTERMSIG(died.status) == wanted[0], "another signal"
        assert died.signo == wanted[0], "the last signal was another"
        assert wanted[1] is None or died.code == wanted[1], "another si_code"
        assert wanted[2] is None or died.address == wanted[2], "another si_addr"
        assert died.ended_in < END_MAX, died.ended_in
        assert case not in HANGING or died.ended_in > 0.4, died.ended_in
        if case in WITHOUT:
            assert not died.reports and not died.names, died.names
            assert wanted[3] is None or wanted[3] in died.text
        else:
            assert len(died.reports) == 1 and died.modes == {0o600}, died.names
            check_report(died, died.reports[0], wanted)
            if case not in UNSAID:
                assert "sigrun: report in" in died.text
    except AssertionError:
        print(died.describe())
        raise


def check_kinds(zoo, symbolizer):
    """Faults of several kinds at once: one report, of the one that the process dies of."""
    died = Died(zoo, "many_kinds_at_once", symbolizer, {})
    assert os.WIFSIGNALED(died.status) and len(died.reports) == 1, died.describe()
    reported = died.reports[0]
    assert reported["complete"] and died.ended_in < END_MAX, died.describe()
    assert reported["signal"]["number"] == os.WTERMSIG(died.status), died.describe()
    assert os.WTERMSIG(died.status) in (SEGV, FPE, ILL, ABRT, BUS), died.describe()


def check_child(zoo, symbolizer):
    died = Died(zoo, "in_a_child", symbolizer, {})
    assert os.WEXITSTATUS(died.status) == SEGV and not died.reports, died.describe()


def check_levels(zoo, symbolizer):
    texts = {}
    for level in ("none", "single", "all", "system", "crash"):
        died = Died(zoo, "with_others_waiting", symbolizer, {"SIGRUN_TRACEBACK": level})
        assert os.WTERMSIG(died.status) == SEGV, died.describe()
        texts[level] = died.text
    for text in texts.values():
        assert "sigrun: fatal: SIGSEGV: SEGV_MAPERR at 0x0" in text, text
    assert "goroutine" not in texts["none"], texts["none"]
    assert "name=victim" in texts["single"] and "name=waiter" not in texts["single"]
    assert "name=waiter" in texts["all"] and "\nthread " not in texts["all"]
    for level in ("system", "crash"):
        assert "name=waiter" in texts[level] and "\nthread " in texts[level], texts[level]
    died = Died(zoo, "null_write", symbolizer, {"SIGRUN_TRACEBACK": "loud"})
    assert os.WEXITSTATUS(died.status) == 3 and "'loud'" in died.text, died.describe()


def line_of(mark):
    """The line of crash_zoo.cpp that is marked so."""
    source = pathlib.Path(__file__).with_name("crash_zoo.cpp").read_text().splitlines()
    return 1 + next(i for i, line in enumerate(source) if line.endswith(f"zoo_test.py: {mark}"))


def check_symbols(zoo, symbolizer):
    """With a symbolizer there are files, lines and words; one that hangs costs no report."""
    if symbolizer == "none":
        return
    report = Died(zoo, "null_write", symbolizer, {}).reports[0]
    first = report["failed"]["frames"][0]["symbols"][0]
    assert first["file"].endswith("zoo.hpp") and first["line"] > 0, first
    assert first["function"].endswith("writes_to"), first
    report = Died(zoo, "inlined_write", symbolizer, {}).reports[0]
    seen = [(each["function"].rpartition("::")[2], pathlib.Path(each["file"]).name, each["line"],
             each["inlined"]) for each in report["failed"]["frames"][0]["symbols"]]
    assert seen == [("is_inlined", "crash_zoo.cpp", line_of("the instruction"), True),
                    ("holds_inlined", "crash_zoo.cpp", line_of("the call"), False)], seen
    report = Died(zoo, "in_a_foreign_call", symbolizer, {}).reports[0]
    outermost = [frame["symbols"][-1]["function"] for frame in report["failed"]["frames"]
                 if frame["symbols"]]
    lambdas = [each for each in outermost if "operator()" in each]
    assert any("in_a_foreign_call" in each for each in lambdas), outermost
    assert "operator()" not in outermost, outermost
    with tempfile.TemporaryDirectory() as folder:
        silent = pathlib.Path(folder) / "silent"
        silent.write_text("#!/bin/sh\n(exec sleep 20 <&3) &\nexit 0\n")
        silent.chmod(0o755)
        died = Died(zoo, "null_write", str(silent), {})
        assert os.WTERMSIG(died.status) == SEGV and len(died.reports) == 1, died.describe()
        assert shows(died.reports[0]["failed"]["frames"], "writes_to")
        # One that is stopped; it is nobody's child, and ended here.
        stopped = pathlib.Path(folder) / "stopped"
        stopped.write_text(f"#!/bin/sh\n(exec {symbolizer} <&3 >&3) &\nkill -STOP $!\n"
                           f"echo $! >{folder}/pid\nexit 0\n")
        stopped.chmod(0o755)
        died = Died(zoo, "null_write", str(stopped), {})
        os.kill(int((pathlib.Path(folder) / "pid").read_text()), signal.SIGKILL)
        assert os.WTERMSIG(died.status) == SEGV and len(died.reports) == 1, died.describe()
        assert died.ended_in < END_MAX, died.ended_in
    died = Died(zoo, "null_write", "/nonexistent", {})
    assert os.WTERMSIG(died.status) == SEGV and len(died.reports) == 1, died.describe()


def check_tool(zoo, symbolizer, tool):
    """sigrun crash finds what the dying process did not know, and tells crashes apart."""
    if "none" in (symbolizer, tool):
        return
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, case in enumerate(("null_write", "null_write", "read_only", "throws")):
            file = pathlib.Path(folder) / f"{number}.json"
            file.write_text(json.dumps(Died(zoo, case, "none", {}).reports[0]))
            files.append(str(file))
        environment = {**os.environ, "SIGRUN_SYMBOLIZE": symbolizer}

        def crash(*words):
            done = subprocess.run([tool, "crash", *words], capture_output=True, text=True,
                                  env=environment, timeout=60)
            return done.returncode, done.stdout, done.stderr
        status, text, said = crash(files[0])
        assert status == 0 and "crash_zoo.cpp:" in text and "writes_to(...)" in text, text + said
        status, text, _ = crash("--raw", files[0])
        assert status == 0 and "crash_zoo.cpp:" not in text and "writes_to" in text, text
        status, text, _ = crash("--json", files[3])
        thrown_at = json.loads(text)["exception"]["thrown_at"]["frames"]
        sources = [each["symbols"][0].get("file", "") for each in thrown_at if each["symbols"]]
        assert any(file.endswith("crash_zoo.cpp") for file in sources), sources
        status, text, _ = crash("--diff", files[0], files[1])
        assert status == 0 and text.startswith("the same crash"), text
        status, text, _ = crash("--diff", files[0], files[2])
        assert status == 1 and "- SIGSEGV SEGV_MAPERR" in text, text
        broken = pathlib.Path(folder) / "broken.json"
        broken.write_text("{}")
        status, text, said = crash(str(broken))
        assert status == 2 and "is no crash report" in said, said


OTHERS = {"in_a_child": check_child, "many_kinds_at_once": check_kinds, "levels": check_levels,
          "symbols": check_symbols}


def main():
    zoo, symbolizer, tool = sys.argv[1:4]
    failed = 0
    for case in sys.argv[4:] or [*CASES, *WITHOUT, *RECOVERING, *OTHERS, "tool"]:
        try:
            if case == "tool":
                check_tool(zoo, symbolizer, tool)
            elif case in RECOVERING:
                check_recovering(zoo, symbolizer, case)
            elif case in OTHERS:
                OTHERS[case](zoo, symbolizer)
            else:
                check_case(zoo, symbolizer, case)
            print(f"ok {case}")
        except (AssertionError, KeyError, IndexError, ValueError) as error:
            failed += 1
            print(f"FAILED {case}: {type(error).__name__} {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
