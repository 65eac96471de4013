// SPDX-License-Identifier: Apache-2.0
#include "run_loop.hpp"

#include "run_send.hpp"
#include "run_sys.hpp"
#include "run_text.hpp"
#include "run_tty.hpp"
#include "sigsafe/die.hpp"
#include "sys/clock.hpp"

#include <sigrun/signal_names.hpp>

#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace sigrun::cmd {
namespace {

constexpr std::int64_t retry_ns = 5'000'000;  // between tries to send on a waiting signal
constexpr int waiting_max = 1024;             // 64 of it for the first one of each number
siginfo_t waiting[waiting_max];  // of the one runner; here, so that unused pages stay untouched
constexpr std::int64_t kill_again_ns = 100'000'000;  // SIGKILLed processes may leave orphans

// tini leaves these to the kernel: a fault signal sent to it ends it, and the two of the terminal
// are ignored. So do we, by its name.
constexpr signal_set tini_not_taken = signal_set::of(SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT,
                                                     SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU, 32, 33);

constexpr signal_set asks_to_end = signal_set::of(SIGTERM, SIGINT, SIGQUIT);

class runner {
 public:
  explicit runner(const run_options& options) noexcept : options_(options) {}
  int run() noexcept;

 private:
  bool native() const noexcept { return options_.style == run_style::native; }
  bool prepare() noexcept;
  bool start() noexcept;
  void loop() noexcept;
  void take(const siginfo_t& info) noexcept;
  void pass(passage& signal) noexcept;
  void keep(const siginfo_t& info) noexcept;
  void retry_waiting() noexcept;
  void reap() noexcept;
  void main_ended(const siginfo_t& child) noexcept;
  void main_stopped(int signo) noexcept;
  void suspend(int signo) noexcept;
  bool resume() noexcept;
  void check_grace() noexcept;
  std::int64_t next_deadline() const noexcept;
  int leave() noexcept;

  const run_options& options_;
  run_journal journal_;
  inherited_signals inherited_{};
  signal_set taken_;
  signal_set waiting_set_;
  int waiting_count_ = 0;
  signal_set hand_off_;  // dumb-init: dropped once each
  signal_target target_;
  run_tty tty_;
  int self_ = 0;
  int child_ = 0;
  int exit_code_ = 0;
  int killed_by_ = 0;
  const child_start* started_ = nullptr;
  std::int64_t kill_at_ = sys::never;
  bool kill_told_ = false;
  bool main_ended_ = false;
  bool no_child_ = false;
  bool suspended_ = false;
};

// False: the runner cannot go on, and has said why.
bool runner::prepare() noexcept {
  self_ = sys::getpid();
  taken_ =
      options_.style == run_style::tini ? signal_set::all() - tini_not_taken : signal_set::all();
  taken_ -= signal_set::of(SIGKILL, SIGSTOP);
  const signal_set blocked = taken_;
  sys::rt_sigprocmask(SIG_SETMASK, &blocked, &inherited_.mask);
  const sys::kernel_sigaction by_default{};
  sys::rt_sigaction(SIGCHLD, &by_default, &inherited_.child);
  if (options_.style == run_style::tini) {
    sys::kernel_sigaction ignored{};
    ignored.handler = sys::handler_ignore;
    sys::rt_sigaction(SIGTTIN, &ignored, &inherited_.tty_in);
    sys::rt_sigaction(SIGTTOU, &ignored, &inherited_.tty_out);
  }
  if (options_.parent_death_signal != 0) {
    const int parent = parent_pid();
    set_parent_death_signal(options_.parent_death_signal);
    // A parent that died before the call above sends nothing.
    if (native() && parent_pid() != parent) sys::kill(self_, options_.parent_death_signal);
  }
  if (options_.subreaper && (self_ != 1 || !native())) {
    const long result = set_subreaper();
    report_subreaper(options_, result);
    if (sys::failed(result)) {
      exit_code_ = native() ? 125 : 1;
      return false;
    }
  }
  if (options_.style == run_style::tini && self_ != 1 && !is_subreaper()) {
    report_not_reaper(options_);
  }
  if (options_.journal != nullptr) {
    if (const int error = journal_.open(options_.journal); error != 0) {
      text_line(2)
          .add("sigrun: cannot open journal ")
          .add(options_.journal)
          .add(": ")
          .add(error_text(error))
          .add("\n");
      exit_code_ = 125;
      return false;
    }
  }
  return true;
}

bool runner::start() noexcept {
  if (options_.style == run_style::dumb_init && options_.own_session) {
    const long detached = sys::call(SYS_ioctl, 0, TIOCNOTTY);
    const bool leader = session_of(0) == self_;
    if (!sys::failed(detached) && leader) hand_off_ = signal_set::of(SIGHUP, SIGCONT);
    report_detached(options_, detached, leader);
  }
  const bool terminal = tty_.wanted(options_);
  const child_start& started = start_child(options_, inherited_, terminal);
  if (started.pid == 0) {
    exit_code_ = report_failed_start(options_, started);
    return false;
  }
  child_ = started.pid;
  started_ = &started;
  if (terminal) tty_.given();
  target_.pid = child_;
  target_.kind = options_.signal_group ? target_kind::group : target_kind::process;
  report_started(options_, child_);
  journal_.start(options_, child_);
  if (options_.style == run_style::dumb_init) sys::call(SYS_chdir, "/");
  return true;
}

std::int64_t runner::next_deadline() const noexcept {
  std::int64_t at = kill_at_;
  if (!waiting_set_.empty()) {
    const std::int64_t retry = sys::now_ns() + retry_ns;
    if (retry < at) at = retry;
  }
  return at;
}

void runner::loop() noexcept {
  while (!main_ended_ || (options_.wait_all && !no_child_)) {
    siginfo_t info;
    const std::int64_t deadline = next_deadline();
    const auto left = sys::to_timespec(deadline == sys::never ? 0 : deadline - sys::now_ns());
    const long signo = sys::rt_sigtimedwait(taken_ - waiting_set_, &info,
                                            deadline == sys::never ? nullptr : &left);
    if (signo > 0) take(info);
    if (!waiting_set_.empty()) retry_waiting();
    // tini looks for the dead after every signal; one look more costs nothing that counts.
    if (signo == SIGCHLD || (signo > 0 && options_.style == run_style::tini)) reap();
    check_grace();
  }
}

void runner::take(const siginfo_t& info) noexcept {
  const int signo = info.si_signo;
  report_taken(options_, info);
  passage signal;
  std::memcpy(&signal.info, &info, sizeof info);
  if (hand_off_.has(signo)) {
    hand_off_ -= signal_set::of(signo);
    signal.done = disposal::ignored;
  } else if (signo == SIGCHLD && (info.si_code > 0 || !native())) {
    return;  // the kernel's word about a child; one that a process sent is passed on
  } else if (native() && info.si_code <= 0 && info.si_pid == self_) {
    // Our own doing. That a write of ours failed must not make us write once more, for ever.
    if (signo == SIGPIPE || signo == SIGXFSZ) return;
    signal.done = disposal::ignored_self;
  } else if (signo == SIGCONT && resume()) {
    signal.sent = SIGCONT;
    signal.kind = target_kind::group;
    signal.target = child_;
  } else {
    pass(signal);
  }
  report_passed(options_, signal);
  journal_.signal(signal);
  if (options_.style == run_style::dumb_init &&
      signal_set::of(SIGTSTP, SIGTTIN, SIGTTOU).has(signo)) {
    report_suspending(options_, signo);
    sys::kill(self_, SIGSTOP);
  }
}

void runner::pass(passage& signal) noexcept {
  const int signo = signal.info.si_signo;
  const int to = options_.rewrite[signo];
  if (to == 0) {
    signal.done = disposal::dropped;
    return;
  }
  signal.sent = to;
  signal.kind = target_.kind;
  signal.target = target_.kind == target_kind::children ? 0 : target_.pid;
  signal.done = to == signo ? disposal::forwarded : disposal::rewritten;
  const long result = send_on(target_, to, signal.info);
  if (result == -EAGAIN && to >= 32) {
    signal.done = disposal::waiting;
    keep(signal.info);
  } else if (sys::failed(result)) {
    signal.done = disposal::failed;
    signal.error = static_cast<int>(-result);
  }
  if (options_.grace_ns >= 0 && kill_at_ == sys::never &&
      (asks_to_end.has(signo) || asks_to_end.has(to))) {
    kill_at_ = sys::now_ns() + options_.grace_ns;
  }
}

void runner::keep(const siginfo_t& info) noexcept {
  std::memcpy(&waiting[waiting_count_++], &info, sizeof info);
  waiting_set_ |= signal_set::of(info.si_signo);
}

// The limit on queued signals counts all of a user's: those that wait for us in the kernel may be
// the very ones that leave the program no room. So one more of each kept number is taken first, as
// long as there is place, and what is kept then goes on in the order it came.
void runner::retry_waiting() noexcept {
  waiting_set_.for_each([this](int signo) {
    siginfo_t info;
    if (waiting_count_ < waiting_max - signal_max &&
        sys::rt_sigtimedwait(signal_set::of(signo), &info, &sys::no_wait) > 0) {
      keep(info);
    }
  });
  const int count = waiting_count_;
  waiting_count_ = 0;
  waiting_set_ = signal_set{};
  for (int i = 0; i < count; ++i) {
    const int signo = waiting[i].si_signo;
    // pass() keeps again what still has no room, at or below i; later ones stay behind it.
    if (waiting_set_.has(signo)) {
      const siginfo_t info = waiting[i];
      keep(info);
      continue;
    }
    passage signal;
    std::memcpy(&signal.info, &waiting[i], sizeof signal.info);
    pass(signal);
    if (signal.done == disposal::waiting) continue;
    report_passed(options_, signal);
    journal_.signal(signal);
  }
}

// Standard signals merge, so one SIGCHLD may stand for any number of children.
void runner::reap() noexcept {
  const int changes = WEXITED | (native() ? WSTOPPED | WCONTINUED : 0);
  for (;;) {
    siginfo_t child;
    const long result = wait_for(P_ALL, 0, &child, changes | WNOHANG | WNOWAIT);
    no_child_ = result == -ECHILD;
    if (sys::failed(result) || child.si_pid == 0) {
      report_nothing_to_reap(options_, !no_child_);
      return;
    }
    const bool is_main = child.si_pid == child_;
    const bool ended =
        child.si_code == CLD_EXITED || child.si_code == CLD_KILLED || child.si_code == CLD_DUMPED;
    if (is_main || ended) {
      // Read and sent while the zombie still holds its name and its pid: (2).
      journal_.process(is_main ? "child" : "adopted", child);
      if (ended) report_reaped(options_, child, is_main);
      if (is_main && ended) main_ended(child);
    }
    siginfo_t taken;
    wait_for(P_PID, child.si_pid, &taken, changes | WNOHANG);
    if (is_main && child.si_code == CLD_STOPPED) main_stopped(child.si_status);
  }
}

void runner::main_ended(const siginfo_t& child) noexcept {
  main_ended_ = true;
  const bool exited = child.si_code == CLD_EXITED;
  killed_by_ = exited ? 0 : child.si_status;
  const int code = (exited ? child.si_status : 128 + child.si_status) & 0xff;
  const bool never_ran = started_->failed != start_step::none;
  exit_code_ = never_ran && native() ? started_->exit_code : options_.exit_code[code];
  if (options_.exit_code_given[code] || never_ran) killed_by_ = 0;
  if (options_.style == run_style::dumb_init) {
    passage last;
    std::memset(&last.info, 0, sizeof last.info);
    last.info.si_signo = SIGTERM;
    pass(last);
    report_passed(options_, last);
  }
  if (options_.wait_all) target_.kind = target_kind::children;
}

void runner::main_stopped(int signo) noexcept {
  report_child_stopped(options_, signo);
  if (!signal_set::of(SIGTSTP, SIGTTIN, SIGTTOU).has(signo)) return;
  if (signo != SIGTSTP && options_.tty != tty_choice::never && tty_.give(child_)) {
    // It wants the terminal, and it was ours to give.
    sys::kill(-child_, SIGCONT);
  } else if (self_ != 1 && !is_orphaned(self_)) {
    suspend(signo);
  } else if (signo == SIGTSTP) {
    // Nobody could resume us. In such a group the kernel itself gives this signal no effect.
    sys::kill(-child_, SIGCONT);
  }
}

// Stops the runner as its child was stopped, so that a shell sees its job stop.
void runner::suspend(int signo) noexcept {
  report_suspending(options_, signo);
  journal_.suspended(signo);
  suspended_ = true;
  // The terminal stopped the child's group only; the rest of our pipeline is in ours.
  if (tty_.has_given()) sys::kill(0, signo);
  sys::kill(self_, SIGSTOP);
}

// SIGCONT after suspend(): the child's whole group goes on, in the foreground if we are there now.
bool runner::resume() noexcept {
  if (!suspended_ || main_ended_) return false;
  suspended_ = false;
  if (options_.tty != tty_choice::never && tty_.has_given()) tty_.give(child_);
  sys::kill(-child_, SIGCONT);
  return true;
}

void runner::check_grace() noexcept {
  if (kill_at_ == sys::never || sys::now_ns() < kill_at_) return;
  const bool everyone = main_ended_;
  if (everyone && !options_.wait_all) return;
  const int group = everyone ? 0 : child_;
  if (!kill_told_) {
    report_grace_over(options_, group);
    journal_.grace_over(group);
    kill_told_ = true;
  }
  if (everyone) {
    send_to_children(SIGKILL);
  } else {
    sys::kill(-child_, SIGKILL);
    sys::kill(child_, SIGKILL);  // it may have left its group
  }
  kill_at_ = sys::now_ns() + kill_again_ns;
}

int runner::leave() noexcept {
  tty_.take_back(child_);
  report_leaving(options_, exit_code_);
  journal_.end(exit_code_);
  if (options_.die_by_signal && killed_by_ != 0) {
    // The program has left its core dump, if it was to leave one; ours would say nothing.
    const rlimit none{0, 0};
    sys::call(SYS_prlimit64, 0, RLIMIT_CORE, &none, nullptr);
    sigsafe::die_by(killed_by_, nullptr);
  }
  return exit_code_;
}

int runner::run() noexcept {
  if (!prepare() || !start()) return exit_code_;
  loop();
  return leave();
}

}  // namespace

int run_program(const run_options& options) noexcept { return runner(options).run(); }

}  // namespace sigrun::cmd
