// SPDX-License-Identifier: Apache-2.0
//
// Names of functions, from the symbol table of the image's file. The file is mapped when the first
// of its addresses is asked for, and stays mapped: no allocation, no lock, a few system calls. What
// has no symbols (stripped, replaced since, deleted, no descriptor left to open it) has no names.
//
//   (1) One caller at a time: what was found is kept in a small table without a lock.
//   (2) A file whose build id is not the loaded image's is not believed.
#pragma once

#include "symbol/modules.hpp"

#include <cstdint>
#include <string_view>

namespace sigrun::symbol {

struct function_name {
  std::string_view linkage;  // as the linker has it; stays valid
  std::uint64_t offset = 0;  // of pc within the function
};

/// The function that holds `pc`, which lies in `image`. (1)
SIGRUN_SIGNAL_SAFE bool find_function(const module_view& image, std::uint64_t pc,
                                      function_name& out) noexcept;

}  // namespace sigrun::symbol
