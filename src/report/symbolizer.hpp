// SPDX-License-Identifier: Apache-2.0
//
// The other end of a socket on which `sigrun-symbolize` sits, which reads debugging information in
// a process of its own: names in words, files, lines and inlined calls. What it said is kept, for
// code stays where it is.
//
//   ask   ADDRESS \t OFFSET-IN-FILE \t BUILD-ID or - \t PATH \n     for each, then  . \n
//   say   ADDRESS \t FUNCTION \t FILE \t LINE \t OFFSET-IN-FUNCTION \n  innermost first, then  . \n
//
//   (1) Used with the dump turn. Nothing is allocated: text and table are mapped at install.
//   (2) A helper that does not say it all in time is given up for good: what it would say later
//       would be read as the answer to something else.
//   (3) The text is full: everything that was kept is forgotten, and learned again.
#pragma once

#include "report/ask.hpp"
#include "report/lines.hpp"

namespace sigrun::report {

/// Maps what answers are kept in and uses `fd` from now on; a negated errno. Ordinary code, once.
long use_symbolizer(int fd) noexcept;
SIGRUN_SIGNAL_SAFE bool has_symbolizer() noexcept;

/// Asks about the frames that are not known yet. With the turn.
SIGRUN_SIGNAL_SAFE void learn(const symbol::frame* frames, std::size_t count,
                              std::int64_t deadline_ns) noexcept;

/// Fills lines from what was learned; 0: nothing is known of `address`.
SIGRUN_SIGNAL_SAFE std::size_t learned(std::uint64_t address, code_line (&out)[lines_max]) noexcept;

}  // namespace sigrun::report
