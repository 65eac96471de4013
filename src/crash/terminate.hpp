// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "report/ask.hpp"

namespace sigrun::crash {

/// Has std::terminate() note the exception that nobody caught before it aborts; with `throw_sites`
/// every throw is noted too, in a table of the last ones.
void report_uncaught_exceptions(bool throw_sites) noexcept;

/// Where the exception object was thrown; false: not known (any more).
bool find_throw_site(const void* object, report::stack_trace& out) noexcept;
void note_throw_sites(bool on) noexcept;

}  // namespace sigrun::crash
