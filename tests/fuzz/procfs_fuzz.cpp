// SPDX-License-Identifier: Apache-2.0
//
// Any bytes at all: the parsers of /proc return or throw std::invalid_argument, nothing else. The
// first byte chooses the parser, so that one corpus serves them all.
#include "procfs/parse.hpp"

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  namespace procfs = sigrun::procfs;
  if (size == 0) return 0;
  const std::string_view text{reinterpret_cast<const char*>(bytes + 1), size - 1};
  try {
    switch (bytes[0]) {
      case 's':
        procfs::parse_status(text);
        break;
      case 't':
        procfs::parse_stat(text);
        break;
      case 'm':
        procfs::find_mapping(procfs::parse_maps(text), 0x1000);
        break;
      case 'l':
        procfs::parse_limits(text);
        break;
      case 'c':
        procfs::parse_syscall(text);
        break;
      case 'f':
        procfs::parse_signalfd(text);
        break;
      default:
        procfs::parse_comm(text);
        break;
    }
  } catch (const std::invalid_argument&) {
    // Refused, as it should be.
  }
  return 0;
}
