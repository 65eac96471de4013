// SPDX-License-Identifier: Apache-2.0
//
// libevent: one event_base with one evsignal for the measured signal and one for the end.
#include "../receiver.hpp"

#include <event2/event.h>

namespace {

struct context {
  bench::receiver r;
  event_base* base;
};

void on_signal(evutil_socket_t signo, short, void* argument) {
  auto& c = *static_cast<context*>(argument);
  if (!c.r.on_signal(static_cast<int>(signo))) event_base_loopbreak(c.base);
}

}  // namespace

int main(int argc, char** argv) {
  context c{bench::receiver(argc, argv), event_base_new()};
  event* measured = evsignal_new(c.base, c.r.signo(), on_signal, &c);
  event* end = evsignal_new(c.base, bench::end_signal, on_signal, &c);
  event_add(measured, nullptr);
  event_add(end, nullptr);
  c.r.ready();
  event_base_dispatch(c.base);
}
