// SPDX-License-Identifier: Apache-2.0
//
// The notes, in a SQLite database, which two processes may have open: while one version of the
// gateway takes over from the other, both serve.
//
// Every change gets the next revision. Who knows the last revision he has seen can ask for what
// came after it, here or in another process, and that is all the feed needs: nothing is kept in
// memory for a reader that is slow or away.
#pragma once

#include <sigrun/sync.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

struct note {
  std::int64_t id = 0;
  std::int64_t revision = 0;
  bool removed = false;
  std::string text;
};

/// Any number of goroutines may use one. Calls go to SQLite one after the other, as foreign calls,
/// so a slow disk holds up no other goroutine. What SQLite says is a std::runtime_error.
class store {
 public:
  explicit store(const std::string& path);
  ~store();
  store(const store&) = delete;
  store& operator=(const store&) = delete;

  std::optional<note> find(std::int64_t id);
  /// By id, from the first beyond `after`.
  std::vector<note> list(std::int64_t after, std::size_t most);
  /// Nothing when there are `notes_max` already.
  std::optional<note> create(std::string_view text, std::uint64_t notes_max);
  /// Nothing when there is no such note.
  std::optional<note> replace(std::int64_t id, std::string_view text);
  std::optional<note> remove(std::int64_t id);

  /// Changes in the order they were made, removals too, from the first beyond `revision`. Of a
  /// note that changed more than once, only the last is left.
  std::vector<note> changes(std::int64_t revision, std::size_t most);
  struct figures {
    std::int64_t notes = 0;
    std::int64_t revision = 0;
  };
  figures now();
  /// Returns when the next call would not have to wait.
  void await_turn();
  /// While it is on, every call waits: what a wedged disk would do.
  void stall(bool on);

  /// A number that grows with each change that this process knows of; what to wait for.
  std::uint64_t generation();
  /// Until there was a change after `seen`, or `over` is true at a wake(). Looks four times a
  /// second whether another process has changed something.
  void wait_for_change(std::uint64_t seen, const bool& over);
  /// Sets `over` for who waits with it.
  void wake(bool& over);

 private:
  struct database;
  template <class F>
  auto use(F f);
  void changed();

  sigrun::mutex lock_;
  std::unique_ptr<database> db_;
  sigrun::cond goes_on_;
  bool stalled_ = false;

  sigrun::mutex change_lock_;
  sigrun::cond change_;
  std::uint64_t generation_ = 0;
};

}  // namespace gateway
