// SPDX-License-Identifier: Apache-2.0
//
// Goal: the readers see this very process as it is, and name what they cannot read.
#include "procfs/process.hpp"

#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <gtest/gtest.h>

#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <future>
#include <semaphore>
#include <stdexcept>
#include <thread>

namespace sigrun::procfs {
namespace {

const thread_view* find(const process_view& view, int tid) {
  for (const thread_view& thread : view.threads) {
    if (thread.status.tid == tid) return &thread;
  }
  return nullptr;
}

TEST(ReadText, names_the_path_and_the_reason) {
  try {
    read_text("/proc/self/no-such-entry");
    FAIL();
  } catch (const error& problem) {
    EXPECT_STREQ(problem.what(), "/proc/self/no-such-entry: No such file or directory");
    EXPECT_EQ(problem.path(), "/proc/self/no-such-entry");
    EXPECT_TRUE(problem.vanished());
  }
}

TEST(ReadText, stops_at_its_bound) {
  EXPECT_GT(read_text("/proc/self/status", 65536).size(), 100U);
  try {
    read_text("/proc/self/status", 100);
    FAIL();
  } catch (const error& problem) {
    EXPECT_STREQ(problem.what(), "/proc/self/status: File too large");
    EXPECT_FALSE(problem.vanished());
  }
}

TEST(ListNumbers, is_bounded_and_refuses_files) {
  EXPECT_THROW(list_numbers("/proc", 1), error);
  EXPECT_THROW(list_numbers("/proc/self/status", 10), error);
  EXPECT_EQ(list_numbers("/proc/self/task", 10), std::vector<int>{getpid()});
}

TEST(Readers, read_every_entry_of_this_process) {
  const int pid = getpid();
  EXPECT_EQ(read_status(pid, pid).tgid, pid);
  EXPECT_EQ(read_stat(pid).pid, pid);
  const auto maps = read_maps(pid);
  EXPECT_NE(find_mapping(maps, reinterpret_cast<std::uint64_t>(&maps)), nullptr);
  bool has_pending_limit = false;
  for (const resource_limit& limit : read_limits(pid)) {
    has_pending_limit |= limit.name == "Max pending signals";
  }
  EXPECT_TRUE(has_pending_limit);
  EXPECT_EQ(read_wchan(pid, pid), "");
}

TEST(ReadProcess, sees_masks_and_pending_signals_of_each_thread) {
  const signal_set mask = signal_set::of(SIGUSR1, 64);
  std::promise<int> blocked;
  std::binary_semaphore done{0};
  std::thread other([&] {
    sys::set_mask(mask);
    sys::tgkill(getpid(), sys::gettid(), 64);
    blocked.set_value(sys::gettid());
    done.acquire();
    siginfo_t info;
    sys::rt_sigtimedwait(mask, &info, &sys::no_wait);
  });
  const int tid = blocked.get_future().get();
  const process_view view = read_process(getpid(), detail::masks);
  const thread_view* const thread = find(view, tid);
  ASSERT_NE(thread, nullptr);
  EXPECT_EQ(thread->status.blocked, mask);
  EXPECT_EQ(thread->status.pending, signal_set::of(64));
  EXPECT_EQ(view.main().tid, getpid());
  EXPECT_EQ(view.blocked_by_some() & mask, mask);
  EXPECT_FALSE(view.blocked_by_all().has(SIGUSR1));
  done.release();
  other.join();
}

TEST(ReadProcess, sees_what_a_thread_waits_for_and_what_a_signalfd_reads) {
  // A child, because a process may always be looked into by its parent and, unlike a thread of our
  // own, it cannot change this program's masks.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const int pid = fork();
  if (pid == 0) {
    alarm(30);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signalfd(-1, &set, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    (void)!write(ready[1], "r", 1);
    int got = 0;
    sigwait(&set, &got);
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  process_view view;
  do {  // Bounded by the child's alarm: it enters sigwait right after it wrote.
    view = read_process(pid, detail::full);
  } while (!view.threads[0].waits);
  EXPECT_EQ(view.threads[0].awaited, signal_set::of(SIGTERM, SIGINT));
  EXPECT_EQ(view.signalfds, signal_set::of(SIGUSR2));
  EXPECT_EQ(view.taken_synchronously(), signal_set::of(SIGTERM, SIGINT, SIGUSR2));
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  close(ready[0]);
  close(ready[1]);
}

TEST(ReadProcess, refuses_a_thread_of_another_process_and_a_missing_one) {
  std::promise<int> started;
  std::binary_semaphore done{0};
  std::thread other([&] {
    started.set_value(sys::gettid());
    done.acquire();
  });
  const int tid = started.get_future().get();
  try {
    read_process(tid, detail::masks);
    ADD_FAILURE();
  } catch (const std::invalid_argument& problem) {
    EXPECT_EQ(std::string{problem.what()}, std::to_string(tid) + " is a thread of process " +
                                               std::to_string(getpid()) + ", not a process");
  }
  done.release();
  other.join();
  EXPECT_THROW(read_process(INT_MAX, detail::masks), error);
}

TEST(Steady, keeps_what_both_looks_saw) {
  process_view older;
  older.pid = 1;
  older.threads.resize(2);
  older.threads[0].status.tid = 1;
  older.threads[0].status.blocked = signal_set::of(SIGTERM, SIGINT);
  older.threads[0].ever_blocked = older.threads[0].status.blocked;
  older.threads[0].status.state = 'S';
  older.threads[1].status.tid = 2;
  process_view newer = older;
  newer.threads[0].status.blocked = signal_set::of(SIGTERM);
  newer.threads[0].ever_blocked = signal_set::of(SIGTERM);
  newer.threads[0].status.state = 'D';
  newer.threads[0].awaited = signal_set::of(SIGHUP);
  newer.threads[1].status.tid = 3;
  const process_view both = steady(older, newer);
  ASSERT_EQ(both.threads.size(), 1U);
  EXPECT_EQ(both.threads[0].status.blocked, signal_set::of(SIGTERM));
  EXPECT_EQ(both.threads[0].ever_blocked, signal_set::of(SIGTERM, SIGINT));
  EXPECT_EQ(both.threads[0].awaited, signal_set::of(SIGHUP));
  EXPECT_EQ(both.threads[0].status.state, 'S');
  newer.threads[0].status.tid = 9;
  EXPECT_THROW(steady(older, newer), error);
}

TEST(ZombiesOf, finds_an_unreaped_child) {
  const int pid = fork();
  if (pid == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  const auto zombies = zombies_of(getpid());
  ASSERT_EQ(zombies.size(), 1U);
  EXPECT_EQ(zombies[0].pid, pid);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  EXPECT_TRUE(zombies_of(getpid()).empty());
}

}  // namespace
}  // namespace sigrun::procfs
