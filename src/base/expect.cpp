// SPDX-License-Identifier: Apache-2.0
#include "base/expect.hpp"

#include "base/text.hpp"

#include <unistd.h>
#include <csignal>

namespace sigrun::base {

// base lies below sys, so these are libc's calls; POSIX lists each as async-signal-safe.
void fail(const char* what) noexcept {
  text_buffer<256> message;
  message.add("sigrun: ").add(what).add("\n");
  const std::string_view text = message.view();
  [[maybe_unused]] const auto written = ::write(2, text.data(), text.size());
  ::signal(SIGABRT, SIG_DFL);
  sigset_t abort_only;
  sigemptyset(&abort_only);
  sigaddset(&abort_only, SIGABRT);
  ::sigprocmask(SIG_UNBLOCK, &abort_only, nullptr);
  ::kill(::getpid(), SIGABRT);
  ::_exit(134);  // a PID 1 cannot be killed by its own signal
}

}  // namespace sigrun::base
