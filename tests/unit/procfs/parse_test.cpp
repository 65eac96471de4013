// SPDX-License-Identifier: Apache-2.0
//
// Goal: each parser reads what kernels write, old and new, and refuses the rest by the field's
// name. Method: texts in the kernel's layout, made for these tests.
#include "procfs/parse.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <stdexcept>
#include <string>

namespace sigrun::procfs {
namespace {

constexpr std::string_view status_text =
    "Name:\tworker (1)\n"
    "Umask:\t0022\n"
    "State:\tS (sleeping)\n"
    "Tgid:\t700\n"
    "Ngid:\t0\n"
    "Pid:\t703\n"
    "PPid:\t1\n"
    "TracerPid:\t9\n"
    "Uid:\t1000\t1001\t1000\t1000\n"
    "Gid:\t1000\t1000\t1000\t1000\n"
    "NSpid:\t703\t12\t4\n"
    "Kthread:\t0\n"
    "Threads:\t5\n"
    "SigQ:\t7/96365\n"
    "SigPnd:\t0000000000000200\n"
    "ShdPnd:\t8000000000000000\n"
    "SigBlk:\tfffffffe7ffbfeff\n"
    "SigIgn:\t0000000000001000\n"
    "SigCgt:\t0000000180004002\n"
    "SomethingNew:\twhatever\n";

std::string without(std::string_view key) {
  std::string text{status_text};
  const std::size_t at = text.find(std::string{"\n"} + std::string{key} + ":");
  return text.erase(at + 1, text.find('\n', at + 1) - at);
}

std::string refusal(const auto& parse, std::string_view text) {
  try {
    parse(text);
  } catch (const std::invalid_argument& problem) {
    return problem.what();
  }
  return "accepted";
}

TEST(ParseStatus, reads_every_field_that_concerns_signals) {
  const thread_status s = parse_status(status_text);
  EXPECT_EQ(s.name, "worker (1)");
  EXPECT_EQ(s.state, 'S');
  EXPECT_EQ(s.tgid, 700);
  EXPECT_EQ(s.tid, 703);
  EXPECT_EQ(s.ppid, 1);
  EXPECT_EQ(s.tracer_pid, 9);
  EXPECT_EQ(s.uid, 1000U);
  EXPECT_EQ(s.effective_uid, 1001U);
  EXPECT_EQ(s.threads, 5);
  EXPECT_FALSE(s.kernel_thread);
  EXPECT_EQ(s.ns_pids, (std::vector<int>{703, 12, 4}));
  EXPECT_EQ(s.queued, 7U);
  EXPECT_EQ(s.queue_limit, 96365U);
  EXPECT_EQ(s.pending, signal_set::of(SIGUSR1));
  EXPECT_EQ(s.shared_pending, signal_set::of(64));
  EXPECT_TRUE(s.blocked.has(SIGTERM));
  EXPECT_FALSE(s.blocked.has(SIGKILL));
  EXPECT_EQ(s.ignored, signal_set::of(SIGPIPE));
  EXPECT_EQ(s.caught, signal_set::of(SIGINT, SIGTERM, 32, 33));
}

TEST(ParseStatus, reads_a_kernel_that_has_no_namespaces) {
  EXPECT_TRUE(parse_status(without("NSpid")).ns_pids.empty());
}

TEST(ParseStatus, names_the_line_that_is_missing) {
  for (const std::string key : {"State", "Tgid", "Pid", "PPid", "Uid", "Threads", "SigQ", "SigPnd",
                                "ShdPnd", "SigBlk", "SigIgn", "SigCgt"}) {
    EXPECT_EQ(refusal(parse_status, without(key)), key + ": no such line");
  }
  EXPECT_EQ(refusal(parse_status, ""), "Name: no such line");
}

TEST(ParseStatus, names_the_field_and_the_text_that_is_no_number) {
  std::string text = without("SigBlk") + "SigBlk:\tzzz\n";
  EXPECT_EQ(refusal(parse_status, text), "SigBlk: 'zzz' is not a number in range");
  text = without("SigBlk") + "SigBlk:\t10000000000000000\n";
  EXPECT_EQ(refusal(parse_status, text), "SigBlk: '10000000000000000' is not a number in range");
  text = without("SigQ") + "SigQ:\t5\n";
  EXPECT_EQ(refusal(parse_status, text), "SigQ: '' is not a number in range");
  text = without("State") + "State:\t\n";
  EXPECT_EQ(refusal(parse_status, text), "State: is empty");
}

TEST(ParseStatus, bounds_the_depth_of_namespaces) {
  std::string text = without("NSpid") + "NSpid:";
  for (int i = 0; i < 40; ++i) text += "\t1";
  EXPECT_EQ(refusal(parse_status, text + "\n"), "NSpid: too many namespaces");
}

TEST(ParseStat, keeps_a_name_with_blanks_and_parentheses) {
  std::string text = "42 (a) b (c) Z 7 8 9";
  for (int field = 7; field <= 52; ++field) text += field == 22 ? " 123456" : " 15";
  const process_stat s = parse_stat(text + "\n");
  EXPECT_EQ(s.pid, 42);
  EXPECT_EQ(s.name, "a) b (c");
  EXPECT_EQ(s.state, 'Z');
  EXPECT_EQ(s.ppid, 7);
  EXPECT_EQ(s.group, 8);
  EXPECT_EQ(s.session, 9);
  EXPECT_EQ(s.start_ticks, 123456U);
  EXPECT_EQ(s.exit_code, 15);
}

TEST(ParseStat, refuses_a_line_without_name_or_with_too_few_fields) {
  EXPECT_EQ(refusal(parse_stat, "42 name S 1"), "stat: no name in parentheses");
  EXPECT_EQ(refusal(parse_stat, ")("), "stat: no name in parentheses");
  EXPECT_EQ(refusal(parse_stat, "42 (name) S 1 2"), "stat: too few fields");
}

TEST(ParseMaps, reads_ranges_permissions_and_paths_with_blanks) {
  const auto maps = parse_maps(
      "55d0c0000000-55d0c0002000 r-xp 00001000 fe:01 1234   /opt/my app/server (deleted)\n"
      "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
      "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0      [stack]\n");
  ASSERT_EQ(maps.size(), 3U);
  EXPECT_EQ(maps[0].path, "/opt/my app/server (deleted)");
  EXPECT_EQ(maps[0].permissions, "r-xp");
  EXPECT_EQ(maps[0].offset, 0x1000U);
  EXPECT_EQ(maps[0].inode, 1234U);
  EXPECT_EQ(maps[1].path, "");
  EXPECT_EQ(find_mapping(maps, 0x55d0c0001fff), &maps[0]);
  EXPECT_EQ(find_mapping(maps, 0x55d0c0002000), nullptr);
  EXPECT_EQ(find_mapping(maps, 0x7ffc00000000), &maps[2]);
}

TEST(ParseMaps, refuses_a_broken_line) {
  EXPECT_EQ(refusal(parse_maps, "2000-1000 r-xp 0 00:00 0\n"),
            "maps: a range ends before it begins");
  EXPECT_EQ(refusal(parse_maps, "1000-2000 r-xp 0\n"), "maps: a line has no device");
  EXPECT_EQ(refusal(parse_maps, "hello\n"), "maps: 'hello' is not a number in range");
}

TEST(ParseLimits, reads_names_with_blanks_and_unlimited) {
  const auto limits = parse_limits(
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max cpu time              unlimited            unlimited            seconds   \n"
      "Max pending signals       50                   96365                signals   \n"
      "Max realtime timeout      unlimited            unlimited            us        \n");
  ASSERT_EQ(limits.size(), 3U);
  EXPECT_EQ(limits[0].soft, std::nullopt);
  EXPECT_EQ(limits[1].name, "Max pending signals");
  EXPECT_EQ(limits[1].soft, 50U);
  EXPECT_EQ(limits[1].hard, 96365U);
}

TEST(ParseLimits, refuses_a_short_line) {
  EXPECT_EQ(refusal(parse_limits, "Limit\nMax\n"), "limits: a line is too short");
}

TEST(ParseSyscall, tells_the_three_kinds_apart) {
  EXPECT_EQ(parse_syscall("running\n").what, syscall_state::kind::running);
  const auto blocked = parse_syscall("-1 0x7ffc 0x401000\n");
  EXPECT_EQ(blocked.what, syscall_state::kind::blocked);
  EXPECT_EQ(blocked.pc, 0x401000U);
  const auto call = parse_syscall("128 0x10 0x20 0x0 0x8 0x0 0xff 0x7ffc 0x401000\n");
  EXPECT_EQ(call.what, syscall_state::kind::in_call);
  EXPECT_EQ(call.number, 128);
  EXPECT_EQ(call.arguments[0], 0x10U);
  EXPECT_EQ(call.arguments[5], 0xffU);
  EXPECT_EQ(call.sp, 0x7ffcU);
}

TEST(ParseSyscall, refuses_missing_arguments) {
  EXPECT_EQ(refusal(parse_syscall, "128 0x10\n"), "syscall: '' is not a number in range");
  EXPECT_EQ(refusal(parse_syscall, ""), "syscall: '' is not a number in range");
}

TEST(ParseSignalfd, finds_the_set_and_knows_other_files) {
  EXPECT_EQ(parse_signalfd("pos:\t0\nflags:\t02\nmnt_id:\t15\nsigmask:\t0000000000004000\n"),
            signal_set::of(SIGTERM));
  EXPECT_EQ(parse_signalfd("pos:\t0\nflags:\t02\n"), std::nullopt);
  EXPECT_EQ(refusal(parse_signalfd, "sigmask:\tx\n"), "sigmask: 'x' is not a number in range");
}

TEST(ParseComm, drops_only_the_newline) {
  EXPECT_EQ(parse_comm(" a b \n"), " a b ");
  EXPECT_EQ(parse_comm(""), "");
}

}  // namespace
}  // namespace sigrun::procfs
