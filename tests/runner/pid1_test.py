# SPDX-License-Identifier: Apache-2.0
"""The runner as PID 1 of a pid namespace."""
import os
import signal
import subprocess

from bench import Skip, children_of, queue, until

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def start_as_pid_1(bench, *words, name="sigrun", **options):
    """The `unshare` process, whose child, the runner, is PID 1 of a namespace of its own."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
        raise Skip("no new pid namespace here")
    command = [bench.sigrun, "run"] if name == "sigrun" else [bench.named(name)]
    return bench.start(*UNSHARE, *command, *words, **options)


def as_pid_1(bench, *words, **options):
    """The `unshare` process and the runner's pid outside. For runners that wait to be ended."""
    outer = start_as_pid_1(bench, *words, **options)
    init = until("PID 1 runs", lambda: children_of(outer.pid))[0]
    return outer, init


def signals_from_outside_arrive(bench):
    outer, init = as_pid_1(bench, "--", bench.probe, "listen")
    outer.ready()
    for signo in (1, 2, 3, 10, 12, 15, 34, 64):
        os.kill(init, signo)
        got = outer.signal_line()
        assert got[0] == signo
    assert queue(init, 40, 77)
    got = outer.signal_line()
    assert (got[0], got[3]) == (40, 77)
    assert queue(init, 64, 1009)
    assert outer.end() == 9


def orphans_are_reaped(bench):
    outer, init = as_pid_1(bench, "--", bench.probe, "orphans", "50", "listen")
    outer.line()
    outer.ready()
    until("only the program is left", lambda: len(children_of(init)) == 1)
    assert queue(init, 64, 1000)
    assert outer.end() == 0


def die_by_signal_falls_back_to_the_exit_code(bench):
    outer = start_as_pid_1(bench, "-d", "--", "sh", "-c", "kill -TERM $$")
    assert outer.end() == 128 + signal.SIGTERM


def a_missing_program_is_127(bench):
    outer = start_as_pid_1(bench, "no-such-program")
    assert outer.end() == 127


def grace_and_wait_all_leave_nobody(bench):
    outer, init = as_pid_1(bench, "-w", "--grace", "0.1", "--", "sh", "-c",
                           f"{bench.probe} hold & {bench.probe} hold")
    outer.line()
    outer.line()
    os.kill(init, signal.SIGTERM)
    assert outer.end() in (137, 143)


def ctrl_z_without_a_shell_has_no_effect(bench):
    outer, init = as_pid_1(bench, "--", "sh", "-c",
                           "echo ready; read word; echo $word; read word; exit 8",
                           stdin=subprocess.PIPE)
    outer.line()
    program = children_of(init)[0]
    os.kill(program, signal.SIGTSTP)
    outer.process.stdin.write(b"one\n")
    outer.process.stdin.flush()
    assert outer.line() == "one", "nobody could resume it, so it does not stay stopped"
    assert outer.end() == 8


def as_tini_and_dumb_init_it_ends_on_sigterm(bench):
    for name, words in (("tini", ["-v", "--"]), ("dumb-init", ["-v", "--"])):
        outer, init = as_pid_1(bench, *words, bench.probe, "listen", name=name)
        until("the program runs", lambda: outer.line().startswith("ready"))
        os.kill(init, signal.SIGTERM)
        until("it arrives", lambda: outer.line().startswith("signal 15"))
        assert queue(init, 64, 1000)
        assert outer.end() == 0
