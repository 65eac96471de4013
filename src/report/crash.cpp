// SPDX-License-Identifier: Apache-2.0
#include "report/crash.hpp"

#include "report/crash_state.hpp"
#include "report/symbolizer.hpp"
#include "sigsafe/die.hpp"
#include "sigsafe/intake.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <atomic>

namespace sigrun::report {
namespace {

constinit crash_config config{};
constinit crash_state* state = nullptr;
constinit std::atomic<int> owner{0};     // tid of who reports
constinit std::atomic<int> aborting{0};  // tid of who is about to call abort()
constinit std::int64_t abort_begun_ns = 0;
constinit std::atomic<level> wanted_level{level::all};
constinit std::atomic<int> note_phase{0};  // 0 free, 1 claimed, 2 published
constinit exception_note note{};

constexpr auto nested =
    signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGALRM, SIGURG);

// The process's own timer, so that who sets an alarm meanwhile does not move it. Made at install.
constinit int timer = -1;
constinit const char timer_mark = 0;

bool is_the_timers(const siginfo_t& info) noexcept {
  if (timer < 0) return info.si_signo == SIGALRM;
  return info.si_signo == SIGALRM && info.si_code == SI_TIMER &&
         info.si_value.sival_ptr == &timer_mark;
}

[[noreturn]] void die_of_the_first() noexcept { sigsafe::die_by(state->signo, &state->info); }

// Another thread is reporting. It may ask for this one's stack, which is answered from within.
[[noreturn]] void wait_for_the_end() noexcept {
  sys::unblock(signal_set::of(SIGURG));
  for (;;) {
    const sys::timespec64 a_while{1, 0};
    sys::call(SYS_nanosleep, &a_while, nullptr);
  }
}

// Every signal that is handled while a report is under way comes here first. True: that was all.
SIGRUN_HANDLER_ONLY bool while_ending(int signo, const siginfo_t& info) noexcept {
  if (signo == SIGURG) return false;
  if (signo == SIGALRM && !is_the_timers(info)) return true;
  if (signo == SIGALRM || owner.load() == sys::gettid()) die_of_the_first();  // (3)
  if (info.si_code > SI_USER && config.signals.has(signo)) wait_for_the_end();
  return false;
}

void start_the_clock(std::int64_t time_ns,
                     bool (*then)(int signo, const siginfo_t& info) noexcept) noexcept {
  const sys::kernel_sigaction ours = sigsafe::our_action();
  sys::rt_sigaction(SIGALRM, &ours, nullptr);
  sigsafe::the_intake().ending.store(then);
  const std::int64_t seconds = time_ns / 1'000'000'000, rest = time_ns % 1'000'000'000;
  itimerspec when{};
  when.it_value.tv_sec = seconds;
  when.it_value.tv_nsec = rest;
  if (timer >= 0 && !sys::failed(sys::call(SYS_timer_settime, timer, 0, &when, nullptr))) return;
  timer = -1;
  itimerval one{};
  one.it_value.tv_sec = seconds;
  one.it_value.tv_usec = rest / 1000;
  sys::call(SYS_setitimer, ITIMER_REAL, &one, nullptr);
}

// The way to abort() takes too long: the message hangs, or whoever has malloc's lock.
SIGRUN_HANDLER_ONLY bool while_aborting(int signo, const siginfo_t& info) noexcept {
  if (signo != SIGALRM || !is_the_timers(info)) return false;
  sys::tgkill(sys::getpid(), aborting.load(), SIGABRT);
  return true;
}

// What a report may take: less what there was before it.
std::int64_t time_left(std::int64_t now_ns) noexcept {
  const std::int64_t before = aborting.load() != 0 ? now_ns - abort_begun_ns : 0;
  const std::int64_t left = config.time_ns - before;
  return left > time_ns_min ? left : time_ns_min;
}

void allow_core() noexcept {
  rlimit core{};
  sys::call(SYS_prlimit64, 0, RLIMIT_CORE, nullptr, &core);
  core.rlim_cur = core.rlim_max;
  sys::call(SYS_prlimit64, 0, RLIMIT_CORE, &core, nullptr);
}

// Set as intake::crash. Returns when the report is written; what then happens is the caller's.
SIGRUN_HANDLER_ONLY bool on_crash(int signo, const siginfo_t& info,
                                  const ucontext_t& context) noexcept {
  if (state == nullptr || !config.signals.has(signo) || sys::getpid() != config.pid) return false;
  int nobody = 0;
  const int self = sys::gettid();
  if (!owner.compare_exchange_strong(nobody, self)) {
    if (nobody == self) die_of_the_first();
    wait_for_the_end();
  }
  state->signo = signo;
  state->info = info;
  state->tid = self;
  state->begun_ns = sys::now_ns();
  const std::int64_t time_ns = time_left(state->begun_ns);
  state->plan = plan_for(time_ns);
  state->text_patience_ns = state->plan.text_ns;
  start_the_clock(time_ns, &while_ending);
  sys::unblock(nested);
  for (const int spare : config.spare_fds) sys::close(spare);
  state->context = &context;
  state->note = note_phase.load() == 2 && signo == SIGABRT ? &note : nullptr;
  take_turn(state->begun_ns + state->plan.turn_ns, true);
  prepare_asking();
  const level detail = traceback_level();
  if (detail == level::crash) allow_core();
  write_first_words(*state, config);
  collect(*state, config, detail);
  if (detail != level::none) write_crash_text(*state, config, detail);
  if (config.directory_fd >= 0) write_crash_file(*state, config);
  return true;
}

}  // namespace

level traceback_level() noexcept { return wanted_level.load(); }
void set_traceback_level(level to) noexcept { wanted_level.store(to); }

bool parse_level(std::string_view text, level& out) noexcept {
  constexpr std::string_view names[] = {"none", "single", "all", "system", "crash"};
  for (std::uint8_t i = 0; i < 5; ++i) {
    if (text != names[i]) continue;
    out = static_cast<level>(i);
    return true;
  }
  return false;
}

bool crash_installed() noexcept { return state != nullptr; }
const crash_config& the_crash_config() noexcept { return config; }

exception_note* claim_exception_note() noexcept {
  int free = 0;
  return note_phase.compare_exchange_strong(free, 1) ? &note : nullptr;
}
void publish_exception_note() noexcept { note_phase.store(2); }

void abort_is_coming() noexcept {
  int nobody = 0;
  if (state == nullptr || sys::getpid() != config.pid || owner.load() != 0) return;
  if (!aborting.compare_exchange_strong(nobody, sys::gettid())) return;
  abort_begun_ns = sys::now_ns();
  start_the_clock(config.time_ns / abort_share, &while_aborting);
  sys::unblock(signal_set::of(SIGALRM, SIGABRT));
}

long install_crash(const crash_config& wanted) noexcept {
  if (state == nullptr) {
    const long mapped = sys::call(SYS_mmap, nullptr, sizeof(crash_state), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::failed(mapped)) return mapped;
    state = reinterpret_cast<crash_state*>(mapped);
  }
  // A child of fork has lost its parent's.
  if (timer < 0 || config.pid != wanted.pid) {
    sigevent how{};
    how.sigev_notify = SIGEV_SIGNAL;
    how.sigev_signo = SIGALRM;
    how.sigev_value.sival_ptr = const_cast<char*>(&timer_mark);
    int made = -1;
    const bool failed = sys::failed(sys::call(SYS_timer_create, CLOCK_MONOTONIC, &how, &made));
    timer = failed ? -1 : made;
  }
  config = wanted;
  set_traceback_level(wanted.detail);
  sigsafe::intake& in = sigsafe::the_intake();
  in.crash_signals.store(wanted.signals.bits());
  in.crash.store(&on_crash);
  const sys::kernel_sigaction ours = sigsafe::our_action();
  wanted.signals.for_each([&](int signo) {
    sys::kernel_sigaction now;
    sys::rt_sigaction(signo, nullptr, &now);
    if (sigsafe::is_ours(now)) return;
    in.original[signo] = now;
    in.installed.fetch_or(signal_set::of(signo).bits());
    sys::rt_sigaction(signo, &ours, nullptr);
  });
  return 0;
}

}  // namespace sigrun::report
