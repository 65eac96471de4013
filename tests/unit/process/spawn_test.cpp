// SPDX-License-Identifier: Apache-2.0
//
// process::spawn and child: how programs are found and refused, what a child gets, how it is
// waited for, and that nobody is left behind. Programs of coreutils and /bin/sh are the children.
#include "support/leak_guard.hpp"
#include "support/proc_self.hpp"
#include "sys/clock.hpp"

#include <sigrun/go.hpp>
#include <sigrun/process.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace {

using namespace std::chrono_literals;
using sigrun::signal_set;
using sigrun::process::child;
using sigrun::process::exit_status;
using sigrun::process::spawn;
using sigrun::process::spawn_options;

class SpawnTest : public sigrun::test::leak_guard_test {
 protected:
  SpawnTest() { ::alarm(50); }
  ~SpawnTest() override { ::alarm(0); }

  static std::string sh(const std::string& script) { return script; }
  static exit_status run(const std::string& script, const spawn_options& options = {}) {
    return spawn({"sh", "-c", script}, options).wait();
  }

  // Runs `script` with its output going to a pipe, and returns the output.
  static std::string output(const std::string& script, spawn_options options = {}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    options.files.emplace_back(ends[1], 1);
    child shell = spawn({"sh", "-c", script}, options);
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(ends[0]);
    shell.wait();
    return text;
  }

  template <class F>
  static int error_of(F start) {
    try {
      start();
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  }
};

TEST_F(SpawnTest, TheExitCodeIsTheChilds) {
  EXPECT_TRUE(spawn({"true"}).wait().success());
  EXPECT_EQ(run("exit 42").code, 42);
  EXPECT_EQ(run("exit 42").shell_code(), 42);
}

TEST_F(SpawnTest, AKilledChildNamesTheSignal) {
  const exit_status status = run("kill -TERM $$");
  EXPECT_EQ(status.signal, SIGTERM);
  EXPECT_FALSE(status.success());
  EXPECT_EQ(status.shell_code(), 128 + SIGTERM);
}

TEST_F(SpawnTest, AMissingProgramIsEnoent) {
  EXPECT_EQ(error_of([] { spawn({"/no/such/program"}); }), ENOENT);
  EXPECT_EQ(error_of([] { spawn({"no-such-program-anywhere"}); }), ENOENT);
}

TEST_F(SpawnTest, AFileThatMayNotRunIsEacces) {
  EXPECT_EQ(error_of([] { spawn({"/etc/passwd"}); }), EACCES);
  EXPECT_EQ(error_of([] { spawn({"/"}); }), EACCES);
}

TEST_F(SpawnTest, TheErrorNamesTheProgram) {
  try {
    spawn({"/no/such/program"});
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string{error.what()}.find("/no/such/program"), std::string::npos);
  }
}

TEST_F(SpawnTest, WithoutSearchPathABareNameIsAFile) {
  spawn_options options;
  options.search_path = false;
  EXPECT_EQ(error_of([&] { spawn({"true"}, options); }), ENOENT);
}

TEST_F(SpawnTest, AScriptWithoutAnInterpreterLineIsTheShells) {
  char path[] = "/tmp/sigrun-script-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_EQ(::write(fd, "exit $1\n", 8), 8);
  ::fchmod(fd, 0755);
  ::close(fd);
  EXPECT_EQ(spawn({path, "9"}).wait().code, 9);
  ::unlink(path);
}

TEST_F(SpawnTest, MisuseIsAnInvalidArgument) {
  EXPECT_THROW(spawn({}), std::invalid_argument);
  EXPECT_THROW(spawn({std::string("a\0b", 3)}), std::invalid_argument);
  spawn_options options;
  options.environment = {"NOEQUALS"};
  EXPECT_THROW(spawn({"true"}, options), std::invalid_argument);
  options = {};
  options.files = {{-1, 1}};
  EXPECT_THROW(spawn({"true"}, options), std::invalid_argument);
  options = {};
  options.parent_death_signal = 65;
  EXPECT_THROW(spawn({"true"}, options), std::invalid_argument);
}

TEST_F(SpawnTest, TheErrorCodeFormThrowsNothing) {
  std::error_code error;
  spawn({"/no/such/program"}, {}, error);
  EXPECT_EQ(error, std::errc::no_such_file_or_directory);
  spawn({}, {}, error);
  EXPECT_EQ(error, std::errc::invalid_argument);
  EXPECT_TRUE(spawn({"true"}, {}, error).wait().success());
  EXPECT_FALSE(error);
}

TEST_F(SpawnTest, AMissingDirectoryAndABadFdAreTheirOwnErrors) {
  spawn_options options;
  options.directory = "/no/such/folder";
  EXPECT_EQ(error_of([&] { spawn({"true"}, options); }), ENOENT);
  options = {};
  options.files = {{999, 1}};
  EXPECT_EQ(error_of([&] { spawn({"true"}, options); }), EBADF);
}

TEST_F(SpawnTest, TheDirectoryIsTheChilds) {
  spawn_options options;
  options.directory = "/usr";
  EXPECT_EQ(output("pwd", options), "/usr\n");
}

TEST_F(SpawnTest, TheEnvironmentIsAddedToOursOrStandsAlone) {
  ::setenv("SIGRUN_TEST_A", "ours", 1);
  ::setenv("SIGRUN_TEST_B", "ours", 1);
  spawn_options options;
  options.environment = {"SIGRUN_TEST_B=new"};
  EXPECT_EQ(output("echo $SIGRUN_TEST_A $SIGRUN_TEST_B", options), "ours new\n");
  options.inherit_environment = false;
  EXPECT_EQ(output("echo $SIGRUN_TEST_A $SIGRUN_TEST_B", options), "new\n");
  ::unsetenv("SIGRUN_TEST_A");
  ::unsetenv("SIGRUN_TEST_B");
}

TEST_F(SpawnTest, FilesMaySwapPlaces) {
  int a[2], b[2];
  ASSERT_EQ(::pipe2(a, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(b, O_CLOEXEC), 0);
  spawn_options options;
  options.files = {{a[1], b[1]}, {b[1], a[1]}};
  child shell =
      spawn({"sh", "-c", "echo a >&" + std::to_string(a[1]) + "; echo b >&" + std::to_string(b[1])},
            options);
  EXPECT_TRUE(shell.wait().success());
  char buffer[8] = {};
  EXPECT_EQ(::read(a[0], buffer, 8), 2);
  EXPECT_EQ(buffer[0], 'b');
  EXPECT_EQ(::read(b[0], buffer, 8), 2);
  EXPECT_EQ(buffer[0], 'a');
  for (const int fd : {a[0], a[1], b[0], b[1]}) ::close(fd);
}

TEST_F(SpawnTest, AFileThatStaysLosesCloseOnExec) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  spawn_options options;
  options.files = {{ends[1], ends[1]}};
  EXPECT_EQ(run("exec 3>&" + std::to_string(ends[1]), options).code, 0);
  EXPECT_NE(run("exec 3>&" + std::to_string(ends[1]) + " 2>/dev/null").code, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(SpawnTest, GroupAndSessionAreTheChildsOwn) {
  spawn_options options;
  options.new_process_group = true;
  EXPECT_EQ(output("test $(ps -o pgid= $$) -eq $$ && echo own", options), "own\n");
  options = {};
  options.new_session = true;
  EXPECT_EQ(output("test $(ps -o sid= $$) -eq $$ && echo own", options), "own\n");
}

TEST_F(SpawnTest, AHandlerOfTheParentIsDefaultInTheChildAndAnIgnoreStays) {
  struct sigaction caught {
  }, ignored{}, before_usr1, before_usr2;
  caught.sa_handler = [](int) {};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGUSR1, &caught, &before_usr1);
  ::sigaction(SIGUSR2, &ignored, &before_usr2);
  const auto seen = sigrun::test::parse_status(output("exec cat /proc/self/status"));
  ::sigaction(SIGUSR1, &before_usr1, nullptr);
  ::sigaction(SIGUSR2, &before_usr2, nullptr);
  EXPECT_TRUE(seen.caught.empty());
  EXPECT_TRUE(seen.ignored.has(SIGUSR2));
  EXPECT_TRUE(seen.blocked.empty());
}

TEST_F(SpawnTest, AChildOfAGoroutineHasTheTimerSlackOfOthers) {
  const std::string usual = output("exec cat /proc/self/timerslack_ns");
  std::string from_goroutine;
  sigrun::go([&] { from_goroutine = output("exec cat /proc/self/timerslack_ns"); }).join();
  EXPECT_EQ(from_goroutine, usual);
}

TEST_F(SpawnTest, WaitingTwiceReturnsTheSame) {
  child shell = spawn({"sh", "-c", "exit 3"});
  EXPECT_EQ(shell.wait().code, 3);
  EXPECT_EQ(shell.wait().code, 3);
  EXPECT_EQ(shell.wait_for(0ns)->code, 3);
}

TEST_F(SpawnTest, WaitForGivesUpAtItsTime) {
  child sleeper = spawn({"sleep", "40"});
  EXPECT_FALSE(sleeper.wait_for(1ms));
  EXPECT_FALSE(sleeper.wait_for(-5s));
  sleeper.signal(SIGKILL);
  const auto status = sleeper.wait_for(std::chrono::nanoseconds::max());
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGKILL);
}

TEST_F(SpawnTest, ASignalAfterTheEndIsEsrchAndABadOneEinval) {
  child sleeper = spawn({"sleep", "40"});
  std::error_code error;
  sleeper.signal(65, error);
  EXPECT_EQ(error, std::errc::invalid_argument);
  sleeper.signal(SIGTERM);
  EXPECT_EQ(sleeper.wait().signal, SIGTERM);
  sleeper.signal(SIGTERM, error);
  EXPECT_EQ(error, std::errc::no_such_process);
  EXPECT_THROW(sleeper.signal(SIGTERM), std::system_error);
}

TEST_F(SpawnTest, AnEmptyHandleHasNoChild) {
  child nobody;
  EXPECT_EQ(nobody.pid(), 0);
  EXPECT_THROW(nobody.wait(), std::system_error);
  EXPECT_THROW(nobody.wait_for(1ms), std::system_error);
  EXPECT_THROW(nobody.signal(SIGTERM), std::system_error);
}

TEST_F(SpawnTest, WaitingTakesNoOtherChildsStatus) {
  const int mine = ::fork();
  if (mine == 0) ::_exit(7);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(mine), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(run("exit 1").code, 1);
  int status = 0;
  ASSERT_EQ(::waitpid(mine, &status, 0), mine);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(SpawnTest, ADroppedChildLeavesNoZombie) {
  std::vector<int> pids;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  for (int i = 0; i < 20; ++i) {
    spawn_options options;
    options.files = {{ends[0], 0}};
    // Each waits for the pipe to close, so all are alive when their handles go.
    pids.push_back(spawn({"cat"}, options).pid());
  }
  ::close(ends[0]);
  ::close(ends[1]);
  const std::int64_t deadline = sigrun::sys::now_ns() + 20'000'000'000;
  for (const int pid : pids) {
    while (std::filesystem::exists("/proc/" + std::to_string(pid)) &&
           sigrun::sys::now_ns() < deadline) {
      ::sched_yield();
    }
    EXPECT_EQ(::kill(pid, 0), -1) << pid << " is still there";
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(SpawnTest, MovingAHandleKeepsTheChild) {
  child first = spawn({"sh", "-c", "exit 5"});
  child second = std::move(first);
  EXPECT_EQ(first.pidfd(), -1);
  child third;
  third = std::move(second);
  EXPECT_EQ(third.wait().code, 5);
}

TEST_F(SpawnTest, ManyInParallelThreadsEachGetTheirOwnStatus) {
  std::vector<child> children;
  for (int i = 0; i < 50; ++i) {
    children.push_back(spawn({"sh", "-c", "exit " + std::to_string(i)}));
  }
  for (int i = 49; i >= 0; --i) EXPECT_EQ(children[static_cast<std::size_t>(i)].wait().code, i);
}

TEST_F(SpawnTest, ExecReturnsOnlyTheReasonAndLeavesDispositionsAlone) {
  EXPECT_EQ(sigrun::process::exec({"/no/such/program"}), std::errc::no_such_file_or_directory);
  EXPECT_EQ(sigrun::process::exec({}), std::errc::invalid_argument);
}

}  // namespace
