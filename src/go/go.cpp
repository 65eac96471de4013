// SPDX-License-Identifier: Apache-2.0
#include <sigrun/go.hpp>
#include <sigrun/preempt.hpp>

#include "base/expect.hpp"
#include "go/deadlock.hpp"
#include "go/labels.hpp"
#include "go/raise.hpp"
#include "sched/sched.hpp"
#include "sched/signals.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace sigrun {
namespace {

using sched::g;

g* as_g(void* p) noexcept { return static_cast<g*>(p); }

[[noreturn]] void end_by_lost_error(g* gp) noexcept;

void start_scheduler(const char* who) {
  if (sched::started()) return;
  sched::set_lost_error_report(&end_by_lost_error);
  sched::set_deadlock_report(&go_detail::report_deadlock);
  if (const long error = sched::start(); error < 0) {
    throw std::system_error(static_cast<int>(-error), std::system_category(), who);
  }
}

void swap_labels(g* gp, void* labels) noexcept {
  sched::change_g(
      gp, [](g* self, void* arg) { std::swap(self->labels, *static_cast<void**>(arg)); }, &labels);
  go_detail::drop_labels(labels);
}

// The exception that left a goroutine, in g::error: std::exception_ptr is one pointer.
static_assert(sizeof(std::exception_ptr) == sizeof(void*));

std::exception_ptr take_error(g* gp) noexcept {
  std::exception_ptr error;
  std::memcpy(static_cast<void*>(&error), &gp->error, sizeof error);
  gp->error = nullptr;
  return error;
}

// Out of a noexcept function: std::terminate(), with the exception as the current one.
[[noreturn]] void end_by_lost_error(g* gp) noexcept { std::rethrow_exception(take_error(gp)); }

}  // namespace

namespace detail {

static_assert(closure_on_stack <= sched::closure_max);

// Never inlined: its return address lies in the function that called go().
[[gnu::noinline]] new_goroutine::new_goroutine(std::size_t stack_size, std::size_t size,
                                               std::size_t align, std::string_view name) {
  start_scheduler("sigrun::go: the scheduler's start");
  g* const gp = sched::new_g({stack_size, size, align, __builtin_return_address(0)});
  if (gp == nullptr) {
    throw std::system_error(
        ENOMEM, std::system_category(),
        "sigrun::go: a stack of " +
            std::to_string(stack_size == 0 ? stack::default_reserve : stack_size) + " bytes");
  }
  if (!name.empty() || !gp->name.empty()) gp->name.set(name);
  const g* const parent = sched::current_g();
  if (parent != nullptr && parent->labels != nullptr) {
    swap_labels(gp, go_detail::share_labels(parent->labels));
  }
  g_ = gp;
  place_ = gp->closure;
}

void end_of_goroutine() noexcept {
  g* const gp = sched::current_g();
  go_detail::end_raised(gp);
  if (gp->labels != nullptr) swap_labels(gp, nullptr);
}

void* new_goroutine::start(void (*run)(void*) noexcept) noexcept {
  g* const gp = as_g(std::exchange(g_, nullptr));
  sched::start_g(gp, run);
  return gp;
}

void new_goroutine::abandon() noexcept {
  go_detail::drop_labels(std::exchange(as_g(g_)->labels, nullptr));
  sched::abandon_g(as_g(g_));
}

void drop(void* p) noexcept { sched::detach_g(as_g(p)); }

void join(void* p) {
  if (p == nullptr) throw std::logic_error("sigrun::goroutine::join: no goroutine");
  g* const gp = as_g(p);
  if (gp == sched::current_g()) {
    sched::detach_g(gp);
    throw std::logic_error("sigrun::goroutine::join: a goroutine joins itself");
  }
  sched::join_g(gp);
  const std::exception_ptr error = take_error(gp);
  sched::detach_g(gp);
  if (error) std::rethrow_exception(error);
}

bool done(const void* p) noexcept { return sched::ended(static_cast<const g*>(p)); }
std::uint64_t id(const void* p) noexcept { return static_cast<const g*>(p)->id; }

void keep_exception() noexcept {
  g* const gp = sched::current_g();
  if (sched::detached(gp)) std::terminate();  // which finds the exception being handled
  std::exception_ptr error = std::current_exception();
  std::memcpy(&gp->error, static_cast<const void*>(&error), sizeof error);
  std::construct_at(&error);  // its reference is the G's now
}

void run_main(void (*f)(void*), void* arg) {
  // The main goroutine says itself when it ends: the thread below may get to run much later, and
  // meanwhile nothing would look more like a deadlock.
  struct in_run {
    in_run() { sched::set_in_run(true); }
    ~in_run() { sched::set_in_run(false); }
  };
  start_scheduler("sigrun::run");
  const sched::run_thread closed_meanwhile;
  go({.name = "main"}, [f, arg] {
    const in_run until_the_end;
    f(arg);
  }).join();
}

void run_foreign_erased(void (*f)(void*), void* arg) { sched::run_foreign(f, arg); }

}  // namespace detail

void yield() { sched::yield(); }
void preempt_point() { sched::preempt_point(); }
bool is_preemptible(const void* code) noexcept { return sched::preemptible_at(code); }

void goexit() {
  if (!sched::on_goroutine()) {
    throw std::logic_error("sigrun::goexit: the caller is no goroutine");
  }
  throw detail::goexit_unwind{};
}

std::uint64_t goroutine_id() noexcept {
  const g* const gp = sched::current_g();
  return gp != nullptr ? std::uint64_t{gp->id} : 0;
}

void set_goroutine_name(std::string_view name) noexcept {
  if (g* const gp = sched::current_g()) gp->name.set(name);
}

std::string goroutine_name() {
  const g* const gp = sched::current_g();
  char name[sched::name_room];
  return gp != nullptr ? std::string(gp->name.get(name)) : std::string();
}

void set_goroutine_label(std::string_view key, std::string_view value) {
  if (g* const gp = sched::current_g()) {
    swap_labels(gp, go_detail::with_label(gp->labels, key, value));
  }
}

int max_procs() noexcept { return sched::start() < 0 ? 1 : sched::max_procs(); }

int max_procs(int n) {
  if (n < 1 || n > 256) {
    throw std::invalid_argument("sigrun::max_procs: " + std::to_string(n) + " is not in 1..256");
  }
  start_scheduler("sigrun::max_procs");
  const int before = sched::set_max_procs(n);
  if (before < 0) throw std::system_error(-before, std::system_category(), "sigrun::max_procs");
  return before;
}

int max_threads(int n) {
  if (n < 1) {
    throw std::invalid_argument("sigrun::max_threads: " + std::to_string(n) + " is less than 1");
  }
  return sched::set_max_threads(n);
}

void lock_os_thread() noexcept { sched::lock_os_thread(); }
void unlock_os_thread() noexcept { sched::unlock_os_thread(); }

}  // namespace sigrun
