#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Crash reports of arm64 programs under qemu-user: each case ends by its signal and leaves a whole
report with what the processor had.

usage: crash_check.py QEMU PROGRAM
"""
import json
import pathlib
import signal
import subprocess
import sys
import tempfile

# case: (signal, names of its si_code, a function that is seen in the failed stack)
CASES = {
    "null_write": (signal.SIGSEGV, ("SEGV_MAPERR",), "writes_to"),
    "calls_null": (signal.SIGSEGV, ("SEGV_MAPERR",), "calls_null"),
    "overflows": (signal.SIGSEGV, ("SEGV_MAPERR", "SEGV_ACCERR"), "runs_deep"),
    "aborts": (signal.SIGABRT, ("SI_TKILL",), "aborts"),
    "throws": (signal.SIGABRT, ("SI_TKILL",), None),
}
REGISTERS = [f"x{i}" for i in range(31)] + ["sp", "pc", "pstate"]


def check(qemu, program, case):
    number, codes, function = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([qemu, program, case, folder], capture_output=True, text=True,
                              timeout=100, errors="replace")
        reports = [json.loads(each.read_text()) for each in pathlib.Path(folder).glob("*.json")]
    assert done.returncode == -number, f"{done.returncode}\n{done.stderr}"
    assert len(reports) == 1, f"{len(reports)} reports\n{done.stderr}"
    report = reports[0]
    assert report["complete"] is True and 0 < report["took_ns"] < 2_500_000_000, report["took_ns"]
    assert report["signal"]["number"] == number and report["signal"]["code_name"] in codes, report
    assert list(report["registers"]) == REGISTERS, report["registers"]
    frames = report["failed"]["frames"]
    assert report["registers"]["pc"] == frames[0]["pc"] and int(report["registers"]["sp"], 16), case
    first = report["goroutines"][0]
    assert first["name"] == "victim" and first["id"] == report["failed"]["goroutine"], first
    assert "waiter" in [each["name"] for each in report["goroutines"]], case
    names = [each["function"] for frame in frames for each in frame["symbols"]]
    assert function is None or any(function in each for each in names), names
    if case == "throws":
        assert report["exception"]["type"] == "std::runtime_error", report["exception"]
        assert report["exception"]["message"] == "no more bread", report["exception"]
    elif number == signal.SIGSEGV and case != "overflows":
        assert int(report["signal"]["address"], 16) == 0, report["signal"]
    if case == "calls_null":
        assert int(report["registers"]["pc"], 16) == 0, report["registers"]
    if case == "overflows":
        assert "stack overflow" in done.stderr and report["failed"]["more_frames"], done.stderr
    assert "goroutine" in done.stderr and "sigrun: report in" in done.stderr, done.stderr


def main():
    for case in CASES:
        check(sys.argv[1], sys.argv[2], case)
        print(f"ok arm64 crash {case}")


if __name__ == "__main__":
    main()
