// SPDX-License-Identifier: Apache-2.0
//
// What SIGQUIT writes while nobody subscribes to it: what the runtime knows, and every goroutine;
// nothing is allocated.
#include "report/goroutines.hpp"
#include "signal/runtime.hpp"

#include <sigrun/signal_names.hpp>

namespace sigrun::signal {
namespace {

void line(report::sink& out, std::string_view name, std::uint64_t number) noexcept {
  out.add("  ").add(name).add(": ").count(number).add('\n');
}

}  // namespace

void write_dump(const ucontext_t& context) noexcept {
  const sigsafe::intake& in = sigsafe::the_intake();
  report::fd_target target;
  target.fd = 2;
  target.asks_first = true;
  {
    report::sink out(&report::fd_target::write, &target);
    out.add("SIGQUIT: quit\nsigrun: process ").number(in.pid).add(", signals subscribed:\n");
    signal_set{in.wanted.load()}.for_each(
        [&](int signo) { out.add("  ").add(signal_name(signo)).add('\n'); });
    out.add("sigrun: counters\n");
    line(out, "taken by wait", in.count.by_wait.load());
    line(out, "taken by handler", in.count.by_handler.load());
    line(out, "injected", in.count.injected.load());
    line(out, "dispatched", in.count.dispatched.load());
    line(out, "merged", in.count.merged.load());
    line(out, "dropped", in.count.dropped.load());
    line(out, "held back", in.count.held_back.load());
    line(out, "unclaimed", in.count.unclaimed.load());
    line(out, "queue high water", in.count.queue_high_water.load());
    out.add('\n');
  }
  report::write_goroutines_from_handler(target, context);
}

}  // namespace sigrun::signal
