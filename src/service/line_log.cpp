// SPDX-License-Identifier: Apache-2.0
#include "service/line_log.hpp"
#include "service/text.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/go.hpp>

#include <poll.h>

#include <chrono>

namespace sigrun::service {
namespace {

using namespace std::chrono_literals;

// A pipe that is full, or a terminal that is stopped, must not hold up the end.
void write_to_stderr(std::string_view line) noexcept {
  std::string text;
  try {
    text = "sigrun: " + std::string(line.substr(0, 4000)) + "\n";  // below PIPE_BUF
  } catch (...) {
    return;
  }
  pollfd wait{2, POLLOUT, 0};
  const sys::timespec64 limit{0, 100'000'000};
  if (sys::call(SYS_ppoll, &wait, 1, &limit, nullptr, sys::sigset_bytes) == 1) {
    sys::write(2, text);
  }
}

}  // namespace

void line_log::open(std::string_view name, std::function<void(std::string_view)> to) {
  if (!to) return;
  lines_ = chan<std::string>(lines_max);
  over_ = chan<bool>(1);
  go({.name = name}, [to = std::move(to), lines = lines_, over = over_] {
    const at_end tell([&] { over.try_send(true); });
    for (const std::string& line : lines) {
      try {
        to(line);
      } catch (const std::exception&) {
        // A full disk, say. The next line may fit.
        write_to_stderr(line);
      }
    }
  });
}

void line_log::write(const std::string& line) noexcept {
  try {
    if (lines_ && lines_.try_send(line)) return;
  } catch (...) {
    // Closed, or no memory.
  }
  write_to_stderr(line);
}

void line_log::close() noexcept {
  if (!lines_) return;
  try {
    lines_.close();
  } catch (...) {
    return;  // was closed
  }
  try {
    bool done = false;
    over_.recv_for(1s, done);
  } catch (...) {
    // Not waited for.
  }
}

}  // namespace sigrun::service
