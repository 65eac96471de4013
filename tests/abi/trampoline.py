#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the signal trampoline out of the object file, as built, and checks what matters.

usage: trampoline.py bytes|frames|relocations OBJECT
       trampoline.py bind_now PROGRAM...

Goal: nobody changes an instruction of the way in or out of a handler without noticing. Unwinders
know the restorer by its bytes and by its name, so those are an interface.
"""
import re
import subprocess
import sys

TRAMPOLINE = "sigrun_sigtramp"
RESTORER = "sigrun_sigreturn__sigaction"
# movq $15, %rax; syscall: what libgcc and gdb compare with.
RESTORER_BYTES = "48 c7 c0 0f 00 00 00 0f 05"
NOP = "90"
CALLEE_SAVED = ("%rbp", "%rbx", "%r12", "%r13", "%r14", "%r15")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def disassemble(path):
    """Returns {symbol: [(address, bytes, instruction)]} of section .text."""
    functions, current = {}, None
    for line in output("objdump", "-dw", "--section=.text", path).splitlines():
        title = re.match(r"[0-9a-f]+ <(\S+)>:$", line)
        code = re.match(r"\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.*)$", line)
        if title:
            current = functions.setdefault(title.group(1), [])
        elif code and current is not None:
            text = re.sub(r"\s+", " ", code.group(3)).strip()
            current.append((int(code.group(1), 16), code.group(2), text))
    return functions


def check_bytes(path):
    functions = disassemble(path)
    trampoline, restorer = functions[TRAMPOLINE], functions[RESTORER]
    texts = [text for _, _, text in trampoline]
    call = next((at for at, text in enumerate(texts) if text.startswith("call")), None)
    yield "the trampoline begins with endbr64", texts[0] == "endbr64"
    yield "the trampoline calls", call is not None
    before, after = texts[:call], texts[call + 1:]
    yield "the direction flag is cleared before the call", "cld" in before
    yield "the stack is aligned before the call", any(
        re.match(r"and \$0xf+0,%rsp", text) for text in before)
    pushed = [text.split()[1] for text in before if text.startswith("push")]
    popped = [text.split()[1] for text in after if text.startswith("pop")]
    yield "every callee-saved register is pushed", set(pushed) == set(CALLEE_SAVED)
    yield "and popped in the opposite order", popped == pushed[::-1]
    yield "the trampoline ends with ret", "ret" in after
    # The 4th argument is the stack pointer on entry, so nothing may be pushed before it is taken.
    yield "rsp is taken before anything is pushed", texts[1] == "mov %rsp,%rcx"
    yield "the restorer's bytes are what unwinders know", " ".join(
        code for _, code, _ in restorer).startswith(RESTORER_BYTES)
    padding = " ".join(code for _, code, _ in trampoline).split()
    last = trampoline[-1]
    ends = last[0] + len(last[1].split())
    yield "a nop stands right before the restorer", padding[-1] == NOP and ends == restorer[0][0]


def check_frames(path):
    """Unwinding out of the handler goes through the trampoline as through any function."""
    frames = output("readelf", "--debug-dump=frames", path)
    symbols = dict((fields[7], int(fields[1], 16))
                   for fields in map(str.split, output("readelf", "-sW", path).splitlines())
                   if len(fields) == 8 and fields[3] == "FUNC")
    entries = re.findall(r"FDE cie=\S+ pc=([0-9a-f]+)\.\.([0-9a-f]+)((?:\n  .*)*)", frames)
    spans = {int(first, 16): (int(last, 16), rules) for first, last, rules in entries}
    start = symbols[TRAMPOLINE]
    yield "the trampoline has call frame information", start in spans
    rules = spans[start][1]
    for register in CALLEE_SAVED:
        yield f"the frame says where {register} is", f"({register[1:]}) at cfa-" in rules
    yield "the frame is found by rbp, since rsp is realigned", "def_cfa_register: r6" in rules
    # An S augmentation would make unwinders take the trampoline itself for the kernel's frame.
    marked = {name: re.search(rf'{cie} \S+ \S+ CIE\n(?:  .*\n)*?  Augmentation:\s+"\w*S', frames)
              for name, cie in cies_of(frames, symbols).items()}
    yield "the trampoline is not marked as a signal frame", not marked[TRAMPOLINE]
    # Looked up is the byte before a return address, which is the nop.
    first, (last, rules) = next((first, span) for first, span in spans.items()
                                if first <= symbols[RESTORER] < span[0])
    yield "the restorer's table begins with the nop", first == symbols[RESTORER] - 1
    yield "the restorer is marked as a signal frame", marked[RESTORER]
    # struct ucontext: 40 bytes, then gregs in the order of sys/ucontext.h.
    order = (8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16)
    found = {int(register): int(offset) for register, offset in re.findall(
        r"DW_CFA_expression: r(\d+) \(\w+\) \(DW_OP_breg7 \(rsp\): (\d+)\)", rules)}
    yield "it says where the kernel has saved each register", found == {
        register: 40 + 8 * place for place, register in enumerate(order)}


def cies_of(frames, symbols):
    """Which CIE describes the code of each symbol."""
    found = {}
    for cie, first, last in re.findall(r"FDE cie=(\S+) pc=([0-9a-f]+)\.\.([0-9a-f]+)", frames):
        for name, at in symbols.items():
            if int(first, 16) <= at < int(last, 16):
                found[name] = cie
    return found


def check_relocations(path):
    lines = output("readelf", "-rW", path).splitlines()
    calls = [line.split()[4] for line in lines if "R_X86_64_PLT32" in line]
    yield "the trampoline calls sigrun_sighandler and nothing else", calls == ["sigrun_sighandler"]


def check_bind_now(*programs):
    """A handler that runs the lazy binder would take the loader's lock."""
    for program in programs:
        flags = output("readelf", "-dW", program)
        static = "no dynamic section" in flags
        yield f"{program} binds at its start", static or "BIND_NOW" in flags or "NOW" in flags


def main():
    what, *paths = sys.argv[1:]
    failures = 0
    checks = {"bytes": check_bytes, "frames": check_frames, "relocations": check_relocations,
              "bind_now": check_bind_now}
    for claim, holds in checks[what](*paths):
        print(f"{'ok' if holds else 'FAILED'}: {claim}")
        failures += not holds
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
