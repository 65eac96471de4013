// SPDX-License-Identifier: Apache-2.0
//
// The ELF images of the process: which one an address belongs to, its build id, and where its
// unwind tables are.
//
//   (1) refresh_modules() fills a table that nobody reads and publishes it by one store. Readers
//       are counted, in the table, so that it stays as it is until the last one has left; should
//       all others be read, the list stays the older one until the next refresh.
//   (2) An image that was loaded since the last refresh is found by _dl_find_object(3), which takes
//       no lock (glibc 2.35, for unwinders); it has no build id then.
#pragma once

#include "base/signal_safe.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sigrun::symbol {

inline constexpr std::size_t modules_max = 512;
inline constexpr std::size_t path_room = 224;

struct module_view {
  std::uint64_t bias = 0;   // what was added to the file's addresses
  std::uint64_t begin = 0;  // of its mapping
  std::uint64_t end = 0;
  std::uint64_t eh_frame_hdr = 0;  // 0: none
  std::uint64_t tables_begin = 0;  // the segment that holds the unwind tables
  std::uint64_t tables_end = 0;
  std::uint8_t build_id[20] = {};
  std::uint8_t build_id_size = 0;
  bool cut = false;  // the path was longer
  char path[path_room] = {};

  std::string_view name() const noexcept {
    std::size_t size = 0;
    while (size < path_room && path[size] != '\0') ++size;
    return {path, size};
  }
};

/// Reads the list of images again. Ordinary code, any thread; a second caller at the same time
/// returns at once.
void refresh_modules() noexcept;

/// Copies the row of the image that holds `pc`; false when there is none.
SIGRUN_SIGNAL_SAFE bool find_module(std::uint64_t pc, module_view& out) noexcept;

/// Looks for the GNU build id among `size` bytes of ELF notes, and keeps it in `to`.
SIGRUN_SIGNAL_SAFE void read_build_id(module_view& to, const char* notes,
                                      std::size_t size) noexcept;

/// Each image in order of loading, the program itself first, until `visit` returns false.
SIGRUN_SIGNAL_SAFE void for_each_module(bool (*visit)(void* arg, const module_view& row),
                                        void* arg) noexcept;

}  // namespace sigrun::symbol
