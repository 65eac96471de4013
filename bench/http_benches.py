# SPDX-License-Identifier: Apache-2.0
"""The benches of the HTTP server: what each runs, and what it must reach."""
from declare import Bench, Check, Row


def hello(name, role, *server):
    return Row(name, role, ("bench_echo_client", "--http", "500") + server)


def stop(name, role, *server):
    return Row(name, role, ("bench_http_stop", "5") + server)


BENCHES = (
    Bench("http",
          "a small GET answered with a small text: processor time of the server per request, with "
          "50 and with 500 connections",
          "<= 0.65 x Go's net/http",
          (hello("bare epoll, no parser", "floor", "peer_epoll_echo", "1", "http"),
           hello("sigrun P=1", "ours", "bench_http", "hello", "1"),
           hello("sigrun P=2", "ours", "bench_http", "hello", "2"),
           hello("Go P=1", "peer", "peer_go_http", "hello", "1"),
           hello("Go P=2", "peer", "peer_go_http", "hello", "2")),
          (Check("sigrun P=1", "cpu_us_50", 0.65, "Go P=1"),
           Check("sigrun P=1", "cpu_us_500", 0.65, "Go P=1"),
           Check("sigrun P=2", "cpu_us_50", 0.65, "Go P=2"),
           Check("sigrun P=2", "cpu_us_500", 0.65, "Go P=2")),
          ("cpu_us_50", "cpu_us_500", "rate_50", "rate_500", "took_50_p99_ns", "took_500_p99_ns"),
          rounds=5),
    Bench("shutdown",
          "from the end of the last of 100 handlers to the end of the process, after SIGTERM",
          "<= 2 ms",
          (stop("sigrun", "ours", "bench_http", "stop"),
           stop("Go", "peer", "peer_go_http", "stop")),
          (Check("sigrun", "exit_ns", 2_000_000),),
          ("exit_ns", "exit_p99_ns", "drain_ns"), rounds=5),
)
