// SPDX-License-Identifier: Apache-2.0
//
// Reports of crashes: what failed, and what everything else was doing, written by the process that
// dies. docs/crash-reports.md.
//
//   int main() {
//     sigrun::install_crash_reports({.directory = "/var/lib/server/crashes"});
//     …
//
// From then on an uncaught fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), abort(), and
// an exception that nobody catches write text to stderr and a JSON file to the directory, and the
// process dies as it would have: by that signal, with its siginfo, and with a core file if the
// system wants one. In less than three seconds, whatever else is wrong.
#pragma once

#include <sigrun/signal_set.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sigrun {

/// How much is shown, after Go's GOTRACEBACK. The environment's SIGRUN_TRACEBACK has the last word.
enum class traceback : std::uint8_t {
  none,    ///< one line
  single,  ///< the goroutine (thread) that failed
  all,     ///< and all other goroutines
  system,  ///< and all threads, and the scheduler's own frames
  crash,   ///< the same, and the soft limit of core files is raised to the hard one
};

namespace detail {
#if defined(__clang__)
inline constexpr const char* compiler_name = "clang " __clang_version__;
#else
inline constexpr const char* compiler_name = "g++ " __VERSION__;
#endif
#if defined(SIGRUN_BUILD_FLAGS)
inline constexpr const char* build_flags = SIGRUN_BUILD_FLAGS;
#elif defined(__OPTIMIZE__)
inline constexpr const char* build_flags = "optimized";
#else
inline constexpr const char* build_flags = "not optimized";
#endif
}  // namespace detail

struct crash_options {
  /// Where crash-TIME-PID.json goes, mode 0600. Made (0700) if it is not there. Empty: text only.
  std::string directory = {};
  /// Reports that are kept; older ones are removed at install. At least 1.
  std::size_t keep = 16;
  /// Bytes a report may have; one that would be larger is not left behind.
  std::size_t file_max = std::size_t{8} << 20;
  /// Where the text goes: appended to a file (mode 0600), else written to a descriptor.
  std::string text_file = {};
  int text_fd = 2;
  traceback detail = traceback::all;
  /// When the process ends whatever has been written: 100 ms to 3 s.
  std::chrono::milliseconds time_max{2500};
  /// The program `sigrun-symbolize`, which waits beside this process and knows names, files, lines
  /// and inlined calls. Empty: SIGRUN_SYMBOLIZE, then beside this program, then the PATH. Without
  /// it there are names from symbol tables, and addresses with build ids.
  std::string symbolizer = {};
  bool symbolize = true;
  /// Notes where exceptions are thrown, for those that nobody catches: some microseconds a throw.
  bool throw_sites = true;
  /// For the report.
  std::string program = {};
  std::string version = {};
  std::string commit = {};
  std::string compiler = detail::compiler_name;
  std::string flags = detail::build_flags;
};

/// Installs it for the process; again: changes the settings. Handlers that are there stay in front:
/// a fault goes to them first, and then there is no report. The calling thread gets an alternate
/// signal stack if it has none. Throws std::invalid_argument that names a bad option (or value of
/// SIGRUN_TRACEBACK), std::system_error that names what could not be opened. A symbolizer that
/// cannot be started is no error: see crash_symbolizer().
void install_crash_reports(const crash_options& options = {});

/// Whether a symbolizer is there now.
bool crash_symbolizer() noexcept;

/// An alternate signal stack for the calling thread while it lives, so that a thread of the
/// program's own that runs off its stack is reported as well. Threads of the runtime have one.
/// Must be destroyed by the thread that made it. std::system_error: no memory.
class alternate_stack {
 public:
  alternate_stack();
  ~alternate_stack();
  alternate_stack(const alternate_stack&) = delete;
  alternate_stack& operator=(const alternate_stack&) = delete;

 private:
  void* block_;
};

}  // namespace sigrun
