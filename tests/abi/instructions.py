#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the assembly of module arch back from its objects, and checks the instructions that matter.

usage: instructions.py amd64 SWITCH.o PREEMPT.o
       instructions.py arm64 SOURCE_DIRECTORY     (compiles the assembly there; 77: no compiler)

Goal: nobody changes an instruction of a switch or of an injected call without noticing. The
trampoline of amd64 is trampoline.py's.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

CALLEE_SAVED_AMD64 = ["%rbp", "%rbx", "%r12", "%r13", "%r14", "%r15"]
OTHERS_AMD64 = ["%rax", "%rcx", "%rdx", "%rsi", "%rdi", "%r8", "%r9", "%r10", "%r11"]
CALLEE_SAVED_ARM64 = [f"x{n}" for n in range(19, 31)] + [f"d{n}" for n in range(8, 16)]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def disassemble(path, prefix=""):
    """Returns {symbol: [instruction]} of section .text; a call's target as its relocation says."""
    functions, current = {}, None
    for line in output(prefix + "objdump", "-drw", "--no-show-raw-insn", "--section=.text",
                       path).splitlines():
        title = re.match(r"[0-9a-f]+ <(\S+)>:$", line)
        code = re.match(r"\s*[0-9a-f]+:\t(.*)$", line)
        if title:
            current = functions.setdefault(title.group(1), [])
        elif code and current is not None:
            if "R_" in code.group(1).split()[0]:
                continue
            text = re.sub(r"\s+(//|# ).*$", "", code.group(1))
            current.append(re.sub(r"\s+", " ", text).strip())
    return functions


def frames(path, prefix=""):
    """Yields (span of addresses, rules, augmentation of the CIE) for each entry."""
    dump = output(prefix + "readelf", "--debug-dump=frames", path)
    cies = {}
    for block in re.split(r"\n(?=[0-9a-f]{8} )", dump):
        head = block.strip().splitlines()
        if not head:
            continue
        offset = head[0].split()[0]
        if " CIE" in head[0]:
            augmentation = re.search(r'Augmentation:\s+"(.*)"', block)
            cies[offset] = augmentation.group(1)
        span = re.search(r"FDE cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)", head[0])
        if span:
            yield (range(int(span.group(2), 16), int(span.group(3), 16)), block,
                   cies[span.group(1)])


def symbol(path, name, prefix=""):
    for line in output(prefix + "nm", path).splitlines():
        fields = line.split()
        if fields[-1] == name:
            return int(fields[0], 16)
    raise KeyError(name)


def operands(instructions, *mnemonics):
    """What follows these mnemonics, in order."""
    return [text.split(" ", 1)[1] for text in instructions if text.split(" ", 1)[0] in mnemonics]


def check_amd64_switch(path):
    code = disassemble(path)["sigrun_context_switch"]
    pushed = operands(code, "push")
    moved = next(i for i, text in enumerate(code) if re.match(r"lea 0x38\(%rcx\),%rsp", text))
    out = next(i for i, text in enumerate(code) if text == "mov %rsp,(%rdi)")
    yield "the switch pushes what the convention keeps, in the frame's order", \
        pushed == CALLEE_SAVED_AMD64
    loaded = dict(reversed(pair.split(",")) for pair in operands(code[:moved], "mov")
                  if re.match(r"(0x)?[0-9a-f]*\(%rcx\),", pair))
    yield "it leaves its stack pointer behind before it moves", out < moved
    yield "and loads each of them from the same place of the other frame", loaded == {
        "%r15": "(%rcx)", "%r14": "0x8(%rcx)", "%r13": "0x10(%rcx)", "%r12": "0x18(%rcx)",
        "%rbx": "0x20(%rcx)", "%rbp": "0x28(%rcx)", "%rdx": "0x30(%rcx)"}
    yield "the stack pointer moves once", sum(",%rsp" in text for text in code) == 1
    yield "it jumps, so that no return is predicted wrong", \
        code[moved + 1] == "notrack jmp *%rdx" and not any(text == "ret" for text in code)


def check_amd64_injected(path):
    code = disassemble(path)["sigrun_async_preempt"]
    call = next(i for i, text in enumerate(code) if text.startswith("call"))
    before, after = code[:call], code[call + 1:]
    flags = next(i for i, text in enumerate(before) if text.startswith("pushf"))
    yield "nothing touches the flags before they are saved", all(
        re.match(r"(push|mov) ", text) for text in before[:flags])
    pushed = operands(before, "push")
    yield "every general register is pushed", set(pushed) == set(
        CALLEE_SAVED_AMD64 + OTHERS_AMD64) and len(pushed) == 15
    yield "and popped in the opposite order", operands(after, "pop") == pushed[::-1]
    back = next(i for i, text in enumerate(after) if text.startswith("popf"))
    yield "nothing touches the flags after they are back", all(
        re.match(r"(pop|ret) ", text) for text in after[back + 1:])
    yield "the direction flag is cleared for C++", "cld" in before
    yield "the area is aligned to 64", "and $0xffffffffffffffc0,%rsp" in before
    save = next(i for i, text in enumerate(before) if text == "xsave64 (%rsp)")
    cleared = {int(place, 16) for text in before[:save]
               for place in re.findall(r"^mov %rax,(0x2\w\w)\(%rsp\)$", text)}
    yield "XSAVE's header is cleared before", cleared == set(range(0x200, 0x240, 8))
    masks = ["mov $0xffffffff,%eax", "mov $0xffffffff,%edx"]
    yield "all that XCR0 enables is saved", before[save - 2:save] == masks
    load = next(i for i, text in enumerate(after) if text == "xrstor64 (%rsp)")
    yield "and restored", after[load - 2:load] == masks
    yield "one instruction returns and drops the red zone", after[-1] == "ret $0x80"
    yield "nothing but the scheduler is called", output("readelf", "-rW", path).count(
        "R_X86_64_PLT32") == 1 and "sigrun_preempted" in output("readelf", "-rW", path)
    entry = symbol(path, "sigrun_async_preempt")
    yield "unwinders are told that it interrupts", any(
        entry in span and "S" in augmentation for span, _, augmentation in frames(path))


def check_arm64(build):
    prefix = "aarch64-linux-gnu-"
    code = disassemble(build("sigtramp"), prefix)["sigrun_sigtramp"]
    saved = [r for pair in operands(code, "stp") for r in pair.split(", ")[:2]]
    loaded = [r for pair in operands(code, "ldp") for r in pair.split(", ")[:2]]
    yield "the trampoline saves what the convention keeps", set(saved) == set(
        CALLEE_SAVED_ARM64[:12])
    yield "and loads it back", set(loaded) == set(saved)
    yield "the stack pointer is taken before it moves", code[1] == "mov x3, sp"
    yield "it calls and returns", any(text.startswith("bl ") for text in code) and "ret" in code

    code = disassemble(build("context_switch"), prefix)["sigrun_context_switch"]
    out = {tuple(pair.split(", ")) for pair in operands(code, "stp")}
    back = {tuple(pair.split(", ")) for pair in operands(code, "ldp")}
    yield "the switch saves what the convention keeps", {
        r for pair in out for r in pair[:2]} == set(CALLEE_SAVED_ARM64)
    yield "and loads each from where it was saved", out == back
    move = code.index("mov sp, x10")
    yield "all saves come before the stack pointer moves, all loads after", not any(
        text.startswith("ldp") for text in code[:move]) and not any(
        text.startswith("stp") for text in code[move:])
    yield "it ends with a return", [text for text in code if text != "nop"][-1] == "ret"

    path = build("preempt")
    code = disassemble(path, prefix)["sigrun_preempt_sigreturn"]
    yield "the way back is rt_sigreturn, as unwinders know it", code[:2] == [
        "mov x8, #0x8b", "svc #0x0"]
    raw = output(prefix + "objdump", "-dw", path)
    yield "in the bytes they compare with", "d2801168" in raw and "d4000001" in raw
    entry = symbol(path, "sigrun_preempt_sigreturn", prefix)
    yield "it has no frame information of its own", not any(
        entry in span for span, _, _ in frames(path, prefix))
    yield "and a nop stands before it", re.search(
        r"\tnop\n\n[0-9a-f]+ <sigrun_preempt_sigreturn>:", raw) is not None


def report(checks):
    failures = 0
    for claim, holds in checks:
        print(f"{'ok' if holds else 'FAILED'}: {claim}")
        failures += not holds
    return failures


def main():
    cpu, *paths = sys.argv[1:]
    if cpu == "amd64":
        return 1 if report(check_amd64_switch(paths[0])) + report(
            check_amd64_injected(paths[1])) else 0
    compiler = shutil.which("aarch64-linux-gnu-gcc") or shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        print("no cross compiler for arm64, skipped")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        def build(name):
            out = os.path.join(directory, name + ".o")
            subprocess.run([compiler, "-c", "-o", out, os.path.join(paths[0], name + ".S")],
                           check=True)
            return out
        return 1 if report(check_arm64(build)) else 0


if __name__ == "__main__":
    sys.exit(main())
