// SPDX-License-Identifier: Apache-2.0
//
// Orphans: made by real double forks, reaped when they end, told, and never mistaken for others'
// children.
#include <sigrun/children.hpp>
#include <sigrun/go.hpp>
#include <sigrun/orphans.hpp>

#include <gtest/gtest.h>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sigrun::chan_status;
using sigrun::process::orphan;
using sigrun::process::orphans;
using sigrun::process::start;

// A job that ends at once and leaves behind what writes its number and does `then`.
sigrun::process::job leave_behind(const std::string& then) {
  return start({"sh", "-c", "exec 3<&0; (read line; " + then + ") <&3 & echo $!"},
               {.pipe_in = true, .pipe_out = true});
}

int number_from(sigrun::process::job& child) {
  std::string text;
  char c = 0;
  while (child.out.read({&c, 1}) == 1 && c != '\n') text += c;
  return std::atoi(text.c_str());
}

// What the orphan waits for. Its parent has ended by then.
void let_it_end(sigrun::process::job& child) { child.in.close(); }

bool next(const orphans& from, orphan& one) {
  return from.events().recv_for(20s, one) == chan_status::ok;
}

TEST(OrphansTest, WhatAJobLeavesBehindIsReapedAndTold) {
  std::atomic<int> told{0};
  orphans adopted({.ended = [&](const orphan& one) { told = one.pid; }});
  for (const auto& [then, code, signo] :
       {std::tuple{"exit 7", 7, 0}, {"kill -KILL $(sh -c 'echo $PPID')", 0, SIGKILL}}) {
    auto child = leave_behind(then);
    const int pid = number_from(child);
    EXPECT_TRUE(child.wait().success());
    let_it_end(child);
    orphan one;
    ASSERT_TRUE(next(adopted, one));
    EXPECT_EQ(one.pid, pid);
    EXPECT_EQ(one.group, child.pid());
    EXPECT_EQ(one.status.code, code);
    EXPECT_EQ(one.status.signal, signo);
    EXPECT_GT(one.rss_max_kib, 0);
  }
  EXPECT_EQ(adopted.stats().reaped, 2u);
  EXPECT_EQ(adopted.stats().failed, 2u);
  EXPECT_EQ(adopted.stats().left, 0u);
}

TEST(OrphansTest, ACallThatThrowsHoldsNothingUp) {
  orphans adopted({.ended = [](const orphan&) { throw std::runtime_error("no"); }});
  for (int i = 0; i < 2; ++i) {
    auto child = leave_behind("exit 7");
    number_from(child);
    child.wait();
    let_it_end(child);
    orphan one;
    ASSERT_TRUE(next(adopted, one));
    EXPECT_EQ(one.status.code, 7);
  }
}

TEST(OrphansTest, NoStatusOfAJobIsTakenHoweverManyEndBesideOrphans) {
  orphans adopted({.all = true});
  for (int round = 0; round < 10; ++round) {
    std::vector<sigrun::process::job> jobs;
    for (int i = 0; i < 4; ++i) {
      jobs.push_back(start({"sh", "-c", "(exit 3) & exit " + std::to_string(40 + i)}));
    }
    for (int i = 0; i < 4; ++i) EXPECT_EQ(jobs[static_cast<std::size_t>(i)].wait().code, 40 + i);
  }
  // sh has reaped none of its own: it exits at once, mostly. What came here has its true status.
  while (adopted.stats().left != 0) std::this_thread::yield();
  orphan one;
  while (adopted.events().try_recv(one)) EXPECT_EQ(one.status.code, 3);
}

TEST(OrphansTest, AForkedChildIsLeftToWhoeverForkedIt) {
  orphans adopted;
  const pid_t forked = ::fork();
  if (forked == 0) ::_exit(3);
  ASSERT_GT(forked, 0);
  // One that is taken, so that it has been looked at both.
  auto child = leave_behind("exit 1");
  number_from(child);
  child.wait();
  let_it_end(child);
  orphan one;
  ASSERT_TRUE(next(adopted, one));
  EXPECT_NE(one.pid, forked);
  while (adopted.stats().left == 0) std::this_thread::yield();
  int status = 0;
  EXPECT_EQ(::waitpid(forked, &status, 0), forked);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(OrphansTest, WithAllADaemonInASessionOfItsOwnIsTakenToo) {
  orphans adopted({.all = true});
  auto child = start({"setsid", "sh", "-c", "(exit 9) & exit 0"});
  child.wait();
  // sh itself, or what it forked: setsid(1) forks when it leads a group, as a job does.
  bool seen = false;
  orphan one;
  while (!seen && next(adopted, one)) seen = one.status.code == 9 || one.status.success();
  EXPECT_TRUE(seen);
}

TEST(OrphansTest, ThereIsOneAndItPutsTheSettingBack) {
  const auto is_subreaper = [] {
    int on = 0;
    ::prctl(PR_GET_CHILD_SUBREAPER, &on);
    return on != 0;
  };
  const bool before = is_subreaper();
  {
    orphans one;
    EXPECT_TRUE(is_subreaper());
    EXPECT_THROW(orphans(), std::logic_error);
  }
  EXPECT_EQ(is_subreaper(), before);
  orphans again({.subreaper = false});
  EXPECT_EQ(is_subreaper(), before);
}

}  // namespace
