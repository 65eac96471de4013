// SPDX-License-Identifier: Apache-2.0
//
// A job's end is seen by its pidfd in the netpoller, so a goroutine that waits costs no thread.
//
// Invariants:
//  (1) The child is reaped only by collect(), under the lock, and its group is signalled under the
//      same lock and never after that. Until it is reaped its number is taken, so the group that is
//      meant is the group that gets it.
//  (2) Who waits looks first and sleeps then; the pidfd's edge stays in the descriptor until it is
//      taken note of, so an end in between is not missed.
#include "io/io_fd.hpp"
#include "io/within.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/children.hpp>
#include <sigrun/sync.hpp>

#include <fcntl.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <mutex>
#include <stdexcept>

namespace sigrun::process {

struct job_state {
  explicit job_state(child from) : process(std::move(from)), pid(process.pid()) {}
  ~job_state() {
    if (end != nullptr) end->drop_handle();
  }
  job_state(const job_state&) = delete;
  job_state& operator=(const job_state&) = delete;

  bool has_ended() const noexcept;
  bool await_end(std::int64_t deadline_ns, const context* ctx);
  exit_status collect();
  bool send(int to, int signo);

  mutable mutex lock;
  child process;
  const int pid;
  detail::io_fd* end = nullptr;  // a copy of the pidfd
  std::optional<exit_status> status;
};

namespace {

[[noreturn]] void refuse(long result, const char* what) {
  throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

// A pipe whose one end is ours and does not block, and whose other end is the child's and does.
class child_pipe {
 public:
  child_pipe() {
    const long result = sys::call(SYS_pipe2, fds_, O_CLOEXEC);
    if (sys::failed(result)) refuse(result, "sigrun::process::start: pipe");
  }
  ~child_pipe() {
    for (const int fd : fds_) {
      if (fd >= 0) sys::close(fd);
    }
  }
  child_pipe(const child_pipe&) = delete;
  child_pipe& operator=(const child_pipe&) = delete;

  int read_end() const noexcept { return fds_[0]; }
  int write_end() const noexcept { return fds_[1]; }
  pipe_reader take_read_end() { return pipe_reader::adopt(std::exchange(fds_[0], -1)); }
  pipe_writer take_write_end() { return pipe_writer::adopt(std::exchange(fds_[1], -1)); }

 private:
  int fds_[2] = {-1, -1};
};

void check_free(const start_options& options, int fd) {
  for (const auto& [from, to] : options.spawn.files) {
    if (to == fd) {
      throw std::invalid_argument("sigrun::process::start: fd " + std::to_string(fd) +
                                  " is to be a pipe, and in files");
    }
  }
}

job_state& need(const std::shared_ptr<job_state>& state, const char* what) {
  if (state != nullptr) return *state;
  throw std::logic_error(std::string("sigrun::process::job::") + what + ": there is no child");
}

}  // namespace

// Without reaping it.
bool job_state::has_ended() const noexcept {
  siginfo_t info{};
  const long result =
      sys::call(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, nullptr);
  return sys::failed(result) || info.si_pid != 0;
}

// False: the deadline has passed, or the context has ended.
bool job_state::await_end(std::int64_t deadline_ns, const context* ctx) {
  detail::within inside(ctx);
  const auto over = [&] {
    const std::lock_guard hold(lock);
    return status.has_value() || has_ended();
  };
  if (over()) return true;
  long error = end->begin(poll::side::read, &inside);
  if (error == 0) {
    for (;;) {
      if (over()) break;
      error = end->wait(poll::side::read, deadline_ns, &inside);
      if (error != 0) break;
    }
    end->end(poll::side::read);
  }
  if (error == 0 || over()) return true;
  if (error == -EAGAIN || error == -detail::context_ended) return false;
  refuse(error, "sigrun::process::job::wait");
}

exit_status job_state::collect() {
  const std::lock_guard hold(lock);  // (1)
  if (!status) status = process.wait();
  return *status;
}

bool job_state::send(int to, int signo) {
  const std::lock_guard hold(lock);  // (1)
  if (status) return false;
  const long result = sys::kill(to, signo);
  if (result == -ESRCH) return false;
  if (sys::failed(result)) refuse(result, "sigrun::process::job: signal");
  return true;
}

// ---------------------------------------------------------------------------------------- the job

int job::pid() const noexcept { return state_ != nullptr ? state_->pid : 0; }

bool job::signal(int signo) const {
  job_state& state = need(state_, "signal");
  return state.send(state.pid, signo);
}

bool job::signal_group(int signo) const {
  job_state& state = need(state_, "signal_group");
  return state.send(-state.pid, signo);
}

exit_status job::wait() { return *wait(context()); }

std::optional<exit_status> job::wait(const context& ctx) {
  job_state& state = need(state_, "wait");
  if (!state.await_end(detail::wait_for_ever, &ctx)) return std::nullopt;
  return state.collect();
}

std::optional<exit_status> job::wait_for(std::chrono::nanoseconds time) {
  job_state& state = need(state_, "wait_for");
  if (!state.await_end(detail::deadline_in(time), nullptr)) return std::nullopt;
  return state.collect();
}

exit_status job::stop(std::chrono::nanoseconds grace, int signo) {
  job_state& state = need(state_, "stop");
  if (signal_group(signo)) {
    signal_group(SIGCONT);
    state.await_end(detail::deadline_in(grace), nullptr);
    signal_group(SIGKILL);
  }
  state.await_end(detail::wait_for_ever, nullptr);
  return state.collect();
}

job start(const std::vector<std::string>& arguments, const start_options& options) {
  spawn_options how = options.spawn;
  how.new_process_group = !how.new_session;  // a session has a group of its own
  std::optional<child_pipe> in;
  std::optional<child_pipe> out;
  std::optional<child_pipe> err;
  const auto add = [&](bool wanted, std::optional<child_pipe>& pipe, int fd) {
    if (!wanted) return;
    check_free(options, fd);
    pipe.emplace();
    how.files.emplace_back(fd == 0 ? pipe->read_end() : pipe->write_end(), fd);
  };
  add(options.pipe_in, in, 0);
  add(options.pipe_out, out, 1);
  add(options.pipe_err, err, 2);
  job made;
  if (in) made.in = in->take_write_end();
  if (out) made.out = out->take_read_end();
  if (err) made.err = err->take_read_end();
  made.state_ = std::make_shared<job_state>(spawn(arguments, how));
  // From here on a failure leaves a child, which is reaped when it ends.
  const long copy = sys::call(SYS_fcntl, made.state_->process.pidfd(), F_DUPFD_CLOEXEC, 0);
  if (sys::failed(copy)) {
    made.signal_group(SIGKILL);
    refuse(copy, "sigrun::process::start");
  }
  long error = 0;
  made.state_->end = detail::io_fd::open(static_cast<int>(copy), detail::fd_kind::pipe, error);
  if (made.state_->end == nullptr) {
    made.signal_group(SIGKILL);
    refuse(error, "sigrun::process::start");
  }
  return made;
}

}  // namespace sigrun::process
