// SPDX-License-Identifier: Apache-2.0
//
// Everything execve(2) needs, laid out before the child exists, because nothing may be allocated
// after that.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun::process {

/// What `arguments[0]` may be, and its arguments and environment as null-terminated lists.
/// Pointers reach into this object and into the argument list, which must outlive it.
struct program {
  std::vector<std::string> candidates;      // paths to try, in this order
  std::vector<const char*> candidate_list;  // the same, null-terminated
  std::vector<char*> argv;                  // null-terminated
  /// argv for a file the kernel does not know how to run: {"/bin/sh", <candidate>, arguments…}.
  std::vector<char*> shell_argv;
  std::vector<std::string> assignments;
  std::vector<char*> envp;  // null-terminated

  program(const program&) = delete;
  program& operator=(const program&) = delete;
  /// Throws std::invalid_argument for an empty list, an empty name or a NUL inside a string.
  program(const std::vector<std::string>& arguments, bool search_path,
          const std::vector<std::string>& environment, bool inherit_environment);
};

/// Throws std::invalid_argument naming `what` when `text` holds a NUL.
void check_no_nul(const char* what, std::string_view text);

/// Tries every candidate as execvp(3) does, and returns the negated errno to report: the first
/// EACCES when nothing was found after it, else the last one. Uses system calls only; may run in
/// a vfork child.
long exec_candidates(const char* const* candidates, char** argv, char** shell_argv,
                     char** envp) noexcept;

}  // namespace sigrun::process
