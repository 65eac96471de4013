# SPDX-License-Identifier: Apache-2.0
"""The benches of signals and the runner: what each runs, and what it must reach."""
import os
import pathlib
import shutil
import subprocess
import time

from declare import Bench, Check, Row

USR1, RT = "10", "36"


def sender(mode, signo, count, program, how=None):
    return ("bench_sender", mode, signo, str(count), program) + ((how,) if how else ())


def receivers(mode, signo, count):
    """The rows of a signal bench; the floors first."""
    def row(name, role, program, how=None):
        return Row(name, role, sender(mode, signo, count, program, how))
    return (
        row("raw sigwaitinfo", "floor", "peer_raw", "sigwait"),
        row("raw signalfd+epoll", "floor", "peer_raw", "signalfd"),
        row("sigrun thread", "ours", "bench_signal", "thread"),
        row("sigrun epoll", "ours", "bench_signal", "epoll"),
        row("self-pipe+epoll", "peer", "peer_raw", "pipe"),
        row("Boost.Asio", "peer", "peer_asio"),
        row("libuv", "peer", "peer_libuv"),
        row("libevent", "peer", "peer_libevent"),
        row("Go", "peer", "peer_go"),
    )


def goroutine_receivers(mode, signo, count):
    """The same with a goroutine that receives; the program's other rows are the floor and peers."""
    ours = Row("sigrun goroutine", "ours",
               sender(mode, signo, count, "bench_signal", "goroutine"))
    rows = [row for row in receivers(mode, signo, count) if row.role != "ours"]
    return (rows[0], ours, *rows[1:])


def at_once(signo, count):
    """What remains when the receiver's wake preempts the sender: bench/sender.cpp."""
    return (Row("raw sigwaitinfo, at once", "floor",
                sender("latency-at-once", signo, count, "peer_raw", "sigwait")),
            Row("sigrun goroutine, at once", "ours",
                sender("latency-at-once", signo, count, "bench_signal", "goroutine")))


def add_uncounted(values):
    """Signals that were taken from the kernel and are neither in the channel nor in a counter."""
    for row in values.values():
        if row.get("taken", -1) >= 0:
            row["uncounted"] = abs(row["taken"] - row["received"] - row["dropped"])


def add_over_exec(values):
    """Start-up time beyond that of the program itself."""
    for row in values.values():
        row["over_exec_us"] = (row["p50_ns"] - values["plain exec"]["p50_ns"]) / 1000


def resident_memory(command):
    """Has the runner run a sleeping program, and reads how much of it is in memory."""
    sleeper = shutil.which("sleep")
    arguments = [*command[2:-1], sleeper, "60"]
    if os.path.basename(arguments[0]) == "sleep":
        return {}
    runner = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        child = wait_for_child(runner.pid, sleeper)
        fields = {}
        rollup = pathlib.Path(f"/proc/{runner.pid}/smaps_rollup").read_text()
        for line in rollup.splitlines()[1:]:
            key, amount = line.split(":")
            fields[key] = int(amount.split()[0])
        os.kill(child, 9)
        return {"rss_kib": fields["Rss"], "private_kib": fields["Private_Dirty"] +
                fields["Private_Clean"]}
    finally:
        runner.kill()
        runner.wait()


def wait_for_child(pid, program):
    """The pid of the runner's child, once it has become `program`."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                if os.readlink(f"/proc/{child}/exe") == os.path.realpath(program):
                    return int(child)
            except OSError:
                pass
        time.sleep(0.01)
    raise RuntimeError(f"process {pid} has no child that runs {program}")


def runner_row(name, role, *words):
    command = ("bench_startup", "150", *words, shutil.which("true"))
    return Row(name, role, command, resident_memory if words else None)


BENCHES = (
    Bench("signal_latency_thread",
          "kill in another process to the program's code, in a plain thread and in an epoll loop",
          "p50 <= 1.25 x and p99 <= 1.5 x the matching floor",
          receivers("latency", USR1, 1600),
          (Check("sigrun thread", "p50_ns", 1.25, "raw sigwaitinfo"),
           Check("sigrun thread", "p99_ns", 1.5, "raw sigwaitinfo"),
           Check("sigrun epoll", "p50_ns", 1.25, "raw signalfd+epoll"),
           Check("sigrun epoll", "p99_ns", 1.5, "raw signalfd+epoll"),
           Check("sigrun thread", "lost", 0), Check("sigrun epoll", "lost", 0)),
          ("p50_ns", "p99_ns", "min_ns", "lost"), rounds=9),
    Bench("signal_latency",
          "kill in another process to the code of the receiving goroutine, in a program of run()",
          "p50 <= 1.25 x and p99 <= 1.5 x raw sigwaitinfo, and ahead of every peer",
          goroutine_receivers("latency", USR1, 1600) + at_once(USR1, 1600),
          (Check("sigrun goroutine, at once", "p50_ns", 1.25, "raw sigwaitinfo, at once"),
           Check("sigrun goroutine, at once", "p99_ns", 1.5, "raw sigwaitinfo, at once"),
           Check("sigrun goroutine", "p50_ns", 1.25, "raw sigwaitinfo"),
           Check("sigrun goroutine", "p99_ns", 1.5, "raw sigwaitinfo"),
           Check("sigrun goroutine", "p50_ns", 1, "Go"),
           Check("sigrun goroutine", "p50_ns", 1, "Boost.Asio"),
           Check("sigrun goroutine", "p50_ns", 1, "libuv"),
           Check("sigrun goroutine", "p50_ns", 1, "libevent"),
           Check("sigrun goroutine", "lost", 0)),
          ("p50_ns", "p99_ns", "min_ns", "lost"), rounds=9),
    Bench("signal_flood_rt",
          "100,000 sigqueue to a channel, each with its full record",
          "all of them, in order, at >= 0.8 x the rate of raw sigwaitinfo",
          receivers("flood", RT, 100000),
          (Check("sigrun thread", "share", 1, at_least=True),
           Check("sigrun thread", "payloads", 100000, at_least=True),
           Check("sigrun thread", "out_of_order", 0),
           Check("sigrun thread", "rate", 0.8, "raw sigwaitinfo", at_least=True),
           Check("sigrun epoll", "share", 1, at_least=True),
           Check("sigrun epoll", "out_of_order", 0)),
          ("share", "rate", "send_rate", "payloads", "out_of_order"), rounds=5,
          derive=add_uncounted),
    Bench("signal_flood_std",
          "100,000 SIGUSR1 by kill: the share that is received",
          ">= the share of raw sigwaitinfo, and every merge outside the kernel counted",
          receivers("flood", USR1, 100000),
          (Check("sigrun thread", "share", 1, "raw sigwaitinfo", at_least=True),
           Check("sigrun thread", "uncounted", 0),
           Check("sigrun epoll", "uncounted", 0)),
          ("share", "rate", "send_rate", "merged", "dropped", "uncounted"), rounds=7,
          derive=add_uncounted),
    Bench("handler_cost",
          "time in sigtramp, sighandler and sigsend beyond an empty handler",
          "<= 150 ns",
          (Row("sigrun handler", "ours", ("bench_handler_cost", "1000")),),
          (Check("sigrun handler", "beyond_ns", 150),),
          ("beyond_ns", "ours_ns", "empty_ns", "wake_ns"), rounds=7),
    Bench("runner",
          "start-up of `sigrun run -- true` beyond plain exec, and the runner's resident memory",
          "<= 1.5 x tini's time and <= 4 MiB",
          (runner_row("plain exec", "floor"),
           runner_row("sigrun run", "ours", "sigrun", "run", "--"),
           runner_row("tini", "peer", "tini", "-s", "--"),
           runner_row("dumb-init", "peer", "dumb-init", "--")),
          (Check("sigrun run", "over_exec_us", 1.5, "tini"),
           Check("sigrun run", "rss_kib", 4096)),
          ("p50_ns", "p99_ns", "over_exec_us", "rss_kib", "private_kib"), rounds=7,
          derive=add_over_exec),
)
