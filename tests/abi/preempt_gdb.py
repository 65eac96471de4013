# SPDX-License-Identifier: Apache-2.0
#
# Run by gdb (-batch -x preempt_gdb.py preempt_target): looks out of the handler, out of the
# injected call, and out of the injected frame after each of its instructions. Frames must be those
# that the program's own walkers saw, and registers those of the interrupted code. With
# SIGRUN_GDB_REMOTE=SOCKET the program waits there, run by qemu (tests/arm64/run).
import os

import gdb

for setting in ("pagination off", "confirm off", "debuginfod enabled off"):
    gdb.execute(f"set {setting}", to_string=True)
gdb.execute("handle SIGURG nostop noprint pass", to_string=True)

AMD64 = {"rbx": 101, "rbp": 102, "r12": 103, "r15": 104, "r8": 105, "r9": 106}
ARM64 = {"x19": 101, "x28": 102}


def amd64():
    return "x86-64" in gdb.selected_inferior().architecture().name()


def start():
    remote = os.environ.get("SIGRUN_GDB_REMOTE")
    if remote:
        gdb.execute(f"target remote {remote}", to_string=True)
    gdb.execute("continue" if remote else "run", to_string=True)


def walk():
    frames, frame = [], gdb.newest_frame()
    while frame is not None and len(frames) < 48:
        frames.append(frame)
        frame = frame.older()
    return frames


def names(frames):
    return [(frame.name() or "??").split("::")[-1] for frame in frames]


def number(expression):
    return int(gdb.parse_and_eval(expression))


def check_interrupted(frames, where):
    """Registers, stack and callers of interrupted_code() as seen from further in."""
    at = names(frames).index("interrupted_code")
    frame = frames[at]
    for register, value in (AMD64 if amd64() else ARM64).items():
        seen = int(frame.read_register(register))
        assert seen == value, f"{where}: {register} is {seen}, not {value}"
    sp = int(frame.read_register("rsp" if amd64() else "sp")) % 2**64
    assert sp == number("interrupted_sp") % 2**64, f"{where}: the stack pointer is {sp:#x}"
    assert names(frames[at:]) == ["interrupted_code", "calls_interrupted_code",
                                  "goroutine_function", "sigrun_context_start"], \
        f"{where}: {names(frames)}"
    return at


def compare_with_program(place, base):
    """gdb's frames further out than `base` against what each walker of the program has noted."""
    frames = walk()
    print(f"{base}: {' '.join(names(frames))}")
    mine = [frame.pc() for frame in frames[names(frames).index(base) + 1:]]
    for walker in ("own", "libgcc", "libunwind"):
        seen = f"walks[{place}][{walker}]"
        pcs = [number(f"{seen}.pc[{i}]") for i in range(number(f"{seen}.count"))]
        if walker == "libunwind" and not pcs:
            continue  # not installed
        assert pcs[-len(mine):] == mine, \
            f"{walker}: {[hex(pc) for pc in pcs]} against {[hex(pc) for pc in mine]}"
    return frames


def main():
    gdb.execute("break look_here", to_string=True)
    start()
    frames = compare_with_program("in_handler", "sigrun_sighandler")
    at = check_interrupted(frames, "in the handler")
    assert names(frames)[at - 2] == "sigrun_sigtramp", "the trampoline stands between"
    assert frames[at - 1].type() == gdb.SIGTRAMP_FRAME, "and the kernel's frame"

    gdb.execute("continue", to_string=True)
    frames = compare_with_program("in_injected_call", "sigrun_preempted")
    at = check_interrupted(frames, "in the injected call")
    assert frames[at - 1].type() == gdb.SIGTRAMP_FRAME, "what stands between is no call"
    if not amd64():
        gdb.execute("kill", to_string=True)
        return
    assert names(frames)[at - 1] == "sigrun_async_preempt", "but the injected frame"

    # Inside the injected frame, whose instructions all run on the interrupted stack.
    gdb.execute("delete", to_string=True)
    gdb.execute("break *sigrun_async_preempt", to_string=True)
    gdb.execute("run", to_string=True)
    steps = 0
    while gdb.newest_frame().name() == "sigrun_async_preempt" and steps < 200:
        frames = walk()
        assert check_interrupted(frames, f"after {steps} instructions") == 1, names(frames)
        gdb.execute("nexti", to_string=True)
        steps += 1
    print(f"walked out after each of {steps} instructions")
    assert steps > 50, "stepped through the injected frame"
    assert check_interrupted(walk(), "back") == 0, "and came back to where it was"
    assert number("$pc") == number("interrupted_pc"), "exactly there"
    gdb.execute("kill", to_string=True)


try:
    main()
    print("gdb: ok")
    gdb.execute("quit 0")
except gdb.error as error:
    denied = "ptrace" in str(error) or "Operation not permitted" in str(error)
    print(f"gdb: {'skipped' if denied else 'FAILED'}: {error}")
    gdb.execute(f"quit {77 if denied else 1}")
except (AssertionError, AttributeError, IndexError, ValueError) as error:
    print(f"gdb: FAILED: {error}")
    gdb.execute("quit 1")
