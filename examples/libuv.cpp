// SPDX-License-Identifier: Apache-2.0
//
// Signals in a libuv loop: prints each SIGUSR1 and real-time signal with its payload beside a
// ticking timer, until SIGTERM or SIGINT.
//
//   example_libuv & kill -USR1 %1; kill -TERM %1
#include <sigrun/libuv.hpp>
#include <sigrun/signal.hpp>

#include <csignal>
#include <cstdio>
#include <optional>

int main() {
  sigrun::signal_chan ch(64);
  sigrun::notify(ch, SIGUSR1, SIGRTMIN, SIGTERM, SIGINT);

  uv_loop_t loop;
  uv_loop_init(&loop);
  uv_timer_t ticker;
  uv_timer_init(&loop, &ticker);
  uv_timer_start(
      &ticker, [](uv_timer_t*) {}, 1000, 1000);

  std::optional<sigrun::libuv::watcher<sigrun::signal_event>> watcher;
  watcher.emplace(&loop, ch, [&](std::optional<sigrun::signal_event> event) {
    if (!event) return;
    std::printf("%s from %d, value %d\n", sigrun::signal_name(event->signo).data(), event->pid,
                event->value_int());
    std::fflush(stdout);
    if (event->signo != SIGTERM && event->signo != SIGINT) return;
    watcher.reset();  // allowed in its own callback
    uv_close(reinterpret_cast<uv_handle_t*>(&ticker), nullptr);
  });
  std::puts("ready");
  std::fflush(stdout);
  uv_run(&loop, UV_RUN_DEFAULT);  // returns when nothing is left to wait for
  return uv_loop_close(&loop) == 0 ? 0 : 1;
}
