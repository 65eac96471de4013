// SPDX-License-Identifier: Apache-2.0
//
// `sigrun dump PID`: every goroutine of a living program that offers it (sigrun::dump_on_request).
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_text.hpp"

#include "crash/dump_name.hpp"
#include "crash/files.hpp"
#include "sys/file.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun dump [OPTIONS] PID\n"
    "Shows every goroutine of process PID, with its stack, while it goes on. The program has to\n"
    "offer it, by sigrun::dump_on_request; of others it says so, and does nothing to them.\n"
    "\n"
    "  -s, --system       the scheduler's own frames too\n"
    "  -t, --timeout T    how long the process may be silent (10s)\n"
    "      --json         one JSON document\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0; 1 when the dump is cut off; 2 when there is none: the message says why.\n";

struct dump_request {
  int pid = 0;
  bool system = false;
  bool as_json = false;
  std::chrono::milliseconds timeout{10'000};
};

std::string path_of(int pid, const char* what) {
  return "/proc/" + std::to_string(pid) + "/" + what;
}

struct stat look(const std::string& path, int pid) {
  struct stat found {};
  const long result = sys::call(SYS_newfstatat, AT_FDCWD, path.c_str(), &found, 0);
  if (result == -ENOENT || result == -ESRCH) throw tool_error(no_such_process(pid));
  if (sys::failed(result)) {
    throw tool_error(path + ": " + std::strerror(static_cast<int>(-result)));
  }
  return found;
}

// Its number in its own namespace: the last one of the line.
int innermost_pid(int pid) {
  std::ifstream status(path_of(pid, "status"));
  std::string line;
  while (std::getline(status, line)) {
    if (!line.starts_with("NSpid:")) continue;
    return parse_id(line.substr(line.find_last_of("\t ") + 1), "a process id");
  }
  return pid;
}

[[noreturn]] void not_offered(int pid) {
  throw tool_error("process " + std::to_string(pid) +
                   " offers no dumps: no sigrun::dump_on_request lives in it (SIGQUIT, if it is "
                   "not handled, writes one and ends it)");
}

crash::open_file connect_to(int pid) {
  if (look(path_of(pid, "ns/net"), pid).st_ino != look("/proc/self/ns/net", pid).st_ino) {
    throw tool_error("process " + std::to_string(pid) +
                     " has another network namespace: run sigrun dump in it (nsenter)");
  }
  const auto space = look(path_of(pid, "ns/pid"), pid).st_ino;
  const crash::dump_address at = crash::dump_address_of(space, innermost_pid(pid));
  crash::open_file fd(
      static_cast<int>(sys::call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  const long connected = sys::call(SYS_connect, fd.get(), &at.address, at.size);
  if (connected == -ECONNREFUSED || connected == -ENOENT) not_offered(pid);
  if (sys::failed(connected)) {
    throw tool_error("the socket of process " + std::to_string(pid) + ": " +
                     std::strerror(static_cast<int>(-connected)));
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  sys::call(SYS_getsockopt, fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  // Names of this kind are anybody's: another process might have taken this one.
  if (peer.pid != pid) not_offered(pid);
  return fd;
}

// All that comes; ends at the end, or when nothing has come for the time.
std::string receive(int fd, std::chrono::milliseconds silence) {
  std::string text;
  char room[65536];
  for (;;) {
    pollfd wait{fd, POLLIN, 0};
    const timespec time{silence.count() / 1000, silence.count() % 1000 * 1'000'000};
    const long ready = sys::call(SYS_ppoll, &wait, 1, &time, nullptr, 0);
    if (ready == -EINTR) continue;
    if (ready <= 0) return text;
    const long n = sys::read(fd, room, sizeof room);
    if (n <= 0) return text;
    text.append(room, static_cast<std::size_t>(n));
  }
}

json json_of(int pid, std::string_view text, bool whole) {
  json all = json::array();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    std::string_view block = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    const std::size_t open = block.find(" [");
    const std::size_t close = block.find("]:\n");
    if (!block.starts_with("goroutine ") || open > close) continue;
    json one = {{"id", std::strtoull(block.data() + std::strlen("goroutine "), nullptr, 10)},
                {"state", block.substr(open + 2, close - open - 2)},
                {"stack", json::array()}};
    block.remove_prefix(std::min(close + 3, block.size()));
    while (!block.empty()) {
      const std::size_t line = std::min(block.find('\n'), block.size());
      one["stack"].push_back(block.substr(0, line));
      block.remove_prefix(std::min(line + 1, block.size()));
    }
    all.push_back(std::move(one));
  }
  return {{"pid", pid}, {"complete", whole}, {"goroutines", std::move(all)}};
}

dump_request parse(int argc, char** argv) {
  dump_request wanted;
  tool_line line(argc, argv,
                 {{'s', "system"}, {'t', "timeout", argument::required}, {'\1', "json"}});
  while (const char option = line.next()) {
    if (option == 's') wanted.system = true;
    if (option == 't') wanted.timeout = parse_time(line.value(), "--timeout");
    if (option == '\1') wanted.as_json = true;
  }
  wanted.pid = parse_id(line.operands({"PID"})[0], "a process id");
  return wanted;
}

int dump(int argc, char** argv) {
  const dump_request wanted = parse(argc, argv);
  const crash::open_file fd = connect_to(wanted.pid);
  const std::string_view word = wanted.system ? "system\n" : "all\n";
  sys::call(SYS_sendto, fd.get(), word.data(), word.size(), MSG_NOSIGNAL, nullptr, 0);
  std::string text = receive(fd.get(), wanted.timeout);
  const std::string who = "process " + std::to_string(wanted.pid);
  if (text.starts_with(crash::dump_refusal)) {
    throw tool_error(who + " belongs to another user, and refuses");
  }
  if (!text.starts_with(crash::dump_greeting)) throw tool_error(who + " does not answer");
  text.erase(0, crash::dump_greeting.size());
  const bool whole = text.ends_with(crash::dump_end);
  if (whole) text.pop_back();
  if (wanted.as_json) {
    print_json(json_of(wanted.pid, text, whole), 2);
  } else {
    print(text);
  }
  return whole ? 0 : 1;
}

}  // namespace

int dump_main(int argc, char** argv) { return run_tool("dump", help, argc, argv, dump); }

}  // namespace sigrun::cmd
