# SPDX-License-Identifier: Apache-2.0
"""The journal: one JSON object a line, and the truth."""
import json
import os
import resource
import signal

from bench import queue, state_of, until


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def every_signal_and_child_event_is_a_json_line(bench):
    path = bench.path("journal")
    runner = bench.run("--journal", path, "-r", "HUP:0", "-r", "USR2:INT", "--", bench.probe,
                       "orphans", "1", "listen")
    runner.line()
    pid = runner.ready()[0]
    for signo in (signal.SIGUSR1, signal.SIGUSR2):
        runner.kill(signo)
        runner.signal_line()
    runner.kill(signal.SIGHUP)
    assert queue(runner.pid, 34, -7)
    runner.signal_line()
    until("the orphan is in the journal",
          lambda: any(line["event"] == "adopted" for line in lines_of(path)))
    assert queue(runner.pid, 64, 1005)
    assert runner.end() == 5
    lines = lines_of(path)
    assert [line["event"] for line in lines][0] == "start"
    assert lines[0]["pid"] == runner.pid and lines[0]["child"] == pid
    assert lines[0]["program"][1:] == ["orphans", "1", "listen"]
    signals = {line["name"]: line for line in lines if line["event"] == "signal"}
    first = signals["SIGUSR1"]
    assert first["signo"] == 10 and first["code"] == "SI_USER" and first["value"] is None
    assert first["sender"]["pid"] == os.getpid() and first["sender"]["uid"] == os.getuid()
    with open("/proc/self/comm") as file:
        assert first["sender"]["comm"] == file.read().rstrip("\n")
    assert first["done"] == "forwarded"
    assert first["sent"] == {"signo": 10, "name": "SIGUSR1", "to": "process", "id": pid}
    assert signals["SIGUSR2"]["done"] == "rewritten"
    assert signals["SIGUSR2"]["sent"]["name"] == "SIGINT"
    assert signals["SIGHUP"]["done"] == "dropped" and signals["SIGHUP"]["sent"] is None
    assert signals["SIGRTMIN"]["value"] == -7 and signals["SIGRTMIN"]["code"] == "SI_QUEUE"
    adopted = next(line for line in lines if line["event"] == "adopted")
    assert adopted["change"] == "exited" and adopted["status"] == 0
    assert adopted["comm"] == "runner_probe"
    child = next(line for line in lines if line["event"] == "child")
    assert child["pid"] == pid and child["status"] == 5
    assert lines[-1]["event"] == "end" and lines[-1]["exit_code"] == 5
    stamps = [line["monotonic_ns"] for line in lines]
    assert stamps == sorted(stamps)
    assert all(line["time"].endswith("Z") and "T" in line["time"] for line in lines)


def stop_continue_and_death_are_told(bench):
    path = bench.path("journal")
    runner = bench.run("-j", path, "--", bench.probe, "listen")
    pid = runner.ready()[0]
    os.kill(pid, signal.SIGSTOP)
    until("the program stopped", lambda: state_of(pid) == "T")
    until("that is told", lambda: any(l.get("change") == "stopped" for l in lines_of(path)))
    runner.kill(signal.SIGCONT)
    until("so is its end", lambda: any(l.get("change") == "continued" for l in lines_of(path)))
    os.kill(pid, signal.SIGKILL)
    assert runner.end() == 137
    child = [line for line in lines_of(path) if line["event"] == "child"][-1]
    assert child["change"] == "killed" and child["name"] == "SIGKILL" and child["core"] is False


def grace_is_told(bench):
    path = bench.path("journal")
    runner = bench.run("-j", path, "--grace", "0.05", "--", bench.probe, "hold")
    pid = runner.ready()[0]
    runner.kill(signal.SIGTERM)
    assert runner.end() == 137
    over = next(line for line in lines_of(path) if line["event"] == "grace-over")
    assert over["sent"] == {"signo": 9, "name": "SIGKILL", "to": "group", "id": pid}


def a_journal_is_appended_to(bench):
    path = bench.path("journal")
    for _ in range(2):
        assert bench.exit_code("-j", path, "true") == 0
    assert [line["event"] for line in lines_of(path)].count("start") == 2


def odd_bytes_in_names_stay_valid_json(bench):
    path = bench.path("journal")
    words = [b"a\"b\\c\n\t\x01", b"\xff\xfe", "é€😀".encode(), b"\xed\xa0\x80", b"\xc0\xaf",
             b"x" * 5000]
    runner = bench.start(bench.sigrun, "run", "-j", path, "true", *words)
    assert runner.end() == 0
    program = lines_of(path)[0]["program"]
    assert program[1] == words[0].decode()
    assert program[2] == "\ufffd\ufffd"
    assert program[3] == "é€😀"
    assert program[4] == "\ufffd" * 3 and program[5] == "\ufffd" * 2
    assert program[6] == "x" * 5000


def a_journal_that_cannot_be_written_is_said_once(bench):
    runner = bench.run("-j", "/dev/full", "--", bench.probe, "listen")
    runner.ready()
    for signo in (signal.SIGUSR1, signal.SIGUSR2):
        runner.kill(signo)
        assert runner.signal_line()[0] == signo
    assert queue(runner.pid, 64, 1000)
    assert runner.end() == 0
    assert runner.errors().count("lines are lost") == 1, runner.errors()


def a_journal_at_its_size_limit_does_not_stop_the_runner(bench):
    path = bench.path("journal")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    runner = bench.run("-j", path, "--", bench.probe, "listen", preexec_fn=limit)
    runner.ready()
    runner.kill(signal.SIGUSR1)
    assert runner.signal_line()[0] == signal.SIGUSR1
    assert queue(runner.pid, 64, 1004)
    assert runner.end() == 4
