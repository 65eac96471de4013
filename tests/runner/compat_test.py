# SPDX-License-Identifier: Apache-2.0
"""Side by side with the real tini and dumb-init: the same invocation, the same answers."""
import os
import re
import signal
import subprocess

from bench import Skip, children_of, state_of, until

TINI = "/usr/bin/tini"
DUMB_INIT = "/usr/bin/dumb-init"


def need(path):
    if not os.access(path, os.X_OK):
        raise Skip(f"{path} is not installed")


def plain(text, sort):
    """Without the pids; the lines sorted where two processes write at once."""
    text = re.sub(r"\(\d+\)", "(PID)", text)
    text = re.sub(r"((?:pid|PID)[^\w\n]{0,3})\d+", r"\1PID", text)
    return "\n".join(sorted(text.splitlines())) if sort else text


def outcome(command, words, extra=None, sort=False):
    environment = {"PATH": "/usr/bin:/bin", **(extra or {})}
    done = subprocess.run([command, *words], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    name = os.path.basename(command)
    texts = [plain(text.decode().replace(command, name), sort)
             for text in (done.stdout, done.stderr)]
    return done.returncode, *texts


def compare(bench, real, table, sort=False):
    need(real)
    ours = bench.named(os.path.basename(real))
    for words, *extra in table:
        expected = outcome(real, words, *extra, sort=sort)
        got = outcome(ours, words, *extra, sort=sort)
        assert got == expected, f"{words} {extra}:\n got      {got}\n expected {expected}"


def tini_invocations_give_the_same_answers(bench):
    script = bench.path("no-mode")
    open(script, "w").close()
    compare(bench, TINI, [
        ([],), (["-h"],), (["--version"],), (["--version", "x"],), (["--help"],), (["-x"],),
        (["-p"],), (["-p", "FOO", "true"],), (["-p", "TERM", "true"],),
        (["-p", "SIGTERM", "true"],), (["-p", "SIGIO", "true"],), (["-p", "SIGRTMIN", "true"],),
        (["-e", "256", "true"],), (["-e", "-1", "true"],), (["-e", "x", "true"],),
        (["-e"],), (["-e", "", "true"],), (["-e", "1", "false"],), (["-e1", "-s", "false"],),
        (["-e", "143", "-s", "--", "sh", "-c", "kill -15 $$"],),
        (["true"],), (["-s", "true"],), (["--", "true"],), (["-s", "--", "sh", "-c", "exit 7"],),
        (["-s", "--", "echo", "-v", "--", "x"],), (["-s", "true", "-v"],), (["-gvs", "false"],),
        (["-s", "--", "sh", "-c", "kill -9 $$"],), (["-s", "--", "sh", "-c", "kill -34 $$"],),
        (["-s", "/no/such"],), (["-s", "no-such"],), (["-s", "/tmp"],), (["-s", script],),
        (["-w", "-s", "true"],), (["-v", "true"],), (["-vv", "-s", "true"],),
        (["true"], {"TINI_SUBREAPER": ""}), (["true"], {"TINI_VERBOSITY": "0"}),
        (["-vv", "true"], {"TINI_VERBOSITY": "1"}), (["true"], {"TINI_VERBOSITY": "x"}),
        (["-s", "true"], {"TINI_KILL_PROCESS_GROUP": "0"}),
        (["-s", "true", "-v"], {"POSIXLY_CORRECT": "1"})])


def tini_says_the_same_at_every_level(bench):
    # Beyond -v, lines on stdout and the program's own end race each other in tini too.
    compare(bench, TINI, [(["-vvv", "-s", "true"],), (["-vvv", "-s", "sh", "-c", "exit 4"],),
                          (["-vvvv", "--", "true"],),
                          (["-vv", "-s", "--", "sh", "-c", "kill -15 $$"],)], sort=True)


def dumb_init_invocations_give_the_same_answers(bench):
    script = bench.path("no-mode")
    open(script, "w").close()
    compare(bench, DUMB_INIT, [
        ([],), (["-h"],), (["--help"],), (["-V"],), (["--version"],), (["-x"],), (["--foo"],),
        (["--rew"],), (["-r"],), (["-r", "1"],), (["-r", "1:99", "true"],),
        (["-r", "0:1", "true"],), (["-r", "32:1", "true"],), (["-r", "15:-1", "true"],),
        (["-r", "15:3x", "true"],), (["--rewrite=TERM:3", "true"],), (["-c"],), (["--"],),
        (["true"],), (["sh", "-c", "exit 7"],), (["-c", "sh", "-c", "exit 8"],),
        (["--single-child", "echo", "-v"],), (["sh", "-c", "kill -9 $$"],),
        (["sh", "-c", "kill -34 $$"],), (["/no/such"],), (["no-such"],), (["/tmp"],), ([script],),
        (["true"], {"DUMB_INIT_SETSID": "0"}), (["true"], {"DUMB_INIT_DEBUG": "2"}),
        (["true"], {"DUMB_INIT_SETSID": "1"})])


def dumb_init_says_the_same_when_verbose(bench):
    compare(bench, DUMB_INIT, [
        (["-v", "true"],), (["-v", "-c", "true"],), (["-v", "-r", "15:0", "true"],),
        (["-v", "-r", "15:3", "sh", "-c", "exit 3"],), (["--verbose", "/no/such"],),
        (["-v", "sh", "-c", "kill -9 $$"],), (["true"], {"DUMB_INIT_DEBUG": "1"}),
        (["true"], {"DUMB_INIT_DEBUG": "1", "DUMB_INIT_SETSID": "0"})], sort=True)


def after(bench, command, signo):
    """What a signal does to the tool and to its program: its end, or both states."""
    runner = bench.start(*command, bench.probe, "listen", stdin=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    pid = runner.ready()[0]
    runner.kill(signo)
    marker = f"signal {signo} "
    if signo in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU) and "dumb" in command[0]:
        until("both stopped", lambda: state_of(runner.pid) == "T" and state_of(pid) == "T")
        result = "stopped"
    else:
        # The highest number is taken last: what the first did has happened when it arrives.
        try:
            runner.kill(signal.SIGRTMAX)
            lines = []
            while not lines or not lines[-1].startswith("signal 64 "):
                lines.append(runner.line())
            result = "forwarded" if any(line.startswith(marker) for line in lines) else "nothing"
        except AssertionError:
            result = "ended"
    os.kill(pid, signal.SIGKILL)
    if runner.process.poll() is None:
        os.kill(runner.pid, signal.SIGCONT)
    return result


def same_treatment(bench, real, words):
    need(real)
    ours = bench.named(os.path.basename(real))
    for signo in range(1, 64):
        if signo in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            continue
        if os.path.basename(real) == "tini" and signo in (4, 5, 6, 7, 8, 11, 31):
            continue  # end tini and, by its name, us: see the test below
        got = after(bench, [ours, *words], signo)
        expected = after(bench, [real, *words], signo)
        assert got == expected, (signo, got, expected)


def tini_treats_each_signal_the_same(bench):
    same_treatment(bench, TINI, ["-s", "--"])


def dumb_init_treats_each_signal_the_same(bench):
    same_treatment(bench, DUMB_INIT, [])


def a_fault_signal_ends_tini_and_us(bench):
    need(TINI)
    for command in (TINI, bench.named("tini")):
        runner = bench.start(command, "-s", "--", bench.probe, "listen", stdin=subprocess.DEVNULL)
        pid = runner.ready()[0]
        runner.kill(signal.SIGSYS)
        assert runner.process.wait(30) == -signal.SIGSYS
        os.kill(pid, signal.SIGKILL)


def the_program_starts_in_the_same_place(bench):
    for real, table in ((TINI, [["-s", "--"], ["-g", "-s", "--"]]), (DUMB_INIT, [[], ["-c"]])):
        need(real)
        for words in table:
            shapes = []
            for command in (real, bench.named(os.path.basename(real))):
                runner = bench.start(command, *words, bench.probe, "listen")
                pid, group, session = runner.ready()
                if real == DUMB_INIT:  # it goes there while the program starts
                    until("it is in /", lambda: os.readlink(f"/proc/{runner.pid}/cwd") == "/")
                shapes.append((group == pid, session == pid, os.readlink(f"/proc/{pid}/cwd"),
                               os.readlink(f"/proc/{runner.pid}/cwd")))
            assert shapes[0] == shapes[1], (real, words, shapes)


def the_program_starts_with_the_same_mask_and_dispositions(bench):
    def prepare():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGUSR1, 40))

    for real in (TINI, DUMB_INIT):
        need(real)
        states = []
        for command in (real, bench.named(os.path.basename(real))):
            runner = bench.start(command, bench.probe, "state", preexec_fn=prepare,
                                 restore_signals=False)
            assert runner.end() == 0
            states.append(runner.rest)
        assert states[0] == states[1], (real, states)


def as_tini_static_and_docker_init_it_is_tini(bench):
    for name in ("tini-static", "docker-init"):
        runner = bench.start(bench.named(name), "--version")
        assert runner.end() == 0
        assert runner.rest == b"tini version 0.19.0\n"


def tini_warns_of_what_it_reaps(bench):
    need(TINI)
    for command in (TINI, bench.named("tini")):
        runner = bench.start(command, "-s", "-w", "--", bench.probe, "orphans", "1", "listen")
        runner.line()
        pid = runner.ready()[0]
        until("the orphan is gone", lambda: children_of(runner.pid) == [pid])
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGKILL)
        assert runner.end() == 137
        assert re.search(r"\[WARN  tini \(\d+\)\] Reaped zombie process with pid=\d+",
                         runner.errors()), runner.errors()
