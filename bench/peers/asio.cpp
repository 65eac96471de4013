// SPDX-License-Identifier: Apache-2.0
//
// Boost.Asio: one io_context, one signal_set, a handler that asks for the next signal.
#include "../receiver.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

int main(int argc, char** argv) {
  bench::receiver r(argc, argv);
  boost::asio::io_context io{1};
  boost::asio::signal_set signals(io, r.signo(), bench::end_signal);

  struct waiter {
    bench::receiver& r;
    boost::asio::signal_set& signals;
    void operator()(const boost::system::error_code& error, int signo) const {
      if (!error && r.on_signal(signo)) signals.async_wait(*this);
    }
  };
  signals.async_wait(waiter{r, signals});
  r.ready();
  io.run();
}
