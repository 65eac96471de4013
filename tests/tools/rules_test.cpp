// SPDX-License-Identifier: Apache-2.0
//
// Goal: the doctor's rules at their edges, on looks made up for the purpose.
#include "doctor_rules.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace sigrun::cmd {
namespace {

doctor_input healthy(int threads = 1) {
  doctor_input in;
  in.view.pid = 100;
  for (int i = 0; i < threads; ++i) {
    procfs::thread_view thread;
    thread.status.name = "t";
    thread.status.state = 'S';
    thread.status.tgid = 100;
    thread.status.tid = 100 + i;
    thread.status.ns_pids = {100 + i};
    thread.status.queue_limit = 1000;
    in.view.threads.push_back(thread);
  }
  return in;
}

const finding* find(const std::vector<finding>& findings, std::string_view id) {
  for (const finding& f : findings) {
    if (f.id == id) return &f;
  }
  return nullptr;
}

void set_blocked(procfs::thread_view& thread, signal_set set) {
  thread.status.blocked = set;
  thread.ever_blocked = set;
}

TEST(Rules, find_nothing_in_a_healthy_look) { EXPECT_TRUE(diagnose(healthy(3)).empty()); }

TEST(Rules, let_library_threads_block_everything) {
  // What well-behaved libraries do: the initial thread alone is open.
  doctor_input in = healthy(3);
  set_blocked(in.view.threads[1],
              signal_set::all() - signal_set::of(9, 19, 32, 33, 4, 5, 7, 8, 11, 31));
  set_blocked(in.view.threads[2], in.view.threads[1].status.blocked);
  EXPECT_TRUE(diagnose(in).empty());
}

TEST(Rules, let_a_thread_open_a_handled_signal_that_others_block) {
  doctor_input in = healthy(2);
  set_blocked(in.view.threads[0], signal_set::of(SIGUSR1));
  for (auto& thread : in.view.threads) thread.status.caught = signal_set::of(SIGUSR1);
  EXPECT_TRUE(diagnose(in).empty());
}

TEST(Rules, see_the_thief_of_a_signalfd_and_say_that_its_handler_runs_there) {
  doctor_input in = healthy(2);
  in.view.signalfds = signal_set::of(SIGUSR1);
  set_blocked(in.view.threads[0], signal_set::of(SIGUSR1));
  for (auto& thread : in.view.threads) thread.status.caught = signal_set::of(SIGUSR1);
  const auto findings = diagnose(in);
  const finding* const f = find(findings, "thread-steals");
  ASSERT_NE(f, nullptr);
  EXPECT_EQ(f->tids, std::vector<int>{101});
  EXPECT_NE(f->why.find("For SIGUSR1 the handler runs there instead."), std::string::npos);
}

TEST(Rules, forgive_a_thread_that_opens_a_signal_only_for_a_moment) {
  doctor_input in = healthy(2);
  in.view.signalfds = signal_set::of(SIGUSR1);
  set_blocked(in.view.threads[0], signal_set::of(SIGUSR1));
  in.view.threads[1].ever_blocked = signal_set::of(SIGUSR1);
  EXPECT_EQ(find(diagnose(in), "thread-steals"), nullptr);
}

TEST(Rules, tell_an_unread_signalfd_from_a_lost_signal) {
  doctor_input in = healthy();
  set_blocked(in.view.threads[0], signal_set::of(SIGUSR1));
  in.view.threads[0].status.shared_pending = signal_set::of(SIGUSR1);
  EXPECT_EQ(find(diagnose(in), "pending-stuck")->how_bad, severity::error);
  in.view.signalfds = signal_set::of(SIGUSR1);
  EXPECT_EQ(find(diagnose(in), "pending-stuck")->how_bad, severity::warning);
}

TEST(Rules, grade_the_queue_at_four_fifths_and_at_the_limit) {
  doctor_input in = healthy();
  in.view.threads[0].status.queued = 799;
  EXPECT_TRUE(diagnose(in).empty());
  in.view.threads[0].status.queued = 800;
  EXPECT_EQ(find(diagnose(in), "queue-near-limit")->how_bad, severity::warning);
  in.view.threads[0].status.queued = 1000;
  EXPECT_EQ(find(diagnose(in), "queue-near-limit")->how_bad, severity::error);
}

TEST(Rules, accept_a_pid_1_that_catches_or_awaits) {
  doctor_input in = healthy();
  in.view.threads[0].status.ns_pids = {100, 1};
  EXPECT_EQ(find(diagnose(in), "pid1-no-handler")->signals, signal_set::of(SIGINT, SIGTERM));
  in.view.threads[0].status.caught = signal_set::of(SIGTERM);
  EXPECT_EQ(find(diagnose(in), "pid1-no-handler")->signals, signal_set::of(SIGINT));
  in.view.threads[0].awaited = signal_set::of(SIGINT);
  EXPECT_EQ(find(diagnose(in), "pid1-no-handler"), nullptr);
}

TEST(Rules, know_kernel_threads_tracers_and_hidden_entries) {
  doctor_input in = healthy();
  in.view.threads[0].status.tracer_pid = 7;
  in.view.unreadable = {"/proc/100/task/100/syscall: Operation not permitted"};
  const auto findings = diagnose(in);
  EXPECT_NE(find(findings, "traced"), nullptr);
  EXPECT_EQ(find(findings, "incomplete")->evidence, in.view.unreadable);
  in.view.threads[0].status.kernel_thread = true;
  in.view.threads[0].status.ignored = signal_set::all();
  ASSERT_EQ(diagnose(in).size(), 1U);
  EXPECT_EQ(diagnose(in)[0].id, "kernel-thread");
}

TEST(Rules, put_the_worst_first_and_bound_the_evidence) {
  doctor_input in = healthy();
  in.view.threads[0].status.ignored = signal_set::of(SIGHUP, SIGPIPE);
  in.view.threads[0].status.ns_pids = {100, 1};
  for (int i = 0; i < 1000; ++i) in.zombies.push_back({1000 + i, "z"});
  const auto findings = diagnose(in);
  EXPECT_EQ(findings.front().how_bad, severity::error);
  EXPECT_EQ(findings.back().how_bad, severity::note);
  EXPECT_EQ(find(findings, "unreaped-children")->evidence.size(), 9U);
}

}  // namespace
}  // namespace sigrun::cmd
