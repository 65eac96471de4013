# SPDX-License-Identifier: Apache-2.0
"""The benches of the scheduler: what each runs, and what it must reach."""
from declare import Bench, Check, Row


def ours(name, *words):
    return Row(name, "ours", words)


def go(what, *words, name="Go"):
    return Row(name, "peer", ("peer_go_sched", what) + words)


def boost(what, *words):
    return Row("Boost.Fiber", "peer", ("peer_fiber", what) + words)


def floor(name, *words):
    return Row(name, "floor", words)


def echo_row(name, role, *server):
    return Row(name, role, ("bench_echo_client", "500") + server)


def idle_row(name, role, *program):
    return Row(name, role, ("bench_context_switches", "1500") + program)


BENCHES = (
    Bench("switch",
          "one context switch: callee-saved registers and the stack",
          "<= 1.2 x the shortest code there is; with errno and exception state <= 5 ns",
          (floor("pop/jmp", "peer_switch", "floor"),
           ours("sigrun context", "bench_switch", "context"),
           ours("sigrun fiber", "bench_switch", "fiber"),
           Row("Boost.Context", "peer", ("peer_switch", "boost")),
           Row("swapcontext", "peer", ("peer_switch", "swapcontext"))),
          (Check("sigrun context", "switch_ns", 1.2, "pop/jmp"),
           Check("sigrun fiber", "switch_ns", 5)),
          ("switch_ns", "switch_p99_ns"), rounds=7),
    Bench("yield",
          "one yield among 2 and among 1,000 goroutines that do nothing else, on one P",
          "<= 12 ns",
          (ours("sigrun", "bench_sched", "yield", "1"), go("yield", "1"), boost("yield")),
          (Check("sigrun", "two_ns", 12), Check("sigrun", "thousand_ns", 12)),
          ("two_ns", "two_p99_ns", "thousand_ns", "thousand_p99_ns"), rounds=5),
    Bench("spawn_join",
          "start a goroutine and wait for its end: one by one, and a thousand at a time",
          "<= 120 ns one by one, <= 40 ns in batches",
          (ours("sigrun", "bench_sched", "spawn_join", "1"), go("spawn_join", "1"),
           boost("spawn_join")),
          (Check("sigrun", "one_ns", 120), Check("sigrun", "batch_ns", 40)),
          ("one_ns", "one_p99_ns", "batch_ns", "batch_p99_ns"), rounds=5),
    Bench("chan",
          "a round trip over two channels without a buffer; one value through a buffer of 128",
          "<= 70 and 15 ns on one P, <= 120 and 25 ns on two",
          (ours("sigrun P=1", "bench_sched", "chan", "1"),
           ours("sigrun P=2", "bench_sched", "chan", "2"),
           go("chan", "1", name="Go P=1"), go("chan", "2", name="Go P=2"), boost("chan")),
          (Check("sigrun P=1", "round_trip_ns", 70), Check("sigrun P=1", "buffered_ns", 15),
           Check("sigrun P=2", "round_trip_ns", 120), Check("sigrun P=2", "buffered_ns", 25)),
          ("round_trip_ns", "round_trip_p99_ns", "buffered_ns", "buffered_p99_ns"), rounds=5),
    Bench("select4",
          "send, and receive by a select of four of which one is ready; a round trip to a "
          "goroutine that blocks in such a select",
          "<= 60 and 150 ns on one P",
          (ours("sigrun P=1", "bench_sync", "select4", "1"),
           ours("sigrun P=2", "bench_sync", "select4", "2"),
           go("select4", "1", name="Go P=1"), go("select4", "2", name="Go P=2")),
          (Check("sigrun P=1", "ready_ns", 60), Check("sigrun P=1", "blocking_ns", 150)),
          ("ready_ns", "ready_p99_ns", "blocking_ns", "blocking_p99_ns"), rounds=5),
    Bench("guarded",
          "a call under a guard, beyond the call itself; and a fault that the guard catches",
          "<= 5 ns beyond the call, <= 6 us a caught fault",
          (floor("into a handler and back", "peer_sigsetjmp", "handler"),
           ours("sigrun", "bench_guarded"),
           Row("sigsetjmp(…, 0)", "peer", ("peer_sigsetjmp", "0")),
           Row("sigsetjmp(…, 1)", "peer", ("peer_sigsetjmp", "1")),
           Row("Go recover", "peer", ("peer_go_recover",))),
          (Check("sigrun", "beyond_ns", 5), Check("sigrun", "caught_ns", 6000)),
          ("call_ns", "guarded_ns", "beyond_ns", "caught_ns", "caught_p99_ns"), rounds=5),
    Bench("throw_site",
          "an exception thrown and caught through 1, 10 and 25 frames, with its place noted for "
          "crash reports and without",
          "none: what the option costs",
          (ours("throw_sites on", "bench_throw_site", "on"),
           Row("throw_sites off", "floor", ("bench_throw_site", "off"))),
          (), ("frames_1_ns", "frames_10_ns", "frames_25_ns"), rounds=5),
    Bench("mutex",
          "lock and unlock: free, and by eight goroutines at once",
          "<= 6 ns free, <= 12 ns contended on one P",
          (ours("sigrun P=1", "bench_sync", "mutex", "1"),
           ours("sigrun P=2", "bench_sync", "mutex", "2"),
           go("mutex", "1", name="Go P=1"), go("mutex", "2", name="Go P=2"), boost("mutex")),
          (Check("sigrun P=1", "free_ns", 6), Check("sigrun P=1", "contended_ns", 12)),
          ("free_ns", "free_p99_ns", "contended_ns", "contended_p99_ns"), rounds=5),
    Bench("reload",
          "what a reader of a configuration that may be replaced pays for each look at it: alone, "
          "and when all processors read at once",
          "<= 2 ns",
          (ours("sigrun P=1", "bench_sync", "reload", "1"),
           ours("sigrun P=2", "bench_sync", "reload", "2"),
           go("reload", "1", name="Go P=1"), go("reload", "2", name="Go P=2")),
          (Check("sigrun P=1", "load_ns", 2), Check("sigrun P=2", "together_ns", 2)),
          ("load_ns", "load_p99_ns", "together_ns", "together_p99_ns"), rounds=5),
    Bench("idle_memory",
          "resident memory and page tables of a goroutine that waits for a channel",
          "<= 4,400 bytes, at a hundred thousand and at a million",
          (floor("one page each", "peer_floor", "stacks", "100000"),
           ours("sigrun 100k", "bench_idle_memory", "100000"),
           ours("sigrun 1M", "bench_idle_memory", "1000000"),
           go("idle_memory", "2", "100000", name="Go 100k"),
           boost("idle_memory", "100000")),
          (Check("sigrun 100k", "bytes", 4400), Check("sigrun 1M", "bytes", 4400)),
          ("bytes", "rss_bytes", "page_table_bytes", "spawn_ns"), rounds=5),
    Bench("timer",
          "how late a sleep of 100 us ends; starting and stopping a timer, alone and with a "
          "million others pending",
          "<= 80 us late; <= 100 ns for start and stop",
          (floor("clock_nanosleep", "peer_floor", "sleep"),
           ours("sigrun", "bench_timer"), go("timer", "1"), boost("timer")),
          (Check("sigrun", "late_ns", 80_000), Check("sigrun", "pair_ns", 100),
           Check("sigrun", "pending_ns", 100)),
          ("late_ns", "late_p99_ns", "pair_ns", "pending_ns", "reset_ns", "million_ns"),
          rounds=5),
    Bench("preempt",
          "how late a sleep of 5 ms ends while another goroutine computes, on one P",
          "<= 11 ms; <= 1 ms more in a SIGRUN_PREEMPTIBLE function",
          (ours("sigrun", "bench_timer", "preempt"),
           ours("sigrun, marked", "bench_timer", "preemptible"), go("preempt", "1")),
          (Check("sigrun", "late_ns", 11e6), Check("sigrun, marked", "late_ns", 12e6)),
          ("late_ns", "late_p99_ns"), rounds=5),
    Bench("raise",
          "a signal raised by a goroutine and handled: at itself, many at a time, at one that "
          "waits; and a preemption point where nothing is to be done",
          "<= 0.5 x a signal of the kernel's to oneself; <= 5 ns a point",
          (Row("kernel, empty handler", "floor", ("bench_raise", "kernel")),
           ours("sigrun P=1", "bench_raise", "goroutine", "1"),
           ours("sigrun P=2", "bench_raise", "goroutine", "2")),
          (Check("sigrun P=1", "self_ns", 0.5, "kernel, empty handler"),
           Check("sigrun P=1", "point_ns", 5)),
          ("self_ns", "many_ns", "other_ns", "point_ns", "bare_point_ns"), rounds=5),
    Bench("foreign_call",
          "entering and leaving a foreign call that does nothing",
          "<= 10 ns",
          (floor("two CAS", "peer_floor", "calls"),
           ours("sigrun", "bench_sched", "foreign_call", "1"),
           Row("Go (cgo)", "peer", ("peer_go_foreign_call",))),
          (Check("sigrun", "call_ns", 10),),
          ("call_ns", "call_p99_ns"), rounds=5),
    Bench("echo",
          "64 bytes there and back over TCP: processor time of the server per request, with 50 and "
          "with 500 connections",
          "<= 1.15 x bare epoll",
          (echo_row("bare epoll", "floor", "peer_epoll_echo"),
           echo_row("epoll, 2 threads", "peer", "peer_epoll_echo", "2"),
           echo_row("sigrun P=1", "ours", "bench_echo", "1"),
           echo_row("sigrun P=2", "ours", "bench_echo", "2"),
           echo_row("Go P=1", "peer", "peer_go_sched", "echo", "1"),
           echo_row("Go P=2", "peer", "peer_go_sched", "echo", "2")),
          (Check("sigrun P=1", "cpu_us_50", 1.15, "bare epoll"),
           Check("sigrun P=1", "cpu_us_500", 1.15, "bare epoll"),
           Check("sigrun P=2", "cpu_us_50", 1.15, "bare epoll"),
           Check("sigrun P=2", "cpu_us_500", 1.15, "bare epoll")),
          ("cpu_us_50", "cpu_us_500", "rate_50", "rate_500", "took_50_p99_ns", "took_500_p99_ns"),
          rounds=5),
    Bench("context_switches",
          "context switches a minute of a process whose goroutines all wait",
          "none, or a few",
          (idle_row("sigrun", "ours", "bench_idle"),
           idle_row("Go", "peer", "peer_go_sched", "idle")),
          (Check("sigrun", "per_minute", 10),),
          ("per_minute", "cpu_us_per_minute"), rounds=5),
)
