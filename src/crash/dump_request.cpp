// SPDX-License-Identifier: Apache-2.0
#include "crash/dump_name.hpp"
#include "crash/files.hpp"
#include "signal/quiet_thread.hpp"
#include "sys/file.hpp"

#include <sigrun/dump.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <system_error>

namespace sigrun {
namespace {

constexpr int waiting_max = 4;
constexpr timeval word_time{2, 0};  // for the client's one line

int checked(long result, const char* what) {
  if (sys::failed(result)) {
    throw std::system_error(static_cast<int>(-result), std::system_category(), what);
  }
  return static_cast<int>(result);
}

crash::open_file listen_here() {
  struct stat space {};
  checked(sys::call(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &space, 0),
          "sigrun::dump_on_request: /proc/self/ns/pid");
  const crash::dump_address at = crash::dump_address_of(space.st_ino, sys::getpid());
  crash::open_file fd(checked(sys::call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                              "sigrun::dump_on_request: a socket"));
  checked(sys::call(SYS_bind, fd.get(), &at.address, at.size), "sigrun::dump_on_request: its name");
  checked(sys::call(SYS_listen, fd.get(), waiting_max), "sigrun::dump_on_request: listen");
  return fd;
}

bool may_ask(int fd) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  const long got = sys::call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  return !sys::failed(got) && (peer.uid == 0 || peer.uid == ::geteuid());
}

// Never a SIGPIPE: the thread has it blocked.
bool say(int fd, std::string_view text) noexcept {
  return sys::write(fd, text) == static_cast<long>(text.size());
}

// The client's word; false: none came in time.
bool read_word(int fd, std::string& word) {
  sys::call(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &word_time, sizeof word_time);
  char room[16];
  while (word.find('\n') == std::string::npos && word.size() < sizeof room) {
    const long n = sys::read(fd, room, sizeof room);
    if (n <= 0) return false;
    word.append(room, static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

dump_on_request::dump_on_request(const dump_options& options) : options_(options) {
  crash::open_file listening = listen_here();
  crash::open_file stop(checked(sys::eventfd(0, EFD_CLOEXEC), "sigrun::dump_on_request: eventfd"));
  listening_ = listening.get();
  stop_ = stop.get();
  thread_ = signal::start_quiet_thread("sigrun-dump", [this] { serve(); });
  listening.release();
  stop.release();
}

dump_on_request::~dump_on_request() {
  const std::uint64_t one = 1;
  sys::write(stop_, &one, sizeof one);
  thread_.join();
  sys::close(listening_);
  sys::close(stop_);
}

void dump_on_request::serve() noexcept {
  for (;;) {
    pollfd wait[2] = {{listening_, POLLIN, 0}, {stop_, POLLIN, 0}};
    sys::call(SYS_ppoll, wait, 2, nullptr, nullptr, 0);
    if (wait[1].revents != 0) return;
    if (wait[0].revents == 0) continue;
    const long fd = sys::call(SYS_accept4, listening_, nullptr, nullptr, SOCK_CLOEXEC);
    if (sys::failed(fd)) continue;
    answer(static_cast<int>(fd));
    sys::close(static_cast<int>(fd));
  }
}

void dump_on_request::answer(int to) noexcept {
  if (!may_ask(to)) {
    refused_.fetch_add(1);
    say(to, crash::dump_refusal);
    return;
  }
  try {
    std::string word;
    if (!read_word(to, word) || !say(to, crash::dump_greeting)) {
      failed_.fetch_add(1);
      return;
    }
    dump_options how = options_;
    how.system = how.system || word == "system\n";
    // What waits for room in the socket is the sink's own, and has an end.
    sys::call(SYS_fcntl, to, F_SETFL, O_NONBLOCK);
    write_goroutine_stacks(to, how);
    const bool whole = say(to, {&crash::dump_end, 1});
    (whole ? written_ : failed_).fetch_add(1);
  } catch (...) {
    failed_.fetch_add(1);
  }
}

}  // namespace sigrun
