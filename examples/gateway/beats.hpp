// SPDX-License-Identifier: Apache-2.0
//
// Signals as data: a monitor sends SIGRTMIN+1 with a number and its clock as the payload, and the
// books say whether all of them came, in the order sent, and how long they took.
#pragma once

#include <sigrun/signal_event.hpp>
#include <sigrun/sync.hpp>

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "../send_burst.hpp"

namespace gateway {

class beats {
 public:
  struct figures {
    std::uint64_t received = 0;
    std::uint64_t sum = 0;        ///< of their numbers: what is lost or doubled shows
    std::uint64_t overtaken = 0;  ///< by one that was sent later
    int last_pid = 0;
    std::int64_t taken_ns_max = 0;    ///< from the sender's clock until it left the kernel
    std::int64_t handled_ns_max = 0;  ///< from there to its handler
  };

  void take(const sigrun::signal_event& event) {
    const std::uint64_t number = example::number_of(event.value_bits);
    const std::int64_t way = example::age_ns(event.value_bits, event.at.taken);
    const std::lock_guard hold(lock_);
    all_.sum += number;
    if (all_.received != 0 && number < last_) ++all_.overtaken;
    last_ = number;
    ++all_.received;
    all_.last_pid = event.pid;
    all_.taken_ns_max = std::max(all_.taken_ns_max, way);
    all_.handled_ns_max = std::max(all_.handled_ns_max, event.at.received - event.at.taken);
  }
  figures now() {
    const std::lock_guard hold(lock_);
    return all_;
  }

 private:
  sigrun::mutex lock_;
  figures all_;
  std::uint64_t last_ = 0;
};

}  // namespace gateway
