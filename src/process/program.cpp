// SPDX-License-Identifier: Apache-2.0
#include "process/program.hpp"

#include "process/in_child.hpp"
#include "sys/syscall.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace sigrun::process {
namespace {

// execvp(3): the system's own default when PATH is not set.
constexpr std::string_view default_path = "/bin:/usr/bin";

std::vector<std::string> find_candidates(const std::string& name, bool search_path) {
  if (!search_path || name.find('/') != std::string::npos) return {name};
  const char* const from_environment = std::getenv("PATH");
  std::string_view path = from_environment != nullptr ? from_environment : default_path;
  std::vector<std::string> found;
  for (;;) {
    const std::size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    // An empty entry is the working directory.
    found.push_back(folder.empty() ? name : std::string{folder} + "/" + name);
    if (colon == std::string_view::npos) return found;
    path.remove_prefix(colon + 1);
  }
}

std::string_view name_of(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

std::vector<std::string> merge_environment(const std::vector<std::string>& added, bool inherit) {
  std::vector<std::string> merged;
  for (char** entry = inherit ? environ : nullptr; entry != nullptr && *entry != nullptr; ++entry) {
    bool replaced = false;
    for (const std::string& assignment : added) {
      replaced = replaced || name_of(assignment) == name_of(*entry);
    }
    if (!replaced) merged.emplace_back(*entry);
  }
  merged.insert(merged.end(), added.begin(), added.end());
  return merged;
}

}  // namespace

void check_no_nul(const char* what, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    throw std::invalid_argument(std::string("sigrun::process: ") + what +
                                " holds a NUL character: \"" + text.data() + "\"");
  }
}

program::program(const std::vector<std::string>& arguments, bool search_path,
                 const std::vector<std::string>& environment, bool inherit_environment) {
  if (arguments.empty()) {
    throw std::invalid_argument("sigrun::process: the argument list is empty");
  }
  for (const std::string& argument : arguments) check_no_nul("an argument", argument);
  for (const std::string& assignment : environment) {
    check_no_nul("environment", assignment);
    if (assignment.find('=') == std::string::npos) {
      throw std::invalid_argument("sigrun::process: environment entry \"" + assignment +
                                  "\" is not NAME=value");
    }
  }
  candidates = find_candidates(arguments[0], search_path);
  for (const std::string& path : candidates) candidate_list.push_back(path.c_str());
  candidate_list.push_back(nullptr);

  static char shell[] = "/bin/sh";
  shell_argv = {shell, nullptr};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  shell_argv.insert(shell_argv.end(), argv.begin() + 1, argv.end());

  assignments = merge_environment(environment, inherit_environment);
  for (std::string& assignment : assignments) envp.push_back(assignment.data());
  envp.push_back(nullptr);
}

SIGRUN_IN_CHILD long exec_candidates(const char* const* candidates, char** argv, char** shell_argv,
                                     char** envp) noexcept {
  long refused = 0;
  long last = -ENOENT;
  for (; *candidates != nullptr; ++candidates) {
    const auto path = reinterpret_cast<long>(*candidates);
    last = sigrun_syscall6(SYS_execve, path, reinterpret_cast<long>(argv),
                           reinterpret_cast<long>(envp), 0, 0, 0);
    if (last == -ENOEXEC) {
      // A script without "#!": the shell's, as execvp(3) has it.
      shell_argv[1] = const_cast<char*>(*candidates);
      last = sigrun_syscall6(SYS_execve, reinterpret_cast<long>(shell_argv[0]),
                             reinterpret_cast<long>(shell_argv), reinterpret_cast<long>(envp), 0, 0,
                             0);
      return last;
    }
    if (last == -EACCES) {
      refused = last;
    } else if (last != -ENOENT && last != -ENOTDIR && last != -ESTALE && last != -ENODEV &&
               last != -ETIMEDOUT) {
      return last;
    }
  }
  return refused != 0 ? refused : last;
}

}  // namespace sigrun::process
