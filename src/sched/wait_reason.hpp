// SPDX-License-Identifier: Apache-2.0
//
// Why a caller is parked, in the words that Go's goroutine dumps use, so that readers of those
// (panicparse) understand ours.
#pragma once

#include <cstdint>

namespace sigrun::sched {

enum class wait_reason : std::uint8_t {
  unknown,
  chan_receive,
  chan_send,
  select,
  mutex_lock,
  rw_mutex_read_lock,
  rw_mutex_lock,
  cond_wait,
  wait_group_wait,
  once_wait,
  semaphore_wait,
  sleep,
  join,
  io_wait,
  context_wait,
  foreign_call,
};

/// "chan receive"; never null.
constexpr const char* wait_reason_text(wait_reason reason) noexcept {
  switch (reason) {
    case wait_reason::chan_receive:
      return "chan receive";
    case wait_reason::chan_send:
      return "chan send";
    case wait_reason::select:
      return "select";
    case wait_reason::mutex_lock:
      return "sync.Mutex.Lock";
    case wait_reason::rw_mutex_read_lock:
      return "sync.RWMutex.RLock";
    case wait_reason::rw_mutex_lock:
      return "sync.RWMutex.Lock";
    case wait_reason::cond_wait:
      return "sync.Cond.Wait";
    case wait_reason::wait_group_wait:
      return "sync.WaitGroup.Wait";
    case wait_reason::once_wait:
      return "sync.Once.Do";
    case wait_reason::semaphore_wait:
      return "semacquire";
    case wait_reason::sleep:
      return "sleep";
    case wait_reason::join:
      return "join";
    case wait_reason::io_wait:
      return "IO wait";
    case wait_reason::context_wait:
      return "context wait";
    case wait_reason::foreign_call:
      return "foreign call";
    case wait_reason::unknown:
      break;
  }
  return "waiting";
}

}  // namespace sigrun::sched
