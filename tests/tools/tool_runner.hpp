// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/child_process.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sigrun::test {

/// Runs `sigrun` with these arguments to its end.
inline child_result tool(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), beside_self("sigrun"));
  return run_child(arguments);
}

/// Its JSON output; the test fails, and an empty object comes back, when it is not JSON.
inline nlohmann::json tool_json(std::vector<std::string> arguments, int code) {
  arguments.push_back("--json");
  const child_result result = tool(std::move(arguments));
  EXPECT_TRUE(result.exited_with(code)) << result.describe();
  auto document = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_FALSE(document.is_discarded()) << result.describe();
  return document.is_discarded() ? nlohmann::json::object() : document;
}

/// A target that is ready, or a failed test.
inline void expect_ready(child_process& child) {
  ASSERT_TRUE(child.ready()) << child.finish().describe();
}

}  // namespace sigrun::test
