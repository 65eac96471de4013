# SPDX-License-Identifier: Apache-2.0
"""Orphans, grace, parents: every process around the program."""
import os
import signal
import subprocess
import time

from bench import children_of, queue, state_of, until


def an_orphan_is_adopted_and_reaped(bench):
    runner = bench.run("--", bench.probe, "orphans", "1", "listen")
    assert runner.line() == "left 1"
    pid = runner.ready()[0]
    until("only the program is left", lambda: children_of(runner.pid) == [pid])


def ten_thousand_orphans_leave_no_zombie(bench):
    runner = bench.run("--", bench.probe, "orphans", "10000", "listen")
    assert runner.line() == "left 10000"
    pid = runner.ready()[0]
    until("no zombie is left", lambda: children_of(runner.pid) == [pid])
    runner.kill(signal.SIGUSR1)
    assert runner.signal_line()[0] == signal.SIGUSR1
    assert queue(runner.pid, 64, 1003)
    assert runner.end() == 3


def without_subreaper_orphans_go_elsewhere(bench):
    runner = bench.run("--no-subreaper", "--", "sh", "-c",
                       f"({bench.probe} hold & ) ; exec {bench.probe} listen")
    lines = [runner.line().split() for _ in range(2)]
    orphan = next(int(words[1]) for words in lines if len(words) == 2)
    try:
        assert orphan not in children_of(runner.pid)
    finally:
        os.kill(orphan, signal.SIGKILL)


def wait_all_waits_for_the_rest_and_signals_it(bench):
    runner = bench.run("--wait-all", "--", "sh", "-c", f"{bench.probe} listen & exit 4")
    pid = runner.ready()[0]
    until("the program ended", lambda: children_of(runner.pid) == [pid])
    assert queue(runner.pid, 34, 5)
    assert runner.signal_line() == (34, -1, os.getpid(), 5)
    assert queue(runner.pid, 64, 1000)
    assert runner.end() == 4


def without_wait_all_the_programs_end_is_the_end(bench):
    runner = bench.run("--", "sh", "-c", f"{bench.probe} hold & read word; exit 4",
                       stdin=subprocess.PIPE)
    orphan = runner.ready()[0]
    runner.process.stdin.close()
    runner.process.stdin = None
    try:
        assert runner.process.wait(30) == 4
        until("the orphan sleeps on", lambda: state_of(orphan) == "S")
    finally:
        os.kill(orphan, signal.SIGKILL)


def a_program_that_will_not_end_is_killed_after_the_grace_period(bench):
    runner = bench.run("--grace", "0.2", "--", bench.probe, "hold")
    pid = runner.ready()[0]
    begun = time.monotonic()
    runner.kill(signal.SIGTERM)
    assert runner.end() == 137
    assert time.monotonic() - begun >= 0.2
    assert f"the grace period of 0.200 s is over: SIGKILL to process group {pid}" \
        in runner.errors(), runner.errors()


def grace_kills_the_whole_group(bench):
    runner = bench.run("--grace", "0.1", "-w", "--", "sh", "-c",
                       f"{bench.probe} hold & exec {bench.probe} hold")
    pids = [runner.ready()[0] for _ in range(2)]
    runner.kill(signal.SIGINT)
    assert runner.end() == 137
    assert [state_of(pid) for pid in pids] == ["-", "-"]


def no_grace_period_begins_without_a_request_to_end(bench):
    runner = bench.run("--grace", "0.05", "--", bench.probe, "listen")
    runner.ready()
    for signo in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH):
        runner.kill(signo)
        assert runner.signal_line()[0] == signo
    assert queue(runner.pid, 64, 1002)
    assert runner.end() == 2
    assert "grace" not in runner.errors()


def the_parents_death_sends_the_signal(bench):
    shell = bench.start("sh", "-c", '"$0" run -p USR1 -- "$1" listen & read word',
                        bench.sigrun, bench.probe, stdin=subprocess.PIPE)
    pid = shell.ready()[0]
    shell.process.stdin.close()
    shell.process.stdin = None
    try:
        assert shell.signal_line()[0] == signal.SIGUSR1
    finally:
        os.kill(pid, signal.SIGKILL)


def with_parent_death_kill_nothing_is_left(bench):
    runner = bench.run("-p", "KILL", "--", bench.probe, "listen")
    pid = runner.ready()[0]
    runner.kill(signal.SIGKILL)
    until("the program is gone too", lambda: state_of(pid) in "-Z")


def a_stopped_program_is_not_taken_for_an_ended_one(bench):
    runner = bench.run("--", bench.probe, "listen")
    pid = runner.ready()[0]
    os.kill(pid, signal.SIGSTOP)
    until("the program stopped", lambda: state_of(pid) == "T")
    assert state_of(runner.pid) == "S"
    runner.kill(signal.SIGCONT)
    assert runner.signal_line()[0] == signal.SIGCONT
    assert queue(runner.pid, 64, 1001)
    assert runner.end() == 1
