// SPDX-License-Identifier: Apache-2.0
#include "support/child_process.hpp"

#include "support/test_body.hpp"

#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/signal_names.hpp>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <system_error>

namespace sigrun::test {
namespace {

// Where a child finds its two hand-shake pipes, in either form of start.
constexpr int child_ready_fd = 198;
constexpr int child_go_fd = 199;
constexpr const char* hand_shake_variable = "SIGRUN_TEST_HAND_SHAKE";

struct pipe_pair {
  int read = -1;
  int write = -1;
  explicit pipe_pair(bool socket = false) {
    int fds[2];
    const int failed = socket ? ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                              : ::pipe2(fds, O_CLOEXEC);
    if (failed != 0) throw std::system_error{errno, std::generic_category(), "pipe2"};
    read = fds[0];
    write = fds[1];
  }
};

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  ::_exit(122);
}

void set_up_child(const child_options& options, const pipe_pair& ready, const pipe_pair& go,
                  const pipe_pair& out, const pipe_pair& err, int parent) {
  sys::set_mask(signal_set::all());
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(123);
  if (::dup2(out.write, 1) < 0 || ::dup2(err.write, 2) < 0 ||
      ::dup2(ready.write, child_ready_fd) < 0 || ::dup2(go.read, child_go_fd) < 0) {
    give_up("dup2");
  }
  for (int signo = 1; signo <= signal_max; ++signo) {
    sys::kernel_sigaction action;
    if (options.ignored.has(signo)) action.handler = sys::handler_ignore;
    sys::rt_sigaction(signo, &action, nullptr);
  }
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  for (const auto& [resource, soft] : options.limits) {
    rlimit limit;
    ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
    limit.rlim_cur = std::min(soft, limit.rlim_max);
    if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) give_up("setrlimit");
  }
  ::setenv(hand_shake_variable, "1", 1);
  for (const std::string& assignment : options.environment) {
    const std::size_t equals = assignment.find('=');
    ::setenv(assignment.substr(0, equals).c_str(), assignment.substr(equals + 1).c_str(), 1);
  }
  if (options.dead_man) ::alarm(static_cast<unsigned>(options.timeout.count() / 1000 + 10));
  sys::set_mask(options.blocked);
}

[[noreturn]] void run_body(const std::function<int()>& body, bool becomes_a_program) {
  int code = 121;
  try {
    code = becomes_a_program ? body() : run_child_body(body);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "uncaught: %s\n", error.what());
  }
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace

bool child_result::exited_with(int code) const {
  return !timed_out && WIFEXITED(status) && WEXITSTATUS(status) == code;
}

bool child_result::killed_by(int signo) const {
  return !timed_out && WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

std::string child_result::describe() const {
  std::string text;
  if (timed_out) text += "time-out, then ";
  if (WIFEXITED(status)) text += "exit " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) text += "killed by " + std::string{signal_name(WTERMSIG(status))};
  return text + "\nstdout: " + out + "\nstderr: " + err;
}

void announce_ready() {
  if (::getenv(hand_shake_variable) == nullptr) return;
  [[maybe_unused]] const auto written = ::write(child_ready_fd, "R", 1);
  ::close(child_ready_fd);
}

bool wait_for_go() {
  if (::getenv(hand_shake_variable) == nullptr) return true;
  char byte;
  for (;;) {
    const long got = sys::read(child_go_fd, &byte, 1);
    if (got == -EINTR) continue;
    return got == 1;
  }
}

child_process::child_process(const std::function<int()>& body, const child_options& options) {
  start(body, options);
}

child_process::child_process(const std::vector<std::string>& arguments,
                             const child_options& options) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  start(
      [&argv]() -> int {
        ::execvp(argv[0], argv.data());
        std::perror(argv[0]);
        return errno == ENOENT ? 127 : 126;
      },
      options, true);
}

void child_process::start(const std::function<int()>& body, const child_options& options,
                          bool becomes_a_program) {
  begin_ = std::chrono::steady_clock::now();
  deadline_ = begin_ + options.timeout;
  const pipe_pair ready, go{true}, out, err;
  std::fflush(nullptr);
  const int parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error{errno, std::generic_category(), "fork"};
  if (pid_ == 0) {
    set_up_child(options, ready, go, out, err, parent);
    // A pipe end of the parent that stayed open here would hide its end from wait_for_go().
    for (const int fd :
         {ready.read, ready.write, go.read, go.write, out.read, out.write, err.read, err.write}) {
      ::close(fd);
    }
    run_body(body, becomes_a_program);
  }
  for (const int fd : {ready.write, go.read, out.write, err.write}) ::close(fd);
  ready_fd_ = ready.read;
  go_fd_ = go.write;
  out_fd_ = out.read;
  err_fd_ = err.read;
  pidfd_ = static_cast<int>(sys::pidfd_open(pid_, 0));
  ::setpgid(pid_, pid_);
}

child_process::child_process(child_process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      ready_fd_(std::exchange(other.ready_fd_, -1)),
      go_fd_(std::exchange(other.go_fd_, -1)),
      out_fd_(std::exchange(other.out_fd_, -1)),
      err_fd_(std::exchange(other.err_fd_, -1)),
      line_start_(other.line_start_),
      begin_(other.begin_),
      deadline_(other.deadline_),
      result_(std::move(other.result_)) {}

child_process::~child_process() {
  if (pid_ > 0) {
    kill();
    ::waitpid(pid_, nullptr, 0);
  }
  for (int* fd : {&pidfd_, &ready_fd_, &go_fd_, &out_fd_, &err_fd_}) close_fd(*fd);
}

int child_process::left_ms() const {
  const auto left = deadline_ - std::chrono::steady_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<long>(ms + 1, 0, INT_MAX));
}

void child_process::signal(int signo) const {
  if (::kill(pid_, signo) != 0) throw std::system_error{errno, std::generic_category(), "kill"};
}

void child_process::queue(int signo, int value) const {
  sigval payload;
  payload.sival_ptr = nullptr;
  payload.sival_int = value;
  if (::sigqueue(pid_, signo, payload) != 0) {
    throw std::system_error{errno, std::generic_category(), "sigqueue"};
  }
}

void child_process::kill() const { ::kill(pid_, SIGKILL); }

void child_process::go_on() {
  // A socket, because a pipe whose reader has died would send us SIGPIPE.
  [[maybe_unused]] const auto sent = ::send(go_fd_, "G", 1, MSG_NOSIGNAL);
}

// Reads what the child wrote, so that it never blocks on a full pipe. False: both ends closed.
bool child_process::pump(int timeout_ms) {
  pollfd fds[2] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
  ::poll(fds, 2, timeout_ms);
  char buffer[65536];
  int* const ends[2] = {&out_fd_, &err_fd_};
  std::string* const texts[2] = {&result_.out, &result_.err};
  for (int i = 0; i < 2; ++i) {
    if (fds[i].fd < 0 || fds[i].revents == 0) continue;
    const ssize_t got = ::read(fds[i].fd, buffer, sizeof buffer);
    if (got > 0) texts[i]->append(buffer, static_cast<std::size_t>(got));
    if (got == 0) close_fd(*ends[i]);
  }
  return out_fd_ >= 0 || err_fd_ >= 0;
}

bool child_process::ready() {
  for (int left = left_ms(); left > 0; left = left_ms()) {
    pollfd fds[3] = {{ready_fd_, POLLIN, 0}, {out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
    if (::poll(fds, 3, left) < 0) continue;
    if (fds[0].revents != 0) {
      char byte;
      const bool said = ::read(ready_fd_, &byte, 1) == 1;
      close_fd(ready_fd_);
      return said;
    }
    pump(0);
  }
  return false;
}

int child_process::stopped_by() {
  while (left_ms() > 0) {
    int status = 0;
    const int got = ::waitpid(pid_, &status, WUNTRACED | WNOHANG);
    if (got == pid_) {
      if (WIFSTOPPED(status)) return WSTOPSIG(status);
      result_.status = status;
      pid_ = -1;
      return 0;
    }
    ::poll(nullptr, 0, 1);  // no fd tells of a stop
  }
  return 0;
}

std::optional<std::string> child_process::read_line() {
  for (;;) {
    const std::size_t end = result_.out.find('\n', line_start_);
    if (end != std::string::npos) {
      std::string line = result_.out.substr(line_start_, end - line_start_);
      line_start_ = end + 1;
      return line;
    }
    const int left = left_ms();
    if (left == 0 || out_fd_ < 0) return std::nullopt;
    pump(left);
  }
}

child_result child_process::finish() {
  // Its own end, not that of its pipes, which grandchildren may hold open.
  while (pid_ > 0) {
    const int left = left_ms();
    if (left == 0) {
      result_.timed_out = true;
      kill();
      ::waitpid(pid_, &result_.status, 0);
      break;
    }
    pollfd fds[3] = {{pidfd_, POLLIN, 0}, {out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
    ::poll(fds, 3, left);
    pump(0);
    if (fds[0].revents != 0) {
      ::waitpid(pid_, &result_.status, 0);
      break;
    }
  }
  pid_ = -1;
  result_.duration = std::chrono::steady_clock::now() - begin_;
  for (pollfd rest{out_fd_, POLLIN, 0}; out_fd_ >= 0 && ::poll(&rest, 1, 0) > 0;) pump(0);
  for (pollfd rest{err_fd_, POLLIN, 0}; err_fd_ >= 0 && ::poll(&rest, 1, 0) > 0;) pump(0);
  return result_;
}

child_result run_child(const std::function<int()>& body, const child_options& options) {
  child_process child{body, options};
  return child.finish();
}

child_result run_child(const std::vector<std::string>& arguments, const child_options& options) {
  child_process child{arguments, options};
  return child.finish();
}

std::string self_path() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string{path, static_cast<std::size_t>(length)} : std::string{};
}

std::string beside_self(const std::string& name) {
  const std::string self = self_path();
  return self.substr(0, self.rfind('/') + 1) + name;
}

}  // namespace sigrun::test
