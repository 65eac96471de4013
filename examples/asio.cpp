// SPDX-License-Identifier: Apache-2.0
//
// Signals in a Boost.Asio program: a coroutine prints each SIGUSR1 and real-time signal with its
// payload beside a ticking timer, until SIGTERM or SIGINT.
//
//   example_asio & kill -USR1 %1; kill -TERM %1
#include <sigrun/asio.hpp>
#include <sigrun/signal.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <csignal>
#include <cstdio>
#include <exception>

namespace asio = boost::asio;

asio::awaitable<void> print_signals(sigrun::signal_chan ch, asio::steady_timer& ticker) {
  for (;;) {
    const sigrun::signal_event event = co_await sigrun::asio::async_recv(
        ch, co_await asio::this_coro::executor, asio::use_awaitable);
    std::printf("%s from %d, value %d\n", sigrun::signal_name(event.signo).data(), event.pid,
                event.value_int());
    std::fflush(stdout);
    if (event.signo == SIGTERM || event.signo == SIGINT) break;
  }
  ticker.cancel();
}

asio::awaitable<void> tick(asio::steady_timer& ticker) {
  boost::system::error_code error;
  while (!error) {
    ticker.expires_after(std::chrono::seconds(1));
    co_await ticker.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

int main() {
  sigrun::signal_chan ch(64);
  sigrun::notify(ch, SIGUSR1, SIGRTMIN, SIGTERM, SIGINT);

  asio::io_context io;
  asio::steady_timer ticker(io);
  const auto rethrow = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::co_spawn(io, print_signals(ch, ticker), rethrow);
  asio::co_spawn(io, tick(ticker), rethrow);
  std::puts("ready");
  std::fflush(stdout);
  io.run();
}
