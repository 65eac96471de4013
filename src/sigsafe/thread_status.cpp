// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/thread_status.hpp"

#include "base/text.hpp"
#include "sys/file.hpp"

#include <fcntl.h>

namespace sigrun::sigsafe {
namespace {

// True: `line` begins with `key`, a colon and a tab, and has lost them.
bool is_of(std::string_view& line, std::string_view key) noexcept {
  if (line.size() < key.size() + 2) return false;
  for (std::size_t i = 0; i < key.size(); ++i) {
    if (line[i] != key[i]) return false;
  }
  if (line[key.size()] != ':' || line[key.size() + 1] != '\t') return false;
  line.remove_prefix(key.size() + 2);
  return true;
}

signal_set signals_in(std::string_view hex) noexcept {
  std::uint64_t bits = 0;
  for (const char c : hex) {
    const bool letter = c >= 'a' && c <= 'f';
    if (!letter && (c < '0' || c > '9')) return {};
    bits = bits << 4 | static_cast<std::uint64_t>(letter ? c - 'a' + 10 : c - '0');
  }
  return signal_set{bits};
}

void take_line(std::string_view line, thread_status& out) noexcept {
  if (is_of(line, "SigPnd")) {
    out.pending = signals_in(line);
  } else if (is_of(line, "SigBlk")) {
    out.blocked = signals_in(line);
  } else if (is_of(line, "State")) {
    if (!line.empty()) out.state = line[0];
  } else if (is_of(line, "Name")) {
    std::size_t i = 0;
    for (; i < line.size() && i + 1 < sizeof out.name; ++i) out.name[i] = line[i];
    out.name[i] = '\0';
  }
}

}  // namespace

void parse_thread_status(std::string_view text, thread_status& out) noexcept {
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\n') continue;
    take_line({text.data() + begin, at - begin}, out);
    begin = at + 1;
  }
}

bool read_thread_status(int tid, thread_status& out) noexcept {
  base::text_buffer<64> path;
  if (tid == 0) {
    path.add("/proc/thread-self");
  } else {
    path.add("/proc/self/task/").add(tid);
  }
  path.add(std::string_view{"/status\0", 8});
  const long fd = sys::call(SYS_openat, AT_FDCWD, path.view().data(), O_RDONLY | O_CLOEXEC);
  if (sys::failed(fd)) return false;
  char text[4096];  // some 1,500 bytes; the signals come before the lists of processors
  const long length = sys::read(static_cast<int>(fd), text, sizeof text);
  sys::close(static_cast<int>(fd));
  if (sys::failed(length)) return false;
  parse_thread_status({text, static_cast<std::size_t>(length)}, out);
  return true;
}

}  // namespace sigrun::sigsafe
