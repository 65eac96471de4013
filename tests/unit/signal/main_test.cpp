// SPDX-License-Identifier: Apache-2.0
//
// The program's main: every test in a goroutine, if SIGRUN_TEST_BODY says so.
#include "support/test_body.hpp"

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const bool lists = GTEST_FLAG_GET(list_tests);
  if (lists || !sigrun::test::runs_in_goroutine("goroutine")) return RUN_ALL_TESTS();
  return sigrun::run([] { return RUN_ALL_TESTS(); });
}
