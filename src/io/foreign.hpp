// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sched/sched.hpp"

#include <optional>
#include <type_traits>

namespace sigrun::detail {

/// Runs `f`, which may block the thread, so that no other goroutine has to wait for it: what files
/// and name servers need. On a plain thread it is a plain call.
template <class F>
auto in_foreign_call(F&& f) {
  using result = std::invoke_result_t<F&>;
  struct call {
    std::remove_reference_t<F>* work;
    std::optional<result> value;
  } the_call{&f, {}};
  sched::run_foreign(
      [](void* arg) {
        auto& mine = *static_cast<call*>(arg);
        mine.value.emplace((*mine.work)());
      },
      &the_call);
  return *the_call.value;
}

}  // namespace sigrun::detail
