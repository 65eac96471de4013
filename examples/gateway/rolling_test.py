#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reloads and upgrades of the gateway, one after the other, under constant load from outside.

usage: rolling_test.py ROUNDS GATEWAY LOAD

Each of LOAD's clients keeps its connection as long as the gateway does and tries nothing twice: a
request that is refused, broken off or answered otherwise than it should be is a failure, and there
may be none. Prints what there was, as docs/perf/README.md records it for a hundred rounds.
"""
import signal
import sys
import tempfile
import threading
import time

from gateway_client import CLIENTS, Gateway, Load

STEP_S = 30  # for one round, on a busy machine


class Account:
    def __init__(self, load):
        self.load, self.failed, self.requests, self.said = load, 0, 0, {}
        self.began = time.monotonic()

    def row(self, what):
        now, took = self.load.figures(), time.monotonic() - self.began
        print(f"{what:<14} {took:7.1f} s  {now['requests']:>9,} requests  {now['failed']} failed  "
              f"p50 {now['p50_us'] / 1000:.2f} ms  p99 {now['p99_us'] / 1000:.2f} ms  "
              f"{now['connections']:,} connections", flush=True)
        self.requests, self.failed = self.requests + now["requests"], self.failed + now["failed"]
        self.said |= now["said"]
        self.began = time.monotonic()


def play(rounds, at, account):
    time.sleep(1.0)
    account.row("at rest")
    for number in range(rounds):
        title = f"Notes, edition {number}"
        at.write(title=title)
        at.kill(signal.SIGHUP)
        at.until(lambda now, t=title: now["config"]["title"] == t, "reloaded")
    account.row(f"{rounds} reloads")
    for _ in range(rounds):
        old = at.pid
        assert at.upgrade() not in (None, old), "no new process took charge"
        # The one before may still answer for a moment.
        at.until(lambda now: now["pid"] == at.pid, "the new one answers")
    account.row(f"{rounds} upgrades")


def main(rounds, program, load):
    dead_man = threading.Timer(STEP_S * rounds + 30, lambda: signal.raise_signal(signal.SIGKILL))
    dead_man.daemon = True
    dead_man.start()
    with tempfile.TemporaryDirectory(prefix="sigrun-gateway-") as folder:
        at = Gateway(program, folder)
        clients = Load(load, at.port)
        account = Account(clients)
        try:
            play(rounds, at, account)
        except BaseException:
            print("\n".join(at.lines))
            raise
        finally:
            clients.close()
            at.close()
    for what, count in account.said.items():
        print(f"  {count} x {what}")
    assert account.requests > 0 and account.failed == 0, f"{account.failed} requests failed"
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
