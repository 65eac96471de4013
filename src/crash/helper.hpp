// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace sigrun::crash {

/// Starts `sigrun-symbolize` and has module report use it; false when it cannot be. It is nobody's
/// child that a wait() could meet: the program forks once more and its parent is waited for here.
bool start_symbolizer(const std::string& path) noexcept;

}  // namespace sigrun::crash
