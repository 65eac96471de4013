// SPDX-License-Identifier: Apache-2.0
//
// Goal: the laboratory shows what it says, the same at every run, and leaves nothing behind.
#include "tools/tool_runner.hpp"

#include <map>
#include <string>
#include <utility>

namespace sigrun::test {
namespace {

using nlohmann::json;

struct numbers {
  int sent;
  int received;
  int merged;
  int lost;
  bool operator==(const numbers&) const = default;
};

numbers numbers_of(const json& design) {
  return {design.at("sent").get<int>(), design.at("received").get<int>(),
          design.at("merged").get<int>(), design.at("lost").get<int>()};
}

void expect_numbers(const json& situation, const numbers& naive, const numbers& channel) {
  const std::string name = situation.at("name").get<std::string>();
  const json& designs = situation.at("designs");
  ASSERT_EQ(designs.size(), 4U) << name;
  EXPECT_EQ(numbers_of(designs[0]), naive) << designs[0].dump();
  const numbers all = {naive.sent, naive.sent, 0, 0};
  EXPECT_EQ(numbers_of(designs[1]), all) << designs[1].dump();
  EXPECT_EQ(numbers_of(designs[2]), channel) << designs[2].dump();
  const numbers aimed = numbers_of(designs[3]);
  EXPECT_EQ(aimed.received + aimed.merged, naive.sent) << designs[3].dump();
  EXPECT_EQ(aimed.lost, 0) << designs[3].dump();
}

TEST(Lab, every_naive_program_loses_and_no_repair_does) {
  const json document = tool_json({"lab", "loss"}, 0);
  ASSERT_TRUE(document.contains("situations"));
  const json& situations = document.at("situations");
  ASSERT_EQ(situations.size(), 5U);
  const std::map<std::string, std::pair<numbers, numbers>> expected = {
      {"foreign-call", {{5, 1, 0, 4}, {5, 5, 0, 0}}},
      {"system-call", {{5, 0, 0, 5}, {5, 5, 0, 0}}},
      {"mask-window", {{5, 1, 0, 4}, {5, 5, 0, 0}}},
      {"full-pipe", {{40, 32, 0, 8}, {40, 32, 8, 0}}},
      {"mask-bit", {{5, 1, 0, 4}, {5, 5, 0, 0}}},
  };
  for (const json& situation : situations) {
    const auto found = expected.find(situation.at("name").get<std::string>());
    ASSERT_NE(found, expected.end()) << situation.dump();
    expect_numbers(situation, found->second.first, found->second.second);
  }
}

TEST(Lab, loss_prints_one_row_for_each_program) {
  const child_result result = tool({"lab", "loss", "--only", "mask-bit"});
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
  EXPECT_NE(result.out.find("naive: a bit for each       5         1       0     4   "),
            std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("runtime sleep, channel      5         5       0     0   "),
            std::string::npos)
      << result.out;
  EXPECT_EQ(result.out.find("full-pipe"), std::string::npos) << result.out;
}

TEST(Lab, names_every_wrong_input) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"lab"}, "sigrun lab: EXPERIMENT is missing (see --help)\n"},
      {{"lab", "gain"}, "sigrun lab: no experiment 'gain' (see --help)\n"},
      {{"lab", "loss", "--only", "pipe"},
       "sigrun lab loss: --only: no situation 'pipe'; there are foreign-call, system-call, "
       "mask-window, full-pipe, mask-bit\n"},
      {{"lab", "loss", "all"}, "sigrun lab loss: one argument too many: 'all'\n"},
      {{"lab", "storm", "--way-in", "door"},
       "sigrun lab storm: --way-in: 'door' is not wait or handler\n"},
      {{"lab", "storm", "--procs", "0"},
       "sigrun lab storm: --procs: '0' is not a number from 1 to 256\n"},
  };
  for (const auto& [arguments, message] : cases) {
    const child_result result = tool(arguments);
    EXPECT_TRUE(result.exited_with(2)) << result.describe();
    EXPECT_EQ(result.err, message);
    EXPECT_EQ(result.out, "");
  }
}

}  // namespace
}  // namespace sigrun::test
