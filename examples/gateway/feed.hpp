// SPDX-License-Identifier: Apache-2.0
//
// GET /feed?after=REVISION over WebSocket: every change after that revision, or from now on, one
// message each. A watcher's place is a number, so a slow one costs no memory, and one that was cut
// off goes on where it was, here or in the process that took over.
#pragma once

#include <sigrun/http.hpp>

#include <atomic>
#include <cstdint>
#include <string>

#include "store.hpp"

namespace gateway {

/// {"id":1,"revision":7,"text":"…"}, or "removed":true in place of the text.
std::string to_json(const note& one);

class feed {
 public:
  explicit feed(store& from) : from_(from) {}
  /// A handler: as long as the watcher stays.
  void serve(sigrun::http::request& q, sigrun::http::response& p);
  std::int64_t watchers() const noexcept { return watchers_.load(); }

 private:
  store& from_;
  std::atomic<std::int64_t> watchers_{0};
};

/// A whole number that is not negative; http::error(400), naming it, for anything else.
std::int64_t number_of(const std::string& name, const std::string& text);

}  // namespace gateway
