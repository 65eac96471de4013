# SPDX-License-Identifier: Apache-2.0
"""Signals on their way from the runner to the program."""
import os
import resource
import signal
import subprocess
import threading

from bench import Skip, queue, state_of, until

CATCHABLE = [n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP)]


def every_catchable_signal_arrives_under_its_own_number(bench):
    runner = bench.run("--", bench.probe, "listen")
    runner.ready()
    for signo in CATCHABLE:
        # 32 and 33 too: glibc's kill() lets them pass.
        os.kill(runner.pid, signo)
        got = runner.signal_line()
        assert got[0] == signo, (signo, got)
        if signo >= 32:
            assert got[2] == os.getpid(), f"signal {signo} lost its sender: {got}"
    assert queue(runner.pid, 64, 1007)
    assert runner.end() == 7


def a_queued_value_and_its_sender_arrive(bench):
    runner = bench.run("--", bench.probe, "listen")
    runner.ready()
    for signo in (signal.SIGUSR1, signal.SIGTERM, 34, 64):
        assert queue(runner.pid, signo, 42)
        assert runner.signal_line() == (signo, -1, os.getpid(), 42)


def a_real_time_burst_keeps_its_order_and_values(bench):
    runner = bench.run("--", bench.probe, "listen")
    runner.ready()
    sent = {35: [], 40: []}
    for value in range(1, 401):
        signo = 35 if value % 2 else 40
        until("room in the queue", lambda: queue(runner.pid, signo, value))
        sent[signo].append(value)
    got = {35: [], 40: []}
    for _ in range(400):
        signo, _, _, value = runner.signal_line()
        got[signo].append(value)
    assert got == sent


def a_burst_to_the_group_keeps_its_values_for_each_member(bench):
    runner = bench.run("--group", "--", bench.probe, "listen-fork")
    runner.line()
    runner.line()
    for value in range(1, 51):
        assert queue(runner.pid, 36, value)
    got = {"0": [], "1": []}
    for _ in range(100):
        who, _, signo, _, _, value = runner.line().split()
        assert signo == "36"
        got[who].append(int(value))
    assert got["0"] == got["1"] == list(range(1, 51)), got


def a_full_queue_delays_real_time_signals_and_loses_none(bench):
    if os.geteuid() != 0:
        raise Skip("needs a user of its own, whose queued signals nobody else counts")

    def become_nobody():
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (16, 16))
        os.setuid(59_731)

    for path in (bench.folder.name, os.path.dirname(bench.sigrun)):
        os.chmod(path, 0o755)
    if subprocess.run([bench.probe, "state"], preexec_fn=become_nobody,
                      capture_output=True).returncode != 0:
        raise Skip("another user cannot reach the build folder")
    runner = bench.run("--", bench.probe, "listen", preexec_fn=become_nobody)
    pid = runner.ready()[0]
    os.kill(pid, signal.SIGSTOP)
    until("the program stopped", lambda: state_of(pid) == "T")
    total = 200
    full = threading.Event()

    def send_all():
        for value in range(1, total + 1):
            while not queue(runner.pid, 37, value):
                full.set()

    sender = threading.Thread(target=send_all)
    sender.start()
    assert full.wait(30), "the queue never filled"
    os.kill(pid, signal.SIGCONT)
    values = []
    while len(values) < total:
        signo, _, _, value = runner.signal_line()
        if signo == 37:
            values.append(value)
    sender.join()
    assert values == list(range(1, total + 1)), values


def a_rewritten_signal_arrives_as_the_other(bench):
    runner = bench.run("-r", "TERM:QUIT", "--rewrite=34:USR1", "-rSIGRTMIN+3:TERM", "--",
                       bench.probe, "listen")
    runner.ready()
    for sent, expected in ((15, 3), (34, 10), (37, 15), (10, 10)):
        runner.kill(sent)
        assert runner.signal_line()[0] == expected


def a_signal_rewritten_to_0_is_dropped(bench):
    runner = bench.run("-r", "HUP:0", "--", bench.probe, "listen")
    runner.ready()
    runner.kill(signal.SIGHUP)
    runner.kill(signal.SIGUSR1)
    assert runner.signal_line()[0] == signal.SIGUSR1


def only_the_program_is_signalled_by_default(bench):
    runner = bench.run("--", bench.probe, "listen-fork")
    pids = dict(runner.line().split()[0:3:2] for _ in range(2))
    runner.kill(signal.SIGUSR1)
    assert runner.line().startswith("0 signal 10"), pids
    runner.kill(signal.SIGUSR2)
    assert runner.line().startswith("0 signal 12")


def the_whole_group_is_signalled_with_group(bench):
    runner = bench.run("-g", "--", bench.probe, "listen-fork")
    runner.line()
    runner.line()
    runner.kill(signal.SIGUSR1)
    assert sorted(runner.line().split()[0] for _ in range(2)) == ["0", "1"]


def the_runners_own_broken_pipe_does_not_reach_the_program(bench):
    read_end, write_end = os.pipe()
    runner = bench.run("-v", "--", bench.probe, "listen", stderr=write_end)
    os.close(write_end)
    runner.ready()
    os.close(read_end)
    runner.kill(signal.SIGUSR1)  # saying so raises SIGPIPE in the runner
    assert runner.signal_line()[0] == signal.SIGUSR1
    runner.kill(signal.SIGUSR2)
    assert runner.signal_line()[0] == signal.SIGUSR2


def the_program_leads_a_group_and_with_session_a_session(bench):
    runner = bench.run("--", bench.probe, "listen")
    pid, group, session = runner.ready()
    assert pid == group and session == os.getsid(0)
    runner = bench.run("--session", "-g", "--", bench.probe, "listen")
    pid, group, session = runner.ready()
    assert pid == group == session
    runner.kill(signal.SIGTERM)
    assert runner.signal_line()[0] == signal.SIGTERM
