// SPDX-License-Identifier: Apache-2.0
//
// bench_switch HOW: the library's switch between stacks, alone (context: registers and stack) and
// with all that belongs to a goroutine (fiber: exceptions being handled, errno, floating-point
// control words). The only bench of something inside: everything else is seen through it.
#include "samples.hpp"

#include "arch/context.hpp"
#include "fiber/fiber.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <string_view>

namespace {

namespace arch = sigrun::arch;
namespace fiber = sigrun::fiber;

constexpr std::size_t stack_bytes = 64 * 1024;
constexpr int batches = 400;
constexpr long switches = 5000;

std::byte* new_stack() {
  void* low =
      mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (low == MAP_FAILED) std::exit(2);
  return static_cast<std::byte*>(low);
}

// Each call of `there_and_back` is two switches.
template <class F>
void measure(F there_and_back) {
  bench::report report;
  report.samples("switch", bench::per_operation(batches, switches, [&](long n) {
                   for (long i = 0; i < n; i += 2) there_and_back();
                 }));
  report.print();
}

struct two_contexts {
  arch::context main;
  arch::context other;
};

void switch_context_back(void* arg, void*) {
  auto& c = *static_cast<two_contexts*>(arg);
  for (;;) arch::sigrun_context_switch(&c.other, &c.main, nullptr);
}

void context_bench() {
  static two_contexts c;
  c.other = arch::make_context(new_stack() + stack_bytes, switch_context_back, &c);
  measure([] { arch::sigrun_context_switch(&c.main, &c.other, nullptr); });
}

struct two_fibers {
  fiber::fiber_state main;
  fiber::fiber_state other;
  fiber::thread_words thread;
};

void switch_fiber_back(void* arg, void*) {
  auto& f = *static_cast<two_fibers*>(arg);
  fiber::arrived();
  for (;;) fiber::switch_to(f.other, f.main, fiber::leave::parks, f.thread);
}

void fiber_bench() {
  static two_fibers f;
  f.thread = fiber::this_thread_words();
  fiber::adopt_thread(f.main);
  fiber::create(f.other, new_stack(), stack_bytes, switch_fiber_back, &f);
  measure([] { fiber::switch_to(f.main, f.other, fiber::leave::parks, f.thread); });
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (how == "context") {
    context_bench();
  } else if (how == "fiber") {
    fiber_bench();
  } else {
    std::fprintf(stderr, "usage: %s context|fiber\n", argv[0]);
    return 2;
  }
}
