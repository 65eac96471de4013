// SPDX-License-Identifier: Apache-2.0
#include "support/leak_guard.hpp"

#include "fiber/sanitizer.hpp"
#include "sigsafe/intake.hpp"
#include "support/proc_self.hpp"
#include "sys/clock.hpp"

#include <sigrun/signal_names.hpp>

#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

namespace sigrun::test {
namespace {

std::map<int, std::string> open_fds() {
  std::map<int, std::string> fds;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", error}) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    // The directory that is being read is an fd as well, and gone by now.
    if (target.find("/fd") != std::string::npos && target.rfind("/proc/", 0) == 0) continue;
    fds.emplace(std::atoi(entry.path().filename().c_str()), target);
  }
  return fds;
}

std::map<int, std::string> live_threads() {
  std::map<int, std::string> threads;
  const int pid = sys::getpid();
  for (const int tid : thread_ids(pid)) {
    const auto status = read_task_signals(pid, tid);
    if (status && status->state != 'X' && status->state != 'Z') threads.emplace(tid, status->name);
  }
  return threads;
}

bool is_runtime_thread(const std::string& name) { return name.rfind("sigrun-", 0) == 0; }

bool is_runtime_fd(const std::string& target) {
  return target == "anon_inode:[eventfd]" || target == "anon_inode:[eventpoll]";
}

std::string describe(const sys::kernel_sigaction& action) {
  if (action.handler == sys::handler_default) return "SIG_DFL";
  if (action.handler == sys::handler_ignore) return "SIG_IGN";
  char text[64];
  std::snprintf(text, sizeof text, "handler %#lx flags %#lx",
                static_cast<unsigned long>(action.handler), action.flags);
  return text;
}

void compare_fds(const process_snapshot& before, const process_snapshot& now,
                 const leak_allowance& allowed, std::vector<std::string>& leaks) {
  for (const auto& [fd, target] : now.fds) {
    if (before.fds.contains(fd)) continue;
    if (allowed.runtime_fds && is_runtime_fd(target)) continue;
    leaks.push_back("fd " + std::to_string(fd) + " is still open: " + target);
  }
  for (const auto& [fd, target] : before.fds) {
    if (!now.fds.contains(fd))
      leaks.push_back("fd " + std::to_string(fd) + " was closed: " + target);
  }
}

void compare_threads(const process_snapshot& before, const process_snapshot& now,
                     const leak_allowance& allowed, std::vector<std::string>& leaks) {
  for (const auto& [tid, name] : now.threads) {
    if (before.threads.contains(tid)) continue;
    if (allowed.runtime_threads && is_runtime_thread(name)) continue;
    leaks.push_back("thread " + std::to_string(tid) + " still runs: " + name);
  }
}

// libc leaves its own flags behind where the handler is SIG_DFL or SIG_IGN; they mean nothing.
bool same(const sys::kernel_sigaction& a, const sys::kernel_sigaction& b) {
  if (a.handler != b.handler) return false;
  return a.handler <= sys::handler_ignore || a == b;
}

void compare_signals(const process_snapshot& before, const process_snapshot& now,
                     const leak_allowance& allowed, std::vector<std::string>& leaks) {
  const signal_set changed = ((before.mask - now.mask) | (now.mask - before.mask)) - allowed.mask;
  changed.for_each([&](int signo) {
    leaks.push_back(std::string{signal_name(signo)} +
                    (now.mask.has(signo) ? " is left blocked" : " is left unblocked"));
  });
  for (int signo = 1; signo <= signal_max; ++signo) {
    const auto index = static_cast<std::size_t>(signo);
    if (allowed.actions.has(signo) || same(before.actions[index], now.actions[index])) continue;
    // The scheduler has started, and reports stack overflows from now on.
    if (signo == SIGSEGV && allowed.runtime_threads && sigsafe::is_ours(now.actions[index]))
      continue;
    leaks.push_back(std::string{signal_name(signo)} + " had " + describe(before.actions[index]) +
                    ", has " + describe(now.actions[index]));
  }
}

}  // namespace

process_snapshot process_snapshot::take() {
  process_snapshot now;
  now.fds = open_fds();
  now.threads = live_threads();
  now.mask = sys::current_mask();
  for (int signo = 1; signo <= signal_max; ++signo) {
    sys::rt_sigaction(signo, nullptr, &now.actions[static_cast<std::size_t>(signo)]);
  }
  return now;
}

std::vector<std::string> leaks_since(const process_snapshot& before,
                                     const leak_allowance& allowed) {
  // A joined thread may still be listed for a moment: the kernel wakes the joiner first.
  const std::int64_t deadline = sys::now_ns() + 1'000'000'000;
  for (;;) {
    std::vector<std::string> leaks;
    const process_snapshot now = process_snapshot::take();
    compare_threads(before, now, allowed, leaks);
    if (!leaks.empty() && sys::now_ns() < deadline) {
      sched_yield();
      continue;
    }
    compare_fds(before, now, allowed, leaks);
    compare_signals(before, now, allowed, leaks);
    return leaks;
  }
}

leak_guard::leak_guard(leak_allowance allowed) : allowed_(allowed) {
  // ThreadSanitizer has a thread of its own from the program's first one on.
  if (SIGRUN_TSAN) std::thread([] {}).join();
  before_ = process_snapshot::take();
}

leak_guard::~leak_guard() {
  for (const std::string& leak : leaks_since(before_, allowed_)) ADD_FAILURE() << leak;
}

}  // namespace sigrun::test
