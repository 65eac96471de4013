# SPDX-License-Identifier: Apache-2.0
"""How a run ends: exit codes, and the runner's own errors."""
import os
import resource
import signal

from bench import Skip


def the_exit_code_is_the_programs_own(bench):
    for code in (0, 1, 3, 125, 127, 255):
        assert bench.exit_code("--", "sh", "-c", f"exit {code}") == code


def death_by_a_signal_is_128_plus_its_number(bench):
    for signo in (1, 2, 6, 9, 11, 15, 34, 64):
        assert bench.exit_code("--", "sh", "-c", f"ulimit -c 0; kill -{signo} $$") == 128 + signo


def die_by_signal_dies_by_the_same_signal(bench):
    for signo in (1, 6, 9, 15, 40):
        code = bench.exit_code("-d", "--", "sh", "-c", f"ulimit -c 0; kill -{signo} $$")
        assert code == -signo, (signo, code)
    assert bench.exit_code("--die-by-signal", "--", "sh", "-c", "exit 5") == 5


def a_mapped_exit_code_is_replaced(bench):
    assert bench.exit_code("-e", "3", "--", "sh", "-c", "exit 3") == 0
    assert bench.exit_code("-e", "3:9", "-e", "4:10", "--", "sh", "-c", "exit 4") == 10
    assert bench.exit_code("--map-exit=143:0", "--", "sh", "-c", "kill -TERM $$") == 0
    assert bench.exit_code("-eSIGTERM", "-d", "--", "sh", "-c", "kill -TERM $$") == 0
    assert bench.exit_code("-e", "3", "--", "sh", "-c", "exit 5") == 5


def a_program_that_is_not_there_is_127_and_named(bench):
    for name, text in (("no-such-program", "no-such-program: command not found"),
                       ("/no/such/program", "/no/such/program: No such file or directory"),
                       ("", ": command not found")):
        runner = bench.run("--", name)
        assert runner.end() == 127
        assert text in runner.errors(), runner.errors()
    # A mapping is for what the program says, not for its absence.
    assert bench.exit_code("-e", "127", "--", "no-such-program") == 127


def a_program_that_cannot_be_executed_is_126_and_named(bench):
    plain = bench.path("plain")
    with open(plain, "w") as file:
        file.write("text\n")
    for name in (plain, "/tmp"):
        runner = bench.run("--", name)
        assert runner.end() == 126
        assert f"{name}: Permission denied" in runner.errors(), runner.errors()


def a_missing_interpreter_is_said(bench):
    script = bench.path("script")
    with open(script, "w") as file:
        file.write("#!/no/such/interpreter\n")
    os.chmod(script, 0o755)
    runner = bench.run("--", script)
    assert runner.end() == 127
    assert "interpreter" in runner.errors()


def a_script_without_an_interpreter_line_is_run_by_the_shell(bench):
    script = bench.path("script")
    with open(script, "w") as file:
        file.write("echo $1-$2; exit 6\n")
    os.chmod(script, 0o755)
    runner = bench.run("--", script, "a", "b")
    assert runner.end() == 6
    assert runner.rest == b"a-b\n"


def a_program_is_looked_for_as_a_shell_does(bench):
    for folder, mode in (("first", 0o644), ("second", 0o755)):
        os.mkdir(bench.path(folder))
        program = os.path.join(bench.path(folder), "thing")
        with open(program, "w") as file:
            file.write("#!/bin/sh\nexit 12\n")
        os.chmod(program, mode)
    both = f"/nowhere:{bench.path('first')}:{bench.path('second')}"
    assert bench.exit_code("--", "thing", env={"PATH": both}) == 12
    assert bench.exit_code("--", "thing", env={"PATH": bench.path("first")}) == 126


def wrong_usage_is_125_and_names_the_word(bench):
    table = [(["-x", "true"], "'-x'"), (["--nonsense", "true"], "'--nonsense'"),
             (["--nonsense=3", "true"], "'--nonsense'"), (["-gx", "true"], "'-x'"),
             (["-r"], "'--rewrite' needs a value"), (["--grace"], "'--grace' needs a value"),
             (["--group=1", "true"], "'--group' takes no value"),
             (["-r", "TERM", "true"], "'TERM'"), (["-r", "FOO:1", "true"], "'FOO:1'"),
             (["-r", "TERM:65", "true"], "'TERM:65'"), (["-r", "KILL:TERM", "true"], "SIGKILL"),
             (["-r", "STOP:0", "true"], "SIGSTOP"), (["-r", "0:1", "true"], "'0:1'"),
             (["-e", "256", "true"], "'256'"), (["-e", "1:x", "true"], "'1:x'"),
             (["-e", "", "true"], "''"), (["-e", "-1", "true"], "'-1'"),
             (["-p", "NOPE", "true"], "'NOPE'"), (["--grace", "soon", "true"], "'soon'"),
             (["--grace", "-1", "true"], "'-1'"), (["--grace", "1.", "true"], "'1.'"),
             (["--grace", "99999999999", "true"], "'99999999999'"),
             (["--journal", "/no/such/folder/file", "true"], "/no/such/folder/file"),
             ([], "no program"), (["-v"], "no program"), (["--"], "no program")]
    for words, text in table:
        runner = bench.run(*words)
        code = runner.end()
        assert code == 125, (words, code)
        assert text in runner.errors(), (words, runner.errors())
        assert runner.errors().startswith("sigrun"), runner.errors()


def options_end_at_the_program(bench):
    runner = bench.run("echo", "-v", "--group")
    assert runner.end() == 0
    assert runner.rest == b"-v --group\n"


def help_and_version_go_to_stdout(bench):
    runner = bench.run("--help")
    assert runner.end() == 0 and b"--rewrite" in runner.rest
    runner = bench.run("-V")
    assert runner.end() == 0 and runner.rest.startswith(b"sigrun ")


def an_exhausted_process_limit_is_a_clear_error(bench):
    if os.geteuid() != 0:
        raise Skip("needs a user of its own")

    def become_nobody():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setuid(59_732)

    os.chmod(bench.folder.name, 0o755)
    # A sanitizer's leak check starts a process at the end, which is what cannot be had here.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    try:
        runner = bench.run("--", "true", preexec_fn=become_nobody, env=environment)
    except PermissionError:
        raise Skip("another user cannot reach the build folder")
    assert runner.end() == 125
    assert "RLIMIT_NPROC" in runner.errors() and "true" in runner.errors(), runner.errors()


def inherited_ignored_and_blocked_signals_pass_through(bench):
    ignored = (signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGTTOU)
    blocked = (signal.SIGUSR1, signal.SIGTERM, 40)

    def prepare():
        for signo in ignored:
            signal.signal(signo, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    # The same program without a runner between is the measure.
    plain = bench.start(bench.probe, "state", preexec_fn=prepare, restore_signals=False)
    assert plain.end() == 0
    runner = bench.run("--", bench.probe, "state", preexec_fn=prepare, restore_signals=False)
    assert runner.end() == 0, "an ignored SIGCHLD must not hide the program's end"
    assert runner.rest == plain.rest
    words = runner.rest.split()
    for signo in ignored:
        assert int(words[3], 16) >> (signo - 1) & 1, signo
    for signo in blocked:
        assert int(words[1], 16) >> (signo - 1) & 1, signo


def signals_blocked_at_the_start_are_still_forwarded(bench):
    def prepare():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    runner = bench.run("--", bench.probe, "listen", preexec_fn=prepare)
    runner.ready()
    runner.kill(signal.SIGTERM)
    assert runner.signal_line()[0] == signal.SIGTERM


def pid_variables_follow_the_program(bench):
    script = 'export LISTEN_PID=$$ WATCHDOG_PID=$$ OTHER_PID=$$; exec "$0" run -- sh -c ' \
             "'echo $$ $LISTEN_PID $WATCHDOG_PID $OTHER_PID'"
    runner = bench.start("sh", "-c", script, bench.sigrun)
    assert runner.end() == 0
    own, listen, watchdog, other = (int(word) for word in runner.rest.split())
    assert own == listen == watchdog != other
    assert other == runner.pid
    # Meant for somebody else: left alone.
    runner = bench.run("--", "sh", "-c", "echo $LISTEN_PID",
                       env={"PATH": os.environ["PATH"], "LISTEN_PID": "1"})
    assert runner.end() == 0
    assert runner.rest == b"1\n"
