# SPDX-License-Identifier: Apache-2.0
#
# Run by gdb (-batch -x gdb.py gdb_target): stops in the handler and walks out of it.
import gdb

for setting in ("pagination off", "confirm off", "debuginfod enabled off"):
    gdb.execute(f"set {setting}", to_string=True)
gdb.execute("handle SIGUSR1 nostop noprint pass", to_string=True)


def main():
    gdb.execute("break sigrun_sighandler", to_string=True)
    gdb.execute("run", to_string=True)
    frames, frame = [], gdb.newest_frame()
    while frame is not None and len(frames) < 32:
        frames.append((frame.name() or "??", frame.type()))
        frame = frame.older()
    for name, kind in frames:
        print(f"frame {name}{' (signal frame)' if kind == gdb.SIGTRAMP_FRAME else ''}")
    names = [name for name, _ in frames]
    assert names[0] == "sigrun_sighandler", "stopped in the handler"
    assert names[1] == "sigrun_sigtramp", "it was called by the trampoline"
    assert frames[2][1] == gdb.SIGTRAMP_FRAME, "the trampoline was called by the kernel"
    assert "interrupted_function" in names[3:], "the interrupted function is below"
    assert names[-1] == "main", "and main below that"

    # Inside the trampoline, after each instruction, the walk must come out at the same place.
    gdb.execute("delete", to_string=True)
    gdb.execute("break *sigrun_sigtramp", to_string=True)
    gdb.execute("run", to_string=True)
    steps = 0
    while gdb.newest_frame().name() == "sigrun_sigtramp" and steps < 64:
        outer = gdb.newest_frame().older()
        assert outer.type() == gdb.SIGTRAMP_FRAME, f"lost after {steps} instructions"
        below, names = outer.older(), []
        while below is not None and len(names) < 32:
            names.append(below.name())
            below = below.older()
        assert names[-1] == "main", f"main is lost after {steps} instructions"
        gdb.execute("nexti", to_string=True)
        steps += 1
    print(f"walked out after each of {steps} instructions")
    assert steps > 10, "stepped through the trampoline"
    gdb.execute("kill", to_string=True)


try:
    main()
    print("gdb: ok")
    gdb.execute("quit 0")
except gdb.error as error:
    # A machine that forbids ptrace cannot run this test; that is not a failure of the trampoline.
    denied = "ptrace" in str(error) or "Operation not permitted" in str(error)
    print(f"gdb: {'skipped' if denied else 'FAILED'}: {error}")
    gdb.execute(f"quit {77 if denied else 1}")
except (AssertionError, AttributeError, IndexError) as error:
    print(f"gdb: FAILED: {error}")
    gdb.execute("quit 1")
