// SPDX-License-Identifier: Apache-2.0
//
// Each kind of fault in a process of its own, once for each way to catch it. A line of output for
// each: way, outcome, kind.
#include "kinds.hpp"

#include <sigrun/go.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

using catching::kind;
using catching::outcome;

bool as_wanted(const kind& one, const sigrun::fault& what) {
  if (what.signal != one.signal) return false;
  return one.code == catching::any_code || what.code == one.code;
}

[[noreturn]] void child(const kind& one, catching::way how) {
  ::alarm(20);
  ::dup2(::open("/dev/null", O_WRONLY), 2);
  outcome got = outcome::unexpected;
  sigrun::run([&] {
    sigrun::fault what;
    got = how(one, what);
    const bool caught = got == outcome::thrown || got == outcome::skips || got == outcome::returned;
    if (caught && !as_wanted(one, what)) got = outcome::unexpected;
  });
  if (!catching::lock_is_right(got)) got = outcome::unexpected;
  std::_Exit(static_cast<char>(got));
}

outcome try_out(const kind& one, catching::way how) {
  const pid_t pid = ::fork();
  if (pid == 0) child(one, how);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) return static_cast<outcome>(WEXITSTATUS(status));
  if (WTERMSIG(status) == one.signal) return outcome::dies;
  return WTERMSIG(status) == SIGABRT ? outcome::aborts : outcome::unexpected;
}

}  // namespace

int main() {
  for (std::size_t i = 0; i < catching::kinds_size; ++i) {
    const kind& one = catching::kinds[i];
    std::printf("guarded %c %s\n", static_cast<char>(try_out(one, &catching::by_guard)), one.name);
    std::printf("panic %c %s\n", static_cast<char>(try_out(one, &catching::by_panic)), one.name);
    std::fflush(stdout);
  }
}
