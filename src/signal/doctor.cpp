// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with the process's own signal set-up. Reads /proc/self; nothing here is fast.
#include "signal/runtime.hpp"

#include "sigsafe/thread_status.hpp"

#include <sys/types.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace sigrun::signal {
namespace {

struct thread_masks {
  int tid = 0;
  std::string name;
  signal_set blocked;
  signal_set pending;  // for this thread alone
};

// A thread may end while it is looked at; it is left out then.
std::vector<thread_masks> read_threads() {
  std::vector<thread_masks> threads;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const int tid = std::atoi(entry.path().filename().c_str());
    sigsafe::thread_status status;
    if (tid == 0 || !sigsafe::read_thread_status(tid, status)) continue;
    threads.push_back({tid, status.name, status.blocked, status.pending});
  }
  return threads;
}

std::string object_at(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  std::string text;
  while (std::getline(maps, text)) {
    unsigned long low = 0;
    unsigned long high = 0;
    if (std::sscanf(text.c_str(), "%lx-%lx", &low, &high) != 2) continue;
    if (address < low || address >= high) continue;
    const std::size_t path = text.find_first_of("/[");
    return path == std::string::npos ? "unnamed memory" : text.substr(path);
  }
  return "no mapping";
}

std::string names_of(signal_set set) {
  std::string text;
  set.for_each([&text](int signo) {
    if (!text.empty()) text += ' ';
    text += signal_name(signo);
  });
  return text;
}

void look_at_thread(const thread_masks& thread, signal_set waited, signal_set subscribed,
                    bool known, std::vector<finding>& findings) {
  const std::string who = "thread " + std::to_string(thread.tid) + " (" + thread.name + ")";
  const signal_set open = waited - thread.blocked;
  if (!known && !open.empty()) {
    findings.push_back({finding::kind::thread_steals, open.first(), thread.tid, thread.name, "",
                        who + " has " + names_of(open) +
                            " open: the kernel may interrupt it instead of waking the thread with "
                            "the signal duty. Call close_thread(" +
                            std::to_string(thread.tid) + ")."});
  }
  const signal_set stuck = thread.pending & thread.blocked & subscribed;
  if (!stuck.empty()) {
    findings.push_back({finding::kind::thread_blocks, stuck.first(), thread.tid, thread.name, "",
                        who + " blocks " + names_of(stuck) +
                            ", sent to it alone: nobody else can take it. Send it to the process "
                            "(kill, not pthread_kill or raise), or call open_thread(" +
                            std::to_string(thread.tid) + ")."});
  }
}

}  // namespace

std::vector<finding> runtime::doctor() {
  std::vector<finding> findings;
  const signal_set subscribed_now = subscribed();
  const bool strict = options_.isolate == isolation::strict;
  for (const thread_masks& thread : read_threads()) {
    const bool duty = thread.tid == sigsafe::the_intake().standby_tid.load();
    look_at_thread(thread, strict ? closable() : signal_set{}, subscribed_now, duty, findings);
  }
  subscribed_now.for_each([&findings](int signo) {
    sys::kernel_sigaction now;
    sys::rt_sigaction(signo, nullptr, &now);
    if (sigsafe::is_ours(now)) return;
    const std::string object = now.handler == sys::handler_default  ? "SIG_DFL"
                               : now.handler == sys::handler_ignore ? "SIG_IGN"
                                                                    : object_at(now.handler);
    findings.push_back({finding::kind::handler_replaced, signo, 0, "", object,
                        std::string(signal_name(signo)) + ": our handler was replaced by one in " +
                            object + ". rearm() installs it again and can chain the other."});
  });
  for (int signo = 1; signo <= signal_max; ++signo) {
    sys::kernel_sigaction now;
    if (sys::failed(sys::rt_sigaction(signo, nullptr, &now))) continue;
    const bool foreign = now.handler > sys::handler_ignore && !sigsafe::is_ours(now);
    if (!foreign || (now.flags & SA_ONSTACK) != 0) continue;
    const std::string object = object_at(now.handler);
    findings.push_back({finding::kind::no_alternate_stack, signo, 0, "", object,
                        std::string(signal_name(signo)) + ": the handler in " + object +
                            " lacks SA_ONSTACK and would run on whatever stack it interrupts."});
  }
  return findings;
}

int runtime::rearm(chain previous) {
  const std::lock_guard hold{control_};
  sigsafe::intake& in = sigsafe::the_intake();
  int rearmed = 0;
  signal_set chained_now;
  subscribed().for_each([&](int signo) {
    sys::kernel_sigaction now;
    sys::rt_sigaction(signo, nullptr, &now);
    if (sigsafe::is_ours(now)) return;
    const signal_set one = signal_set::of(signo);
    if (previous != chain::none && now.handler > sys::handler_ignore) {
      in.original[signo] = now;
      auto& when = previous == chain::before ? in.chain_before : in.chain_after;
      when.fetch_or(one.bits());
      chained_now |= one;
    }
    const sys::kernel_sigaction ours = sigsafe::our_action();
    sys::rt_sigaction(signo, &ours, nullptr);
    ++rearmed;
  });
  if (!chained_now.empty()) {
    chained_.fetch_or(chained_now.bits());
    sigsafe::thread_block& self = here();
    duty_.own(self);
    publish_sets();
    duty_.release(self);
    reopen(self, chained_now);
  }
  return rearmed;
}

}  // namespace sigrun::signal
