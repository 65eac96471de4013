// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "report/sink.hpp"

#include <string_view>

namespace sigrun::crash {

/// A linker's name as people write it, without parameters: "ns::queue<int>::push". Allocates, so
/// not in handlers; never throws: then it is written as it is. A report::demangler.
void write_words(report::sink& out, std::string_view linkage) noexcept;

}  // namespace sigrun::crash
