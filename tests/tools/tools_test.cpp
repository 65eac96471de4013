// SPDX-License-Identifier: Apache-2.0
//
// Goal: `sigrun ps`, `send` and `watch` show and do what they say, and name every wrong input.
#include "tools/tool_runner.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>

namespace sigrun::test {
namespace {

using nlohmann::json;

void block(int signo) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int stay() {
  announce_ready();
  wait_for_go();
  return 0;
}

// Takes signals of one number until value 0 comes, and prints what each carried.
int print_values(int signo) {
  block(signo);
  announce_ready();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signo);
  for (;;) {
    siginfo_t info;
    if (sigwaitinfo(&set, &info) < 0) continue;
    std::printf("code %d value %lx\n", info.si_code,
                reinterpret_cast<unsigned long>(info.si_value.sival_ptr));
    std::fflush(stdout);
    if (info.si_code != SI_QUEUE || info.si_value.sival_ptr == nullptr) return 0;
  }
}

struct wrong_input {
  std::vector<std::string> arguments;
  std::string message;
};

TEST(Tools, name_every_wrong_input_and_exit_2) {
  const std::string self = std::to_string(getpid());
  const std::vector<wrong_input> cases = {
      {{"ps"}, "sigrun ps: PID is missing (see --help)\n"},
      {{"ps", "12x"}, "sigrun ps: '12x' is not a process id: a number from 1 to 2147483647\n"},
      {{"ps", "0"}, "sigrun ps: '0' is not a process id: a number from 1 to 2147483647\n"},
      {{"ps", "99999999999"},
       "sigrun ps: '99999999999' is not a process id: a number from 1 to 2147483647\n"},
      {{"ps", "1", "2"}, "sigrun ps: one argument too many: '2'\n"},
      {{"ps", "--fast", "1"}, "sigrun ps: option '--fast' is not known\n"},
      {{"ps", "-Z", "1"}, "sigrun ps: option '-Z' is not known\n"},
      {{"ps", "2147483647"},
       "sigrun ps: /proc/2147483647/task: No such file or directory (no such process, or it has "
       "just ended)\n"},
      {{"doctor", "--looks", "0", "1"},
       "sigrun doctor: --looks: '0' is not a number from 1 to 100\n"},
      {{"doctor", "2147483647"},
       "sigrun doctor: /proc/2147483647/task: No such file or directory (no such process, or it "
       "has just ended)\n"},
      {{"watch", "--interval", "soon", "1"},
       "sigrun watch: --interval: 'soon' is not a time such as 250ms, 2s or 5m, above 0 and at "
       "most a year\n"},
      {{"watch", "2147483647"}, "sigrun watch: no process has the id 2147483647\n"},
      {{"send", "TERM"}, "sigrun send: PID is missing (see --help)\n"},
      {{"send", "TREM", "1"},
       "sigrun send: 'TREM' is not a signal: a name (TERM, SIGUSR1, RTMIN+3) or a number from 1 "
       "to 64\n"},
      {{"send", "65", "1"},
       "sigrun send: '65' is not a signal: a name (TERM, SIGUSR1, RTMIN+3) or a number from 1 to "
       "64\n"},
      {{"send", "33", "1"},
       "sigrun send: signal 33 is refused: the C library keeps it for its threads, and crashes or "
       "hangs when others send it\n"},
      {{"send", "TERM", "2147483647"}, "sigrun send: no process has the id 2147483647\n"},
      {{"send", "--value", "1e3", "USR1", self},
       "sigrun send: --value: '1e3' is not a number of 64 bits, decimal or with 0x\n"},
      {{"send", "--value"}, "sigrun send: option '--value' needs an argument\n"},
      {{"send", "--json=yes", "0", self},
       "sigrun send: option '--json=yes' is not known, or takes no argument\n"},
      {{"send", "--group", "TERM", "1"},
       "sigrun send: --group 1 is refused: to the kernel it means every process\n"},
      {{"send", "--group", "--tid", "5", "TERM", "5"},
       "sigrun send: --group and --tid exclude each other\n"},
      {{"send", "--group", "TERM", "2147483647"},
       "sigrun send: there is no process group 2147483647\n"},
      {{"send", "--tid", "2147483647", "USR1", self},
       "sigrun send: there is no thread 2147483647 in process " + self + "\n"},
      {{"send", "-n", "0", "USR1", self},
       "sigrun send: --count: '0' is not a number from 1 to 1000000\n"},
  };
  for (const wrong_input& wrong : cases) {
    const child_result result = tool(wrong.arguments);
    EXPECT_TRUE(result.exited_with(2)) << result.describe();
    EXPECT_EQ(result.err, wrong.message);
    EXPECT_EQ(result.out, "");
  }
}

TEST(Tools, explain_themselves) {
  for (const char* const name : {"ps", "doctor", "send", "watch"}) {
    const child_result result = tool({name, "--help"});
    EXPECT_TRUE(result.exited_with(0)) << result.describe();
    EXPECT_TRUE(result.out.starts_with("Usage: sigrun " + std::string{name})) << result.out;
  }
}

TEST(Ps, shows_masks_dispositions_and_pending_signals) {
  child_options options;
  options.ignored = signal_set::of(SIGPIPE);
  child_process child(
      [] {
        std::signal(SIGUSR2, [](int) {});
        std::thread other([] {
          pthread_setname_np(pthread_self(), "side");
          for (int signo = SIGRTMIN; signo <= SIGRTMIN + 5; ++signo) block(signo);
          raise(SIGRTMIN + 1);
          stay();
        });
        block(SIGTERM);
        other.join();
        return 0;
      },
      options);
  expect_ready(child);
  const json all = tool_json({"ps", "--all-signals", std::to_string(child.pid())}, 0);
  EXPECT_EQ(all.at("ignored"), json::array({"SIGPIPE"}));
  EXPECT_EQ(all.at("signals").size(), 64U);
  EXPECT_EQ(all.at("signals")[SIGPIPE - 1].at("disposition"), "ignored");
  EXPECT_EQ(all.at("signals")[SIGUSR2 - 1].at("disposition"), "caught");
  ASSERT_EQ(all.at("threads").size(), 2U);
  const json side = all.at("threads")[1];
  EXPECT_EQ(side.at("name"), "side");
  EXPECT_EQ(side.at("blocked"), json({"SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3",
                                      "SIGRTMIN+4", "SIGRTMIN+5"}));
  EXPECT_EQ(side.at("pending"), json::array({"SIGRTMIN+1"}));
  const child_result text = tool({"ps", std::to_string(child.pid())});
  EXPECT_NE(text.out.find("ignores   SIGPIPE\n"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("SIGRTMIN..SIGRTMIN+5"), std::string::npos) << text.out;
}

TEST(Ps, gathers_threads_that_are_alike) {
  child_process child([] {
    std::thread one([] { wait_for_go(); });
    std::thread two([] { wait_for_go(); });
    return stay();
  });
  expect_ready(child);
  // Alike they are once both sleep: the C library starts a thread with every signal blocked.
  while (tool({"ps", std::to_string(child.pid())}).out.find(" and 2 more") == std::string::npos) {
    std::this_thread::yield();  // ctest's time limit ends this
  }
  EXPECT_EQ(tool({"ps", "-t", std::to_string(child.pid())}).out.find(" more"), std::string::npos);
}

TEST(Ps, never_lets_a_thread_name_reach_the_terminal_raw) {
  child_process child([] {
    pthread_setname_np(pthread_self(), "\x1b[31mred");
    return stay();
  });
  expect_ready(child);
  const std::string out = tool({"ps", std::to_string(child.pid())}).out;
  EXPECT_EQ(out.find('\x1b'), std::string::npos);
  EXPECT_NE(out.find("\\x1b[31mred"), std::string::npos) << out;
}

TEST(Send, carries_values_of_64_bits_and_counts) {
  child_process child([] { return print_values(SIGRTMIN); });
  expect_ready(child);
  const std::string pid = std::to_string(child.pid());
  EXPECT_TRUE(tool({"send", "--value", "0xfedcba9876543210", "RTMIN", pid}).exited_with(0));
  EXPECT_TRUE(tool({"send", "--value", "-1", "-n", "2", "RTMIN", pid}).exited_with(0));
  EXPECT_TRUE(tool({"send", "RTMIN", pid}).exited_with(0));
  const child_result result = child.finish();
  EXPECT_EQ(result.out,
            "code -1 value fedcba9876543210\n"
            "code -1 value ffffffffffffffff\n"
            "code -1 value ffffffffffffffff\n"
            "code -1 value 0\n");
}

TEST(Send, sends_a_plain_signal_as_kill_does) {
  child_process child([] { return print_values(SIGUSR1); });
  expect_ready(child);
  const json report = tool_json({"send", "USR1", std::to_string(child.pid())}, 0);
  EXPECT_EQ(report.at("signal"), "SIGUSR1");
  EXPECT_EQ(report.at("sent"), 1);
  EXPECT_TRUE(child.finish().out.starts_with("code 0 "));
}

TEST(Send, reaches_one_thread) {
  child_process child([] {
    std::thread other([] {
      block(SIGUSR1);
      std::printf("%ld\n", syscall(SYS_gettid));
      std::fflush(stdout);
      print_values(SIGUSR1);
    });
    other.join();
    return 0;
  });
  expect_ready(child);
  const std::string tid = child.read_line().value_or("");
  const std::string pid = std::to_string(child.pid());
  EXPECT_TRUE(tool({"send", "--tid", tid, "--value", "7", "USR1", pid}).exited_with(0));
  EXPECT_EQ(child.read_line(), "code -1 value 7");
  EXPECT_TRUE(tool({"send", "--tid", tid, "USR1", pid}).exited_with(0));
  // glibc's sigwaitinfo shows SI_TKILL as SI_USER.
  EXPECT_TRUE(child.finish().out.ends_with("code 0 value 0\n"));
}

TEST(Send, reaches_a_group) {
  child_process child(stay);  // leads a group of its own
  expect_ready(child);
  EXPECT_TRUE(tool({"send", "--group", "TERM", std::to_string(child.pid())}).exited_with(0));
  EXPECT_TRUE(child.finish().killed_by(SIGTERM));
}

TEST(Send, waits_for_the_end_and_says_how_it_came) {
  child_process child(stay);
  expect_ready(child);
  const std::string pid = std::to_string(child.pid());
  const json late = tool_json({"send", "--wait=10ms", "0", pid}, 1);
  EXPECT_EQ(late.at("ended"), false);
  const child_result result = tool({"send", "--wait=20s", "TERM", pid});
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  EXPECT_NE(result.out.find(": killed by SIGTERM\n"), std::string::npos) << result.out;
}

TEST(Send, says_when_the_queue_is_full_and_gives_up_in_time) {
  child_options options;
  options.limits = {{RLIMIT_SIGPENDING, 5}};
  options.blocked = signal_set::of(34);
  child_process child(stay, options);
  expect_ready(child);
  const std::string pid = std::to_string(child.pid());
  const child_result result = tool({"send", "-n", "50", "--retry", "20ms", "RTMIN", pid});
  EXPECT_TRUE(result.exited_with(2)) << result.describe();
  EXPECT_NE(result.err.find("RLIMIT_SIGPENDING is used up"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("limit 5); no room within --retry; sent "), std::string::npos)
      << result.err;
}

TEST(Send, names_the_owner_of_a_process_that_may_not_be_signalled) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const std::string program = beside_self("sigrun");
  const std::string pid = std::to_string(getpid());
  const child_result result = run_child([&] {
    if (setgid(65534) != 0 || setuid(65534) != 0) return 120;
    execl(program.c_str(), "sigrun", "send", "0", pid.c_str(), nullptr);
    return 119;
  });
  if (result.exited_with(119)) GTEST_SKIP() << "the build folder is closed to other users";
  EXPECT_TRUE(result.exited_with(2)) << result.describe();
  EXPECT_EQ(result.err, "sigrun send: process " + pid +
                            " may not be signalled by you: it belongs to user 0, you are user "
                            "65534\n");
}

TEST(Watch, prints_each_change_as_a_json_line_and_ends_with_the_process) {
  child_process target([] {
    announce_ready();
    wait_for_go();
    block(SIGUSR1);
    ::kill(getpid(), SIGUSR1);
    announce_ready();
    wait_for_go();
    return 7;
  });
  expect_ready(target);
  child_process watch(
      {beside_self("sigrun"), "watch", "--json", "-i", "5ms", std::to_string(target.pid())});
  const json start = json::parse(watch.read_line().value_or("{}"), nullptr, false);
  EXPECT_EQ(start.at("event"), "start");
  EXPECT_EQ(json::parse(watch.read_line().value_or("{}"), nullptr, false).at("event"), "thread");
  target.go_on();
  bool blocked = false;
  bool pending = false;
  while (!blocked || !pending) {
    const auto line = watch.read_line();
    ASSERT_TRUE(line.has_value());
    const json event = json::parse(*line, nullptr, false);
    ASSERT_FALSE(event.is_discarded()) << *line;
    if (event.value("added", json{}) != json::array({"SIGUSR1"})) continue;
    blocked |= event.at("event") == "blocked";
    pending |= event.at("event") == "pending";
  }
  target.go_on();
  const child_result result = watch.finish();
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  const std::string last = result.out.substr(result.out.rfind("{"));
  EXPECT_EQ(json::parse(last, nullptr, false).value("end", ""), "exit status 7") << last;
}

TEST(Watch, is_bounded_by_its_count) {
  child_process target(stay);
  expect_ready(target);
  const child_result result = tool({"watch", "-n", "3", "-i", "1ms", std::to_string(target.pid())});
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  EXPECT_NE(result.out.find("start: "), std::string::npos) << result.out;
}

}  // namespace
}  // namespace sigrun::test
