// SPDX-License-Identifier: Apache-2.0
//
// An echo server, a goroutine for each connection, that ends well: SIGTERM or SIGINT closes the
// listener and gives the connections a second to finish.
//
//   example_echo_server [ADDRESS]     default [::1]:0, which takes any free port
//
// It prints where it listens, and at the end what it did. examples/echo_client.py talks to it.
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <list>
#include <memory>
#include <system_error>

namespace {

using namespace std::chrono_literals;
namespace net = sigrun::net;

class echo_server {
 public:
  explicit echo_server(const net::endpoint& at) : listener_(net::tcp_listener::listen(at)) {}

  net::endpoint where() const { return listener_.local_endpoint(); }

  // Until close(). Without a free descriptor accept() says so and takes its time
  // before it tries again, so the loop goes on.
  void serve() {
    for (;;) {
      std::error_code error;
      auto stream = std::make_shared<net::tcp_stream>(listener_.accept(error));
      if (error == std::errc::operation_canceled) return;
      if (error == std::errc::bad_file_descriptor) return;
      if (error) {
        std::fprintf(stderr, "accept: %s\n", error.message().c_str());
        continue;
      }
      add(stream);
      connections_.add(1);
      sigrun::go([this, stream] {
        echo(*stream);
        remove(stream);
        connections_.done();
      });
    }
  }

  // serve() returns.
  void close() { listener_.close(); }

  // After serve() has returned: who is here may send what is on its way, and is then cut off.
  void finish(std::chrono::milliseconds patience) {
    {
      const std::lock_guard guard(mutex_);
      for (const auto& stream : streams_) {
        std::error_code gone;
        stream->set_deadline_in(patience, gone);
      }
    }
    connections_.wait();
  }

  int served() const { return served_.load(); }
  std::uint64_t bytes() const { return bytes_.load(); }

 private:
  void echo(net::tcp_stream& stream) {
    char room[16 * 1024];
    std::error_code error;
    for (;;) {
      const std::size_t count = stream.read(room, error);
      if (error || count == 0) break;
      bytes_ += count;
      stream.write_all({room, count}, error);
      if (error) break;
    }
    ++served_;
    stream.close(error);
  }

  void add(const std::shared_ptr<net::tcp_stream>& stream) {
    const std::lock_guard guard(mutex_);
    streams_.push_back(stream);
  }
  void remove(const std::shared_ptr<net::tcp_stream>& stream) {
    const std::lock_guard guard(mutex_);
    streams_.remove(stream);
  }

  net::tcp_listener listener_;
  sigrun::mutex mutex_;
  std::list<std::shared_ptr<net::tcp_stream>> streams_;  // under mutex_
  sigrun::wait_group connections_;
  std::atomic<int> served_{0};
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace

int main(int argc, char** argv) {
  return sigrun::run([argc, argv] {
    const auto at = net::endpoint::parse(argc > 1 ? argv[1] : "[::1]:0");
    if (!at) {
      std::fprintf(stderr, "usage: %s [ADDRESS:PORT]\n", argv[0]);
      return 2;
    }
    sigrun::signal_chan signals(1);
    sigrun::notify(signals, SIGTERM, SIGINT);

    echo_server server(*at);
    std::printf("listening on %s\n", server.where().to_string().c_str());
    std::fflush(stdout);
    auto acceptor = sigrun::go({.name = "acceptor"}, [&server] { server.serve(); });
    signals.recv();
    server.close();
    acceptor.join();
    server.finish(1s);
    std::printf("served %d connections, %llu bytes\n", server.served(),
                static_cast<unsigned long long>(server.bytes()));
    return 0;
  });
}
