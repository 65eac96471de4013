// SPDX-License-Identifier: Apache-2.0
//
// What SIGQUIT writes while nobody subscribes to it: what the runtime knows, and every goroutine;
// nothing is allocated.
#include "base/text.hpp"
#include "report/goroutines.hpp"
#include "signal/runtime.hpp"
#include "sys/file.hpp"

#include <sigrun/signal_names.hpp>

namespace sigrun::signal {
namespace {

void line(std::string_view name, std::uint64_t number) noexcept {
  base::text_buffer<96> text;
  text.add("  ").add(name).add(": ").add_unsigned(number, 10).add("\n");
  sys::write(2, text.view());
}

}  // namespace

void write_dump(const ucontext_t& context) noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  base::text_buffer<128> head;
  head.add("SIGQUIT: quit\nsigrun: process ").add(in.pid).add(", signals subscribed:\n");
  sys::write(2, head.view());
  signal_set{in.wanted.load()}.for_each([](int signo) {
    base::text_buffer<64> text;
    text.add("  ").add(signal_name(signo)).add("\n");
    sys::write(2, text.view());
  });
  sys::write(2, "sigrun: counters\n");
  line("taken by wait", in.count.by_wait.load());
  line("taken by handler", in.count.by_handler.load());
  line("injected", in.count.injected.load());
  line("dispatched", in.count.dispatched.load());
  line("merged", in.count.merged.load());
  line("dropped", in.count.dropped.load());
  line("held back", in.count.held_back.load());
  line("unclaimed", in.count.unclaimed.load());
  line("queue high water", in.count.queue_high_water.load());
  sys::write(2, "\n");
  report::write_goroutines_from_handler(2, context);
}

}  // namespace sigrun::signal
