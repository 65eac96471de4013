// SPDX-License-Identifier: Apache-2.0
//
// Goal: each finding of `sigrun doctor` is provoked by a program that has just that, and a healthy
// program has none. Method: a child is brought into the state, says so, and is looked at.
#include "tools/tool_runner.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <future>
#include <thread>

namespace sigrun::test {
namespace {

using nlohmann::json;

sigset_t set_of(std::initializer_list<int> signos) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signo : signos) sigaddset(&set, signo);
  return set;
}

void block(std::initializer_list<int> signos) {
  const sigset_t set = set_of(signos);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int stay() {
  announce_ready();
  wait_for_go();
  return 0;
}

json doctor(int pid, int code, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"doctor", "--interval", "10ms", std::to_string(pid)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return tool_json(arguments, code);
}

// The finding with this id; null when there is none.
json finding(const json& report, const std::string& id) {
  for (const json& f : report.value("findings", json::array())) {
    if (f.at("id") == id) return f;
  }
  return {};
}

// The child's report must have this finding, whole.
void expect_finding(const std::function<int()>& body, const child_options& options, int code,
                    const std::string& id, const std::string& severity, const json& signals) {
  child_process child(body, options);
  expect_ready(child);
  const json report = doctor(child.pid(), code);
  const json f = finding(report, id);
  ASSERT_FALSE(f.is_null()) << report.dump(2);
  EXPECT_EQ(f.at("severity"), severity);
  EXPECT_EQ(f.at("signals"), signals) << f.dump(2);
  for (const char* const key : {"text", "why", "advice"}) EXPECT_NE(f.at(key), "") << key;
  EXPECT_FALSE(f.at("evidence").empty());
  EXPECT_EQ(report.at("healthy"), code == 0);
}

TEST(Doctor, finds_nothing_in_a_healthy_program) {
  child_process child(stay);
  expect_ready(child);
  const json report = doctor(child.pid(), 0, {"--strict"});
  EXPECT_EQ(report.at("findings"), json::array()) << report.dump(2);
  EXPECT_EQ(report.at("pid"), child.pid());
  const child_result text = tool({"doctor", std::to_string(child.pid())});
  EXPECT_NE(text.out.find("nothing is wrong with its signals"), std::string::npos);
}

TEST(Doctor, names_the_thread_that_steals_from_sigwait) {
  expect_finding(
      [] {
        // Made before the block, so it is open for the signal that the initial thread awaits.
        // A thread starts with everything blocked, until the C library gives it its mask: wait
        // for that.
        std::promise<void> up;
        std::thread thief([&] {
          pthread_setname_np(pthread_self(), "thief");
          up.set_value();
          wait_for_go();
        });
        up.get_future().wait();
        block({SIGTERM});
        announce_ready();
        const sigset_t set = set_of({SIGTERM});
        int got = 0;
        sigwait(&set, &got);
        thief.join();
        return got;
      },
      {}, 1, "thread-steals", "warning", {"SIGTERM"});
}

TEST(Doctor, leaves_a_lone_waiter_in_peace) {
  child_process child([] {
    block({SIGTERM});
    std::thread waiter([] {
      const sigset_t set = set_of({SIGTERM});
      int got = 0;
      sigwait(&set, &got);
      _exit(0);
    });
    return stay();
  });
  expect_ready(child);
  EXPECT_EQ(doctor(child.pid(), 0).at("findings"), json::array());
}

TEST(Doctor, finds_a_pending_signal_that_every_thread_blocks) {
  expect_finding(
      [] {
        block({SIGUSR1});
        ::kill(getpid(), SIGUSR1);
        return stay();
      },
      {}, 1, "pending-stuck", "error", {"SIGUSR1"});
}

TEST(Doctor, finds_a_pending_signal_of_one_thread) {
  expect_finding(
      [] {
        std::thread other([] { wait_for_go(); });
        block({SIGUSR2});
        raise(SIGUSR2);
        announce_ready();
        other.join();
        return 0;
      },
      {}, 1, "pending-stuck", "error", {"SIGUSR2"});
}

TEST(Doctor, finds_a_handler_that_never_runs) {
  expect_finding(
      [] {
        std::signal(SIGUSR1, [](int) {});
        block({SIGUSR1});
        return stay();
      },
      {}, 1, "handler-never-runs", "warning", {"SIGUSR1"});
}

TEST(Doctor, finds_a_mask_inherited_from_a_bad_spawn) {
  child_options options;
  options.blocked = signal_set::of(SIGTERM, SIGINT);
  expect_finding(stay, options, 1, "blocked-since-start", "warning", {"SIGINT", "SIGTERM"});
}

TEST(Doctor, finds_an_ignored_sigpipe) {
  child_options options;
  options.ignored = signal_set::of(SIGPIPE);
  expect_finding(stay, options, 1, "ignores-sigpipe", "warning", {"SIGPIPE"});
}

TEST(Doctor, finds_an_ignored_sigchld) {
  child_options options;
  options.ignored = signal_set::of(SIGCHLD);
  expect_finding(stay, options, 1, "ignores-sigchld", "warning", {"SIGCHLD"});
}

TEST(Doctor, notes_what_nohup_does_and_is_content) {
  child_options options;
  options.ignored = signal_set::of(SIGHUP);
  expect_finding(stay, options, 0, "ignores-signals", "note", {"SIGHUP"});
}

TEST(Doctor, warns_of_an_ignored_sigterm) {
  child_options options;
  options.ignored = signal_set::of(SIGTERM);
  expect_finding(stay, options, 1, "ignores-signals", "warning", {"SIGTERM"});
}

TEST(Doctor, strict_counts_notes) {
  child_options options;
  options.ignored = signal_set::of(SIGHUP);
  child_process child(stay, options);
  expect_ready(child);
  EXPECT_FALSE(doctor(child.pid(), 1, {"--strict"}).at("healthy"));
}

TEST(Doctor, counts_unreaped_children) {
  child_process child([] {
    for (int i = 0; i < 3; ++i) {
      const pid_t pid = fork();
      if (pid == 0) _exit(0);
      siginfo_t info;
      waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
    }
    return stay();
  });
  expect_ready(child);
  const json f = finding(doctor(child.pid(), 1), "unreaped-children");
  ASSERT_FALSE(f.is_null());
  EXPECT_EQ(f.at("text"), "3 children have ended and not been waited for.");
  EXPECT_EQ(f.at("evidence").size(), 3U);
}

TEST(Doctor, finds_a_pid_1_without_handlers) {
  child_process child([] {
    if (unshare(CLONE_NEWPID) != 0) {
      std::printf("0\n");
    } else {
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
      }
      std::printf("%d\n", pid);
    }
    std::fflush(stdout);
    return stay();
  });
  expect_ready(child);
  const int pid = std::stoi(child.read_line().value_or("0"));
  if (pid == 0) GTEST_SKIP() << "may not make a pid namespace";
  const json f = finding(doctor(pid, 1), "pid1-no-handler");
  ASSERT_FALSE(f.is_null());
  EXPECT_EQ(f.at("signals"), json({"SIGINT", "SIGTERM"}));
}

TEST(Doctor, finds_a_full_signal_queue) {
  child_options options;
  options.limits = {{RLIMIT_SIGPENDING, 10}};
  expect_finding(
      [] {
        block({SIGRTMIN});
        // What others of this user have queued counts too, and goes at any time (getrlimit(2)).
        std::thread([] {
          for (;; std::this_thread::yield()) {
            while (sigqueue(getpid(), SIGRTMIN, sigval{}) == 0) {
            }
          }
        }).detach();
        while (sigqueue(getpid(), SIGRTMIN, sigval{}) == 0) {
        }
        return stay();
      },
      options, 1, "queue-near-limit", "error", json::array());
}

TEST(Doctor, notes_handlers_of_faults_and_warns_of_blocked_ones) {
  expect_finding(
      [] {
        std::signal(SIGSEGV, [](int) { _exit(1); });
        return stay();
      },
      {}, 0, "catches-faults", "note", {"SIGSEGV"});
  child_options options;
  options.blocked = signal_set::of(SIGBUS, SIGSEGV);
  expect_finding(stay, options, 1, "blocks-faults", "warning", {"SIGBUS", "SIGSEGV"});
}

TEST(Doctor, finds_a_thread_in_uninterruptible_sleep) {
  expect_finding(
      [] {
        // Until a vfork child has exec'd or ended, the kernel keeps its parent in state D.
        if (vfork() == 0) {
          prctl(PR_SET_PDEATHSIG, SIGKILL);
          announce_ready();
          for (;;) pause();
        }
        return 0;
      },
      {}, 1, "thread-uninterruptible", "warning", json::array());
}

TEST(Doctor, finds_a_stopped_process) {
  child_process child([] {
    raise(SIGSTOP);
    return 0;
  });
  ASSERT_EQ(child.stopped_by(), SIGSTOP);
  const json f = finding(doctor(child.pid(), 1), "stopped");
  ASSERT_FALSE(f.is_null());
  EXPECT_EQ(f.at("advice"), "sigrun send CONT " + std::to_string(child.pid()) + " lets it go on.");
}

TEST(Doctor, says_that_a_zombie_has_ended) {
  child_process child([] { return 0; });
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(finding(doctor(child.pid(), 1), "already-ended").is_null());
}

}  // namespace
}  // namespace sigrun::test
