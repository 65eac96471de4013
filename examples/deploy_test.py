#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the greeter as its supervisors would, without one of them running.

usage: deploy_test.py units|activate|own|manifest PROGRAM

units     systemd-analyze verify has nothing to say about the shipped units
activate  systemd-socket-activate hands a socket over; the supervisor's messages come in order:
          READY, RELOADING, READY, STOPPING; the watchdog is fed; what is in flight at the end is
          served
manifest  the Kubernetes manifest and the container recipe agree, with each other and inside, and
          the service runs with the manifest's configuration and grace
own       its own socket, a change of its file without a signal, a bad file, a helper that is killed
Exit status 77: a tool is not installed.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

try:
    import yaml
except ImportError:
    yaml = None

HERE = pathlib.Path(__file__).resolve().parent
WAIT_S = 30


def greet(address, name):
    with socket.create_connection(address, WAIT_S) as peer:
        peer.sendall(name.encode() + b"\n")
        return peer.makefile().read()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(ready, what):
    """Calls ready() until it is true; the dead man's switch ends it otherwise."""
    while not ready():
        pass
    print(what)


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder):
        self.path = folder + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(WAIT_S)

    def expect(self, begin, ignored=("STATUS=", "EXTEND", "WATCHDOG=1")):
        while True:
            message = self.socket.recv(4096).decode()
            if message.startswith(begin):
                return message
            assert message.startswith(ignored), f"{message!r} instead of {begin!r}"


def write(path, text):
    pathlib.Path(path + ".new").write_text(text)
    os.rename(path + ".new", path)


def units(program, folder):
    for name in ("greeter.service", "greeter.socket"):
        text = (HERE / "deploy" / name).read_text()
        text = text.replace("/usr/local/bin/example_greeter", program)
        pathlib.Path(folder, name).write_text(text)
    ran = subprocess.run(["systemd-analyze", "verify", folder + "/greeter.service",
                          folder + "/greeter.socket"], capture_output=True, text=True,
                         env={**os.environ, "SYSTEMD_UNIT_PATH": folder + ":"})
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if "greeter" in line]
    assert ran.returncode == 0 and not said, ran.stdout + ran.stderr


def activate(program, folder):
    supervisor = Supervisor(folder)
    config = folder + "/greeter.toml"
    write(config, 'greeting = "Hello"\n')
    address = ("127.0.0.1", free_port())
    process = subprocess.Popen(
        ["systemd-socket-activate", "-l", f"127.0.0.1:{address[1]}",
         "-E", "NOTIFY_SOCKET=" + supervisor.path, "-E", "WATCHDOG_USEC=50000", program, config],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    on_end.append(process.kill)
    # It listens, and starts the service with the first connection, which waits in the kernel.
    line = process.stderr.readline()
    assert "Listening" in line, line
    assert greet(address, "World") == "Hello, World!\n"
    supervisor.expect("READY=1")
    supervisor.expect("WATCHDOG=1", ())
    write(config, 'greeting = "Good day"\n')
    process.send_signal(signal.SIGHUP)
    assert re.match(r"RELOADING=1\nMONOTONIC_USEC=\d+", supervisor.expect("RELOADING=1"))
    supervisor.expect("READY=1")
    assert greet(address, "World") == "Good day, World!\n"
    # One that is in flight is served to its end.
    with socket.create_connection(address, WAIT_S) as peer:
        peer.sendall(b"Wo")
        until(lambda: process.poll() is None and in_flight(process.pid) >= 1, "in flight")
        process.send_signal(signal.SIGTERM)
        # A watch may have seen the change as well, and then there is one more reload before.
        supervisor.expect("STOPPING=1", ("STATUS=", "EXTEND", "WATCHDOG=1", "RELOADING", "READY"))
        peer.sendall(b"rld\n")
        assert peer.makefile().read() == "Good day, World!\n"
    assert process.wait(WAIT_S) == -signal.SIGTERM, process.returncode


def in_flight(pid):
    """Connections of the process: its sockets that are established."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(entry.path))
        except OSError:
            pass
    lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines
               if line.split()[3] == "01" and f"socket:[{line.split()[9]}]" in inodes)


def own(program, folder):
    config = folder + "/greeter.json"
    write(config, '{"listen": "127.0.0.1:0", "greeting": "Hello",\n "helper": ["sleep", "1000"]}')
    process = subprocess.Popen([program, config], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    on_end.append(process.kill)
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    address = ("127.0.0.1", port)
    assert greet(address, "World") == "Hello, World!\n"
    write(config, '{"greeting": "Moin",\n "helper": ["sleep", "1000"]}')
    until(lambda: greet(address, "x") == "Moin, x!\n", "the change was seen")
    write(config, '{"greeting": "Moin",\n "gretting": 1}')
    for line in process.stderr:
        if "refused" in line:
            assert ':2: gretting: unknown key' in line, line
            break
    assert greet(address, "x") == "Moin, x!\n"

    def helpers():
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]
    until(lambda: len(helpers()) == 1, "the helper runs")
    first = helpers()[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: len(helpers()) == 1 and helpers() != [first], "it was started again")
    second = helpers()[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == -signal.SIGTERM, process.returncode
    assert not os.path.exists(f"/proc/{second}"), "the helper outlived the service"
    # A file that is wrong at the start: told, and exit status 1.
    bad = subprocess.run([program, config], capture_output=True, text=True, timeout=WAIT_S)
    assert bad.returncode == 1 and "unknown key" in bad.stderr, bad


def only(text, pattern):
    found = re.findall(pattern, text, re.M)
    assert len(found) == 1, f"{pattern!r} is found {len(found)} times"
    return found[0]


def manifest(program, folder):
    parts = list(yaml.safe_load_all((HERE / "deploy" / "kubernetes.yaml").read_text()))
    config_map, deployment = parts
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    metadata = spec["template"]["metadata"]
    (container,) = pod["containers"]
    labels = metadata["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name, probe in container.items():
        if name.endswith("Probe"):
            assert probe["tcpSocket"]["port"] in ports, f"{name} asks a port that is not there"
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    assert mount["name"] == volume["name"] and "subPath" not in mount
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    # The kubelet kills after the one; the service is told the other.
    (variable,) = container["env"]
    assert variable["name"] == "SIGRUN_STOP_GRACE"
    source = variable["valueFrom"]["fieldRef"]["fieldPath"]
    grace = metadata["annotations"][only(source, r"^metadata\.annotations\['(.*)'\]$")]
    assert float(grace) == pod["terminationGracePeriodSeconds"]
    # The recipe.
    recipe = (HERE / "deploy" / "Containerfile").read_text()
    (file_name, settings), = config_map["data"].items()
    assert json.loads(only(recipe, r"^CMD (.*)$")) == [mount["mountPath"] + "/" + file_name]
    assert set(ports.values()) == {int(only(recipe, r"^EXPOSE (\d+)$"))}
    assert only(settings, r"^listen = .*:(\d+)\"") == only(recipe, r"^EXPOSE (\d+)$")
    copied, config_copied = re.findall(r"^COPY (?:--from=build )?(\S.* )/\S+/\S*$", recipe, re.M)
    assert (HERE.parent / config_copied.strip()).is_file(), config_copied
    built = {path.rsplit("/", 1)[1] for path in copied.split()}
    assert built == set(only(recipe, r"--target (\w+ \w+)$").split()), built
    entry = json.loads(only(recipe, r"^ENTRYPOINT (.*)$"))
    assert {path.rsplit("/", 1)[1] for path in (entry[0], entry[-1])} == built
    # As the kubelet would: its configuration, its grace, its SIGTERM.
    config = folder + "/" + file_name
    write(config, re.sub(r'^listen = .*$', 'listen = "127.0.0.1:0"', settings, flags=re.M))
    for given, lowered in ((grace, False), ("10", True)):
        process = subprocess.Popen([program, config], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "SIGRUN_STOP_GRACE": given})
        on_end.append(process.kill)
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        assert greet(("127.0.0.1", port), "World") == "Hello, World!\n"
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=WAIT_S)[1]
        assert process.returncode == -signal.SIGTERM, process.returncode
        assert ("lowers the deadline" in said) == lowered, said


on_end = []


def main(what, program):
    tool = {"units": "systemd-analyze", "activate": "systemd-socket-activate"}.get(what)
    if tool and not shutil.which(tool):
        print(tool + " is not installed; skipped")
        return 77
    if what == "manifest" and yaml is None:
        print("PyYAML is not installed; skipped")
        return 77
    dead_man = threading.Timer(WAIT_S, lambda: os._exit(1))
    dead_man.daemon = True
    dead_man.start()
    with tempfile.TemporaryDirectory(prefix="sigrun-deploy-") as folder:
        try:
            {"units": units, "activate": activate, "own": own,
             "manifest": manifest}[what](program, folder)
        finally:
            for end in on_end:
                end()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
