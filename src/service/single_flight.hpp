// SPDX-License-Identifier: Apache-2.0
//
// Attempts, one at a time, each of which answers what was asked for before it began.
//
//   asked_ ──▶ batch.upto ──▶ ended_      numbers of requests: ended_ <= upto <= asked_
//
// Whoever asks counts asked_ up. The runner waits, takes everything that has been asked, makes one
// attempt, and notes its record; a request is answered when ended_ has reached its number. So what
// is asked during an attempt, however much, is one more attempt.
//
// Invariants:
//  (1) A batch is taken before its attempt looks at anything: it answers no request that came
//      later, and those that it answers see at least what was there when they were made.
//  (2) take() is the runner's alone, so attempts do not overlap.
//  (3) After close() nothing is taken on, and nobody waits any more.
#pragma once

#include <sigrun/sync.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sigrun::service {

/// What one attempt answers.
struct flight_batch {
  std::uint64_t upto = 0;
  std::uint64_t requests = 0;
  std::string asked_by;  // the first of them
};

/// `Batch` is a flight_batch, with more of its owner's. Any number of threads and goroutines.
template <class Record, class Batch = flight_batch>
class single_flight {
 public:
  static constexpr std::size_t records_max = 32;

  /// Adds `count` requests to the next attempt; their number, or 0 when they are not taken on.
  /// `join(batch)` has a say in that, and may write to the batch; it is called under the lock.
  template <class Join>
  std::uint64_t add(std::string asked_by, std::uint64_t count, Join join) {
    const std::lock_guard hold(lock_);
    if (closed_) return 0;
    const bool first = next_.requests == 0;
    if (!join(next_)) return 0;
    if (first) next_.asked_by = std::move(asked_by);
    next_.requests += count;
    ++asked_;
    changed_.notify_all();
    return asked_;
  }

  /// The record of the attempt that answered `number`; nothing when it was closed before.
  std::optional<Record> await(std::uint64_t number) const {
    std::unique_lock hold(lock_);
    changed_.wait(hold, [&] { return ended_ >= number || closed_; });
    if (ended_ < number) return std::nullopt;
    for (const auto& [upto, record] : history_) {
      if (upto >= number) return record;
    }
    return history_.back().second;
  }

  /// For the runner: waits until something is asked. False: it is closed.
  bool wait() {
    std::unique_lock hold(lock_);
    changed_.wait(hold, [&] { return next_.requests != 0 || closed_; });
    return !closed_;
  }
  /// Everything that was asked and not taken. (1), (2)
  Batch take() {
    return take([] {});
  }
  /// And `f()`, under the lock.
  template <class F>
  Batch take(F f) {
    const std::lock_guard hold(lock_);
    f();
    Batch now = std::exchange(next_, {});
    now.upto = asked_;
    return now;
  }

  /// The last `records_max` are kept. 0 answers nobody.
  void note(Record record, std::uint64_t upto) {
    const std::lock_guard hold(lock_);
    history_.emplace_back(upto, std::move(record));
    if (history_.size() > records_max) history_.pop_front();
    ended_ = std::max(ended_, upto);
    changed_.notify_all();
  }

  /// There was nothing to attempt: what the last record says still holds, and answers.
  void pass_over(std::uint64_t upto) {
    const std::lock_guard hold(lock_);
    ended_ = std::max(ended_, upto);
    changed_.notify_all();
  }

  void close() {
    const std::lock_guard hold(lock_);
    closed_ = true;
    changed_.notify_all();
  }

  std::vector<Record> history() const {
    const std::lock_guard hold(lock_);
    std::vector<Record> all;
    for (const auto& [upto, record] : history_) all.push_back(record);
    return all;
  }

 private:
  mutable mutex lock_;
  mutable cond changed_;
  Batch next_;
  std::uint64_t asked_ = 0;
  std::uint64_t ended_ = 0;
  bool closed_ = false;
  std::deque<std::pair<std::uint64_t, Record>> history_;  // with the last request answered
};

/// The record of what `f(record)` does, with its time.
template <class Record, class F>
Record record_of(std::string asked_by, std::uint64_t requests, F f) {
  Record record;
  record.asked_by = std::move(asked_by);
  record.requests = requests;
  record.at = std::chrono::system_clock::now();
  const auto began = std::chrono::steady_clock::now();
  f(record);
  record.took = std::chrono::steady_clock::now() - began;
  return record;
}

}  // namespace sigrun::service
