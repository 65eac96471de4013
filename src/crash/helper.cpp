// SPDX-License-Identifier: Apache-2.0
#include "crash/helper.hpp"

#include "crash/files.hpp"
#include "report/symbolizer.hpp"
#include "sys/file.hpp"

#include <spawn.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <array>
#include <cstdlib>

namespace sigrun::crash {
namespace {

constexpr const char* program = "sigrun-symbolize";
constexpr int helper_fd = 3;

std::string beside_this_program() {
  std::array<char, 4096> path{};
  const long size =
      sys::call(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path.data(), path.size() - 1);
  if (sys::failed(size)) return {};
  std::string text(path.data());
  text.resize(text.rfind('/') + 1);
  text += program;
  return sys::failed(sys::call(SYS_faccessat, AT_FDCWD, text.c_str(), X_OK)) ? "" : text;
}

std::string find_program(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  // A program with more rights than its caller takes nothing from the caller's environment.
  const bool trusted = getauxval(AT_SECURE) == 0;
  if (const char* text = trusted ? std::getenv("SIGRUN_SYMBOLIZE") : nullptr) return text;
  if (const std::string found = beside_this_program(); !found.empty()) return found;
  return trusted ? program : "";
}

bool spawn(const std::string& path, int fd) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t how;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&how);
  for (const int standard : {0, 1, 2}) {
    posix_spawn_file_actions_addopen(&files, standard, "/dev/null", O_RDWR, 0);
  }
  posix_spawn_file_actions_adddup2(&files, fd, helper_fd);
  posix_spawn_file_actions_addclosefrom_np(&files, helper_fd + 1);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&how, &none);
  posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = program, daemon = "--daemon";
  std::array<char*, 3> arguments{name.data(), daemon.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, path.c_str(), &files, &how, arguments.data(), ::environ);
  posix_spawnattr_destroy(&how);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return false;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    // Somebody else who waits for all children may have had it: then it has ended as well.
    if (sys::kill(pid, 0) != 0) return true;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

bool start_symbolizer(const std::string& wanted) noexcept try {
  const std::string path = find_program(wanted);
  if (path.empty()) return false;
  int ends[2];
  const long made = sys::call(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
  if (sys::failed(made)) return false;
  open_file ours(ends[0]), theirs(ends[1]);
  if (!spawn(path, theirs.get())) return false;
  if (sys::failed(report::use_symbolizer(ours.get()))) return false;
  ours.release();
  return true;
} catch (...) {
  return false;
}

}  // namespace sigrun::crash
