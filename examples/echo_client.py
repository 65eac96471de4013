#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts an echo server, talks to it over several connections, and ends it with SIGTERM.

usage: echo_client.py SERVER [CONNECTIONS]
"""
import re
import signal
import socket
import subprocess
import sys
import threading

WAIT_S = 20


def talk(host, port, number, problems):
    text = f"I am client {number}. ".encode() * 5000
    with socket.create_connection((host, port), timeout=WAIT_S) as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(text),
                                                  connection.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        sender.join()
    if answer != text:
        problems.append(f"client {number}: {len(answer)} bytes of {len(text)} came back")


def main(server, connections=20):
    process = subprocess.Popen([server], stdout=subprocess.PIPE, text=True)
    dead_man = threading.Timer(WAIT_S, process.kill)
    dead_man.start()
    problems = []
    try:
        line = process.stdout.readline()
        print(line, end="")
        host, port = re.fullmatch(r"listening on \[(.*)\]:(\d+)\n", line).groups()
        clients = [threading.Thread(target=talk, args=(host, int(port), i, problems))
                   for i in range(int(connections))]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        # One that says nothing more does not hold the server up for long.
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as idle:
            idle.sendall(b"x")
            idle.recv(1)
            process.send_signal(signal.SIGTERM)
            if idle.recv(1) != b"":
                problems.append("the idle connection was not closed")
        said = process.stdout.read()
        process.wait()
    finally:
        dead_man.cancel()
        process.kill()
    print(said, end="")
    if process.returncode != 0:
        problems.append(f"the server ended with {process.returncode}")
    if f"served {int(connections) + 1} connections" not in said:
        problems.append("it did not count its connections")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
