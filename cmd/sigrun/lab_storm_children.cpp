// SPDX-License-Identifier: Apache-2.0
//
// Actors that make children: by fork(2) and by process::spawn(). A child looks whether it has what
// was there before the runtime, sends some signals to the run, and ends, by a signal perhaps.
#include "lab_storm_run.hpp"

#include "lab.hpp"
#include "tool_text.hpp"

#include "sys/signal.hpp"

#include <sigrun/process.hpp>
#include <sigrun/time.hpp>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace sigrun::cmd::lab {
namespace {

using namespace std::chrono_literals;

enum child_code { well = 0, wrong_mask = 81, not_killed = 83, wrong_disposition = 100 };

// Whether this process has the mask `want`, and handlers for the flipped signals alone (or none).
// A wrong disposition's signal number is added to the code.
int inherited(signal_set want, bool base_handlers) noexcept {
  if (sys::current_mask() != want) return wrong_mask;
  constexpr auto of_glibc = signal_set::of(32, 33);
  for (int signo = 1; signo <= signal_max; ++signo) {
    if (of_glibc.has(signo)) continue;  // has handlers of its own for them
    sys::kernel_sigaction action;
    if (sys::failed(sys::rt_sigaction(signo, nullptr, &action))) continue;
    const bool flips = signo == traffic::flipped_thread || signo == traffic::flipped_go;
    const bool by_default = action.handler == sys::handler_default;
    if (by_default == (flips && base_handlers)) return wrong_disposition + signo;
  }
  return well;
}

// Only what may be done in a forked child of a program with threads: system calls.
[[noreturn]] void be_forked(storm& in, int parent, std::uint64_t first, unsigned sends,
                            int dies_by) noexcept {
  const int code = inherited(in.start_mask, true);
  storm_page& page = in.page();
  if (code == wrong_mask) page.wrong_mask.store(sys::current_mask().bits());
  if (code != well) ::_exit(code);
  for (unsigned i = 0; i < sends; ++i) {
    siginfo_t info{};
    info.si_signo = traffic::rt(0);
    info.si_code = SI_QUEUE;
    info.si_pid = sys::getpid();
    info.si_uid = sys::getuid();
    info.si_value.sival_ptr = reinterpret_cast<void*>(first + i);
    if (sys::failed(sys::rt_sigqueueinfo(parent, traffic::rt(0), &info))) {
      page.refused.fetch_add(1);
      continue;
    }
    page.sent[traffic::rt(0)].count.fetch_add(1);
    page.sent[traffic::rt(0)].sum.fetch_add(mix(first + i));
    page.under_way.fetch_add(1);
  }
  if (dies_by == 0) ::_exit(well);
  // In the parent this signal is subscribed; here it kills.
  sys::kill(sys::getpid(), dies_by);
  ::_exit(not_killed);
}

void expect_end(storm& in, int status, int dies_by, const char* how) {
  const bool as_meant = dies_by == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == well
                                     : WIFSIGNALED(status) && WTERMSIG(status) == dies_by;
  if (as_meant) {
    in.children_well.fetch_add(1);
    return;
  }
  std::string what = std::string{name_of(book_id::children)} + ": a " + how + " child ";
  if (WIFSIGNALED(status)) {
    what += "was killed by " + std::string{signal_name(WTERMSIG(status))};
  } else if (WEXITSTATUS(status) == wrong_mask) {
    what += "had another mask than the program was started with: " +
            format_set(signal_set{in.page().wrong_mask.load()});
  } else if (WEXITSTATUS(status) > wrong_disposition) {
    what += "had another disposition of " +
            std::string{signal_name(WEXITSTATUS(status) - wrong_disposition)} +
            " than the program was started with";
  } else {
    what += "exited with " + std::to_string(WEXITSTATUS(status));
  }
  in.fail(what);
}

// An interrupted wait goes on.
int wait_for(int pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

void fork_children(actor& self) {
  storm& in = self.in();
  constexpr int ends[] = {0, 0, SIGUSR1, SIGUSR2, traffic::rt(0), SIGTERM};
  while (self.more()) {
    const int parent = ::getpid();
    const int dies_by = ends[self.roll().below(std::size(ends))];
    const auto sends = static_cast<unsigned>(self.roll().below(4));
    const std::uint64_t first = self.next();
    for (unsigned i = 1; i < sends; ++i) self.next();
    const pid_t child = ::fork();
    if (child == 0) be_forked(in, parent, first, sends, dies_by);
    if (child > 0) {
      in.children_made.fetch_add(1);
      expect_end(in, foreign_call([child] { return wait_for(child); }), dies_by, "forked");
    }
    sleep_for(std::chrono::microseconds{self.roll().below(8000)});
  }
}

// It runs this very program as `sigrun lab burst`.
void spawn_children(actor& self) {
  storm& in = self.in();
  const std::string parent = std::to_string(::getpid());
  while (self.more() && self.room()) {
    const int signo = traffic::rt(static_cast<int>(self.roll().below(3)));
    const std::uint64_t count = 1 + self.roll().below(10);
    std::vector<std::uint64_t> values;
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(self.next());
    process::child child =
        process::spawn({"/proc/self/exe", "lab", "burst", parent, std::to_string(signo),
                        std::to_string(values.front()), std::to_string(count)});
    in.children_made.fetch_add(1);
    const process::exit_status end = child.wait();
    if (!end.success()) {
      expect_end(in, end.signal != 0 ? end.signal : end.code << 8, 0, "spawned");
      return;
    }
    in.children_well.fetch_add(1);
    for (const std::uint64_t value : values) self.entered(signo, value);
    sleep_for(std::chrono::microseconds{self.roll().below(8000)});
  }
}

int burst_main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int parent = parse_id(argv[1], "process id");
  const int signo = parse_id(argv[2], "signal number");
  std::uint64_t value = parse_count(argv[3], "the first value", UINT64_MAX);
  const int code = inherited({}, false);
  if (code == wrong_mask) {
    std::fprintf(stderr, "sigrun lab burst: has %s blocked\n",
                 format_set(sys::current_mask()).c_str());
  }
  if (code != well) return code;
  for (std::uint64_t left = parse_count(argv[4], "the count", 1000); left != 0; --left, ++value) {
    sigval with;
    with.sival_ptr = reinterpret_cast<void*>(value);
    // The kernel's queue is for all processes of a user; it empties.
    for (int tries = 0; ::sigqueue(parent, signo, with) != 0; ++tries) {
      if (errno != EAGAIN || tries == 10'000) return 1;
      ::poll(nullptr, 0, 1);
    }
  }
  return well;
}

}  // namespace sigrun::cmd::lab
