// SPDX-License-Identifier: Apache-2.0
//
// Where a test's body runs: the same tests once on a plain thread and once in a goroutine, as the
// environment's SIGRUN_TEST_BODY says:
//   goroutine   the whole of a test, by a main of the program's own
//   child       what a test runs in a child process
#pragma once

#include <sigrun/go.hpp>

#include <cstdlib>
#include <string_view>

namespace sigrun::test {

inline bool runs_in_goroutine(std::string_view what) {
  const char* const body = std::getenv("SIGRUN_TEST_BODY");
  return body != nullptr && what == body;
}

/// An arrangement is given whole or not at all: isolation, way in, and where the body runs.
inline bool arrangement_is_whole() {
  const bool isolation = std::getenv("SIGRUN_ISOLATION") != nullptr;
  return isolation == (std::getenv("SIGRUN_WAY_IN") != nullptr) &&
         isolation == (std::getenv("SIGRUN_TEST_BODY") != nullptr);
}

/// For the body of a child process: where SIGRUN_TEST_BODY says. Programs without the scheduler are
/// compiled with SIGRUN_TEST_WITHOUT_GOROUTINES.
template <class F>
int run_child_body(const F& body) {
#ifdef SIGRUN_TEST_WITHOUT_GOROUTINES
  return body();
#else
  return runs_in_goroutine("child") ? run(body) : body();
#endif
}

}  // namespace sigrun::test
