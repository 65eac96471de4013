# SPDX-License-Identifier: Apache-2.0
#
# Run by gdb (-batch -x stacks_gdb.py stacks_target): walks from one stack into another, and out of
# the switch after each of its instructions.
import gdb

for setting in ("pagination off", "confirm off", "debuginfod enabled off"):
    gdb.execute(f"set {setting}", to_string=True)


def names():
    found, frame = [], gdb.newest_frame()
    while frame is not None and len(found) < 32:
        found.append(frame.name() or "??")
        frame = frame.older()
    print("frames", " ".join(found))
    return found


def steps_through(function, ends):
    """Steps while in `function`; each walk must end in one of `ends` and pass it with a caller."""
    steps = 0
    while gdb.newest_frame().name() == function and steps < 64:
        walk = names()
        assert walk[-1] in ends, f"{walk} after {steps} instructions"
        assert len(walk) > 1, f"no caller after {steps} instructions"
        gdb.execute("stepi", to_string=True)
        steps += 1
    assert steps > 10, "stepped through the switch"
    return steps


def main():
    gdb.execute("break sigrun_context_switch", to_string=True)
    gdb.execute("break leaf", to_string=True)
    gdb.execute("run", to_string=True)

    # The first switch: the walk ends in main until the stack pointer moves, then where the other
    # stack begins.
    assert names()[-1] == "main"
    code = gdb.execute("disassemble sigrun_context_switch", to_string=True)
    if "x86-64" in gdb.selected_inferior().architecture().name():
        assert "notrack jmp" in code and "ret" not in code, "the switch jumps back"
    gdb.execute("break sigrun_context_start", to_string=True)
    steps = steps_through("sigrun_context_switch", ("main", "sigrun_context_start"))
    print(f"walked out after each of {steps} instructions")

    gdb.execute("continue", to_string=True)
    walk = names()
    assert walk[0] == "leaf" and walk[-1] == "sigrun_context_start", "to the beginning of the stack"
    assert walk[2:4] == ["borrows_the_threads_stack", "goroutine_function"], "through the borrower"

    gdb.execute("continue", to_string=True)  # the switch back
    walk = names()
    assert walk[:2] == ["sigrun_context_switch", "goroutine_function"]
    steps_through("sigrun_context_switch", ("main", "sigrun_context_start"))

    gdb.execute("continue", to_string=True)
    walk = names()
    assert walk[0] == "leaf" and walk[2:] == ["borrows_another_stack", "main"]
    gdb.execute("kill", to_string=True)


try:
    main()
    print("gdb: ok")
    gdb.execute("quit 0")
except gdb.error as error:
    denied = "ptrace" in str(error) or "Operation not permitted" in str(error)
    print(f"gdb: {'skipped' if denied else 'FAILED'}: {error}")
    gdb.execute(f"quit {77 if denied else 1}")
except (AssertionError, AttributeError, IndexError) as error:
    print(f"gdb: FAILED: {error}")
    gdb.execute("quit 1")
