// SPDX-License-Identifier: Apache-2.0
//
// Goal: sets, times and names turn into text, and back, as the manual pages say.
#include "tool_text.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace sigrun::cmd {
namespace {

TEST(FormatSet, compacts_runs_of_real_time_signals) {
  EXPECT_EQ(format_set({}), "-");
  EXPECT_EQ(format_set(signal_set::of(SIGTERM, SIGINT)), "SIGINT SIGTERM");
  EXPECT_EQ(format_set(signal_set::of(34, 35)), "SIGRTMIN SIGRTMIN+1");
  EXPECT_EQ(format_set(signal_set::of(34, 35, 36, 40)), "SIGRTMIN..SIGRTMIN+2 SIGRTMIN+6");
  EXPECT_EQ(format_set(signal_set::of(62, 63, 64)), "SIGRTMIN+28..SIGRTMAX");
}

TEST(FormatSet, says_what_is_missing_when_nearly_all_are_there) {
  EXPECT_EQ(format_set(signal_set::all()), "all");
  EXPECT_EQ(format_set(signal_set::all() - signal_set::of(9, 19, 32, 33)), "all");
  EXPECT_EQ(format_set(signal_set::all() - signal_set::of(SIGTERM)), "all but SIGTERM");
}

TEST(FormatSet, hides_the_c_librarys_own_unless_exact) {
  EXPECT_EQ(format_set(signal_set::of(32, 33)), "-");
  EXPECT_EQ(format_set(signal_set::of(32, 33, 34), true), "SIG32 SIG33 SIGRTMIN");
  EXPECT_EQ(format_set({}, true), "-");
}

TEST(ParseTime, reads_units_and_refuses_the_rest) {
  using std::chrono::milliseconds;
  EXPECT_EQ(parse_time("250ms", "-i"), milliseconds{250});
  EXPECT_EQ(parse_time("2", "-i"), milliseconds{2000});
  EXPECT_EQ(parse_time("1.5s", "-i"), milliseconds{1500});
  EXPECT_EQ(parse_time("2m", "-i"), milliseconds{120'000});
  EXPECT_EQ(parse_time("0.1ms", "-i"), milliseconds{1});
  for (const char* const bad : {"", "0", "-1", "1e3", "5x", "s", "nan", "inf", "99999999999h"}) {
    EXPECT_THROW(parse_time(bad, "-i"), tool_error) << bad;
  }
}

TEST(ParseId, takes_whole_numbers_from_1_up) {
  EXPECT_EQ(parse_id("1", "process id"), 1);
  for (const char* const bad : {"", "0", "-5", "+5", "1 ", "2147483648"}) {
    EXPECT_THROW(parse_id(bad, "process id"), tool_error) << bad;
  }
}

TEST(Printable, shows_control_bytes_and_leaves_utf_8) {
  EXPECT_EQ(printable("a\tb\x1b\x7f"), "a\\x09b\\x1b\\x7f");
  EXPECT_EQ(printable("käse"), "käse");
}

TEST(Wrap, breaks_at_blanks_and_never_inside_a_word) {
  EXPECT_EQ(wrap("", 5), (std::vector<std::string>{""}));
  EXPECT_EQ(wrap("one two three", 7), (std::vector<std::string>{"one two", "three"}));
  EXPECT_EQ(wrap("incomprehensible x", 4), (std::vector<std::string>{"incomprehensible", "x"}));
}

}  // namespace
}  // namespace sigrun::cmd
