// SPDX-License-Identifier: Apache-2.0
//
// Where a process listens for `sigrun dump`, and what is said there.
//
//   client: "all\n" or "system\n"     server: `dump_greeting`, the text, `dump_end`
//                                             or `dump_refusal`
//
// The name has the pid as its own namespace knows it, and that namespace: containers may share the
// network namespace, in which names of this kind live.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sigrun::crash {

inline constexpr std::string_view dump_greeting = "sigrun dump 1\n";
inline constexpr std::string_view dump_refusal = "sigrun dump refused\n";
inline constexpr char dump_end = '\0';  // in no text

struct dump_address {
  sockaddr_un address{};
  socklen_t size = 0;
};

inline dump_address dump_address_of(std::uint64_t pid_namespace, int pid) {
  const std::string name =
      "sigrun-dump-" + std::to_string(pid_namespace) + "-" + std::to_string(pid);
  dump_address out;
  out.address.sun_family = AF_UNIX;
  std::memcpy(out.address.sun_path + 1, name.data(), name.size());
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return out;
}

}  // namespace sigrun::crash
