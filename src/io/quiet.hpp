// SPDX-License-Identifier: Apache-2.0
//
// Writing without SIGPIPE. Sockets have MSG_NOSIGNAL. For pipes Linux 6.18 has RWF_NOSIGNAL, and
// for sendfile(2) there is nothing; there, and on older kernels, the signal is blocked on the
// calling thread during the call, and the one that the call raised, which the kernel sends to that
// very thread, is taken back. No goroutine changes its thread meanwhile, since nothing parks.
// Whoever writes to fd 1 or 2 gets the signal, as any program does whose reader has gone.
#pragma once

#include "sys/signal.hpp"

#include <sys/uio.h>

namespace sigrun::detail {

/// Blocks SIGPIPE on this thread while it lives.
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept;
  ~sigpipe_guard();
  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;
  /// The call said -EPIPE: the signal it raised is taken when this object goes.
  void raised() noexcept { raised_ = true; }

 private:
  bool was_blocked_ = false;
  bool was_pending_ = false;  // then it is not ours, and stays
  bool raised_ = false;
};

/// writev(2), but -EPIPE is all that a pipe without readers does.
long write_quietly(int fd, const iovec* list, int count) noexcept;

}  // namespace sigrun::detail
