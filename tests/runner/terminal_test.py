# SPDX-License-Identifier: Apache-2.0
"""Job control on a pseudo-terminal, with a small shell of our own as the session leader."""
import os
import pty
import select
import signal
import tty

from bench import state_of, until


class Desk:
    """A session with a terminal. Its leader starts the runner in a group of its own, in the
    foreground, as an interactive shell does, and then only waits: the test does its job control
    through the master side, by calls that a leader's fds allow."""

    def __init__(self, bench, *words, foreground=True, stdout_pipe=False):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.set_signals(slave)
        out_read, out_write = os.pipe()
        go_read, go_write = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            try:
                self.lead(bench, words, slave, out_write, go_read, foreground, stdout_pipe)
            finally:
                os._exit(90)
        os.close(slave)
        os.close(out_write)
        os.close(go_read)
        self.orders = go_write
        self.out = os.fdopen(out_read, "rb", buffering=0)

    @staticmethod
    def set_signals(slave):
        import termios
        mode = termios.tcgetattr(slave)
        mode[3] |= termios.ISIG
        termios.tcsetattr(slave, termios.TCSANOW, mode)

    @staticmethod
    def lead(bench, words, slave, out, orders, foreground, stdout_pipe):
        import fcntl
        import termios
        signal.alarm(80)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        start_read, start_write = os.pipe()
        runner = os.fork()
        if runner == 0:
            os.setpgid(0, 0)
            os.read(start_read, 1)
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.dup2(slave, 0)
            os.dup2(out if stdout_pipe else slave, 1)
            os.dup2(out, 2)
            os.execv(bench.sigrun, [bench.sigrun, "run", *words])
        os.setpgid(runner, runner)
        if foreground:
            os.tcsetpgrp(slave, runner)
        os.write(out, b"runner %d\n" % runner)
        os.write(start_write, b"x")
        with os.fdopen(orders) as lines:
            for line in lines:
                word = line.strip()
                if word == "group":
                    os.write(out, b"group %d\n" % os.tcgetpgrp(slave))
                elif word == "fg":
                    os.tcsetpgrp(slave, runner)
                    os.killpg(runner, signal.SIGCONT)
                elif word == "bg":
                    os.tcsetpgrp(slave, os.getpgid(0))
                    os.killpg(runner, signal.SIGCONT)
                elif word == "wait":
                    _, status = os.waitpid(runner, os.WUNTRACED)
                    if os.WIFSTOPPED(status):
                        os.write(out, b"stopped %d\n" % os.WSTOPSIG(status))
                    else:
                        code = os.waitstatus_to_exitcode(status)
                        os.write(out, b"ended %d\n" % code)

    def line(self):
        text = b""
        while not text.endswith(b"\n"):
            ready = select.select([self.out], [], [], 30)[0]
            assert ready, f"no line came; so far {text!r}"
            more = self.out.read(1)
            assert more, f"the session ended; so far {text!r}"
            text += more
        return text.decode().split()

    def order(self, word):
        os.write(self.orders, word.encode() + b"\n")

    def foreground(self):
        self.order("group")
        words = self.line()
        assert words[0] == "group", words
        return int(words[1])

    def wait(self):
        self.order("wait")
        return self.line()

    def press(self, key):
        os.write(self.master, key)

    def close(self, *pids):
        for pid in (*pids, self.leader):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.waitpid(self.leader, 0)
        os.close(self.master)
        os.close(self.orders)
        self.out.close()


REPORT = 'trap "echo int >&2; exit 3" INT; echo ready $$ >&2; while :; do read line; done'


def open_desk(bench, script=REPORT, **options):
    desk = Desk(bench, "--", "sh", "-c", script, **options)
    runner = int(desk.line()[1])
    return desk, runner


def the_program_gets_the_foreground_and_the_runner_takes_it_back(bench):
    desk, runner = open_desk(bench)
    pid = int(desk.line()[1])
    assert desk.foreground() == pid
    desk.press(b"\x03")
    assert desk.line() == ["int"], "Ctrl-C reaches the program, once"
    assert desk.wait() == ["ended", "3"]
    assert desk.foreground() == runner
    desk.close()


def ctrl_z_stops_the_runner_and_fg_resumes_both(bench):
    desk, runner = open_desk(bench)
    pid = int(desk.line()[1])
    desk.press(b"\x1a")
    assert desk.wait() == ["stopped", str(int(signal.SIGSTOP))]
    assert state_of(pid) == "T" and state_of(runner) == "T"
    desk.order("fg")
    until("the program runs again", lambda: state_of(pid) in "SR")
    until("in the foreground", lambda: desk.foreground() == pid)
    desk.press(b"\x03")
    assert desk.line() == ["int"]
    assert desk.wait() == ["ended", "3"]
    desk.close()


def a_job_resumed_in_the_background_does_not_take_the_terminal(bench):
    desk, runner = open_desk(bench, "echo ready $$ >&2; exec sleep 60")
    pid = int(desk.line()[1])
    desk.press(b"\x1a")
    assert desk.wait()[0] == "stopped"
    desk.order("bg")
    until("the program runs again", lambda: state_of(pid) in "SR")
    assert desk.foreground() == desk.leader
    desk.close(runner, pid)


def a_background_job_that_reads_stops_and_fg_hands_it_the_terminal(bench):
    desk, runner = open_desk(bench, "echo ready $$ >&2; read line; echo got $line >&2; exit 6",
                             foreground=False)
    pid = int(desk.line()[1])
    assert desk.wait()[0] == "stopped"
    desk.order("fg")
    until("it has the terminal", lambda: desk.foreground() == pid)
    desk.press(b"word\n")
    assert desk.line() == ["got", "word"]
    assert desk.wait() == ["ended", "6"]
    desk.close()


def beside_a_pager_the_program_asks_before_it_gets_the_terminal(bench):
    desk, runner = open_desk(bench, "echo ready $$ >&2; read order; echo got $order >&2; exit 7",
                             stdout_pipe=True)
    pid = int(desk.line()[1])
    until("it asked and was given", lambda: desk.foreground() == pid)
    desk.press(b"x\n")
    assert desk.line() == ["got", "x"]
    assert desk.wait() == ["ended", "7"]
    assert desk.foreground() == runner
    desk.close()


def with_no_tty_the_foreground_stays_and_ctrl_c_is_forwarded(bench):
    desk = Desk(bench, "--no-tty", "--", "sh", "-c",
                'trap "echo int >&2; exit 3" INT; echo ready $$ >&2; while :; do sleep 0.1; done')
    runner = int(desk.line()[1])
    desk.line()
    assert desk.foreground() == runner
    desk.press(b"\x03")
    assert desk.line() == ["int"]
    assert desk.wait() == ["ended", "3"]
    desk.close()


def a_stop_signal_sent_to_the_runner_stops_both(bench):
    desk, runner = open_desk(bench)
    pid = int(desk.line()[1])
    os.kill(runner, signal.SIGTSTP)
    assert desk.wait()[0] == "stopped"
    assert state_of(pid) == "T"
    desk.order("fg")
    until("the program runs again", lambda: state_of(pid) in "SR")
    desk.close(runner, pid)
