// SPDX-License-Identifier: Apache-2.0
//
// Listening and connecting, over IPv4, IPv6 and Unix addresses, and what goes wrong with them.
#include "support/net_fixture.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <set>
#include <vector>

namespace sigrun::test {
namespace {

using namespace std::chrono_literals;
using poll::side;
using std::chrono::steady_clock;

using listen_test = net_test;
INSTANTIATE_TEST_SUITE_P(callers, listen_test,
                         ::testing::Values(caller_kind::threads, caller_kind::goroutines,
                                           caller_kind::mixed),
                         caller_name);

const net::endpoint any_port(net::ip_address::loopback_v4(), 0);
const net::endpoint any_port_v6(net::ip_address::loopback_v6(), 0);

/// A path that nobody has, in a directory of its own.
class temporary_path {
 public:
  temporary_path() {
    char name[] = "/tmp/sigrun-net-XXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ + "/socket";
  }
  ~temporary_path() {
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }
  const std::string& get() const { return path_; }
  bool exists() const {
    struct stat found {};
    return ::stat(path_.c_str(), &found) == 0;
  }

 private:
  std::string directory_;
  std::string path_;
};

TEST_P(listen_test, accept_waits_for_a_connection) {
  run_here([this] {
    for (const net::endpoint& at : {any_port, any_port_v6}) {
      auto listener = net::tcp_listener::listen(at);
      EXPECT_NE(listener.local_endpoint().port(), 0);
      std::optional<net::tcp_stream> there;
      task acceptor = beside([&] { there = listener.accept(); });
      until_blocked(listener, side::read);
      const auto here = net::tcp_stream::connect(listener.local_endpoint());
      acceptor.join();
      EXPECT_EQ(there->remote_endpoint(), here.local_endpoint());
    }
  });
}

TEST_P(listen_test, many_connections_at_once) {
  run_here([this] {
    constexpr int clients = 100;
    auto listener = net::tcp_listener::listen(any_port);
    task server = beside([&] {
      std::vector<task> all;
      for (int i = 0; i < clients; ++i) {
        all.push_back(beside([stream = std::make_shared<net::tcp_stream>(listener.accept())] {
          std::array<char, 100> room{};
          while (const std::size_t n = stream->read(room)) {
            stream->write_all(const_buffer(room.data(), n));
          }
        }));
      }
    });
    std::vector<task> all;
    for (int i = 0; i < clients; ++i) {
      all.push_back(beside([&listener, i] {
        auto stream = net::tcp_stream::connect(listener.local_endpoint());
        const std::string text = "I am " + std::to_string(i);
        for (int round = 0; round < 10; ++round) {
          stream.write_all(text);
          std::string answer(text.size(), '\0');
          stream.read_full(answer);
          EXPECT_EQ(answer, text);
        }
      }));
    }
  });
}

TEST_P(listen_test, several_may_accept_from_one_listener) {
  run_here([this] {
    auto listener = net::tcp_listener::listen(any_port);
    std::atomic<int> accepted{0};
    std::vector<task> all;
    for (int i = 0; i < 4; ++i) {
      all.push_back(beside([&] {
        for (std::error_code error; !error;) {
          const auto stream = listener.accept(error);
          if (!error) ++accepted;
        }
      }));
    }
    for (int i = 0; i < 50; ++i) net::tcp_stream::connect(listener.local_endpoint());
    while (accepted.load() < 50) yield();
    listener.close();
  });
}

TEST_P(listen_test, close_and_a_deadline_end_an_accept) {
  run_here([this] {
    auto listener = net::tcp_listener::listen(any_port);
    listener.set_deadline_in(5ms);
    EXPECT_EQ(error_of([&](auto& e) { listener.accept(e); }), std::errc::timed_out);
    listener.set_deadline(net::no_deadline);
    task acceptor = beside([&] {
      EXPECT_EQ(error_of([&](auto& e) { listener.accept(e); }), std::errc::operation_canceled);
    });
    until_blocked(listener, side::read);
    listener.close();
    acceptor.join();
    EXPECT_EQ(error_of([&](auto& e) { listener.accept(e); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(error_of([&](auto& e) { listener.close(e); }), std::errc::bad_file_descriptor);
  });
}

TEST_P(listen_test, a_connection_waits_while_there_is_no_descriptor_for_it) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const auto here = net::tcp_stream::connect(listener.local_endpoint());
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int lowest_free = ::dup(0);
    ::close(lowest_free);
    const rlimit none{static_cast<rlim_t>(lowest_free), before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const std::error_code first = error_of([&](auto& e) { listener.accept(e); });
    const auto begin = steady_clock::now();
    const std::error_code second = error_of([&](auto& e) { listener.accept(e); });
    const auto first_wait = steady_clock::now() - begin;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(first, std::errc::too_many_files_open);
    EXPECT_EQ(second, std::errc::too_many_files_open);
    EXPECT_GE(first_wait, 5ms) << "a loop must not spin";
    const auto there = listener.accept();
    EXPECT_GE(steady_clock::now() - begin, 15ms) << "twice as long after the second failure";
    EXPECT_EQ(there.remote_endpoint(), here.local_endpoint());
  });
}

TEST_P(listen_test, close_ends_an_accept_that_stands_back) {
  run_here([this] {
    auto listener = net::tcp_listener::listen(any_port);
    detail::io_access::state(listener)->backoff_ns = 3'600'000'000'000;
    task acceptor = beside([&] {
      EXPECT_EQ(error_of([&](auto& e) { listener.accept(e); }), std::errc::operation_canceled);
    });
    until_blocked(listener, side::read);
    const auto here = net::tcp_stream::connect(listener.local_endpoint());
    listener.close();
  });
}

// ----------------------------------------------------------------------------------- TCP addresses

TEST_P(listen_test, a_port_in_use_is_an_error_unless_it_is_shared) {
  run_here([] {
    auto first = net::tcp_listener::listen(any_port);
    const net::endpoint at = first.local_endpoint();
    EXPECT_EQ(error_of([&](auto& e) { net::tcp_listener::listen(at, {}, e); }),
              std::errc::address_in_use);
    first.close();

    const net::tcp_listen_options sharing{.reuse_port = true};
    const auto one = net::tcp_listener::listen(any_port, sharing);
    const auto two = net::tcp_listener::listen(one.local_endpoint(), sharing);
    EXPECT_EQ(one.local_endpoint(), two.local_endpoint());
  });
}

TEST_P(listen_test, the_wildcard_of_v6_takes_v4_unless_told_not_to) {
  run_here([] {
    auto both = net::tcp_listener::listen({net::ip_address::any_v6(), 0});
    const std::uint16_t port = both.local_endpoint().port();
    const auto here = net::tcp_stream::connect({net::ip_address::loopback_v4(), port});
    const auto there = both.accept();
    EXPECT_TRUE(there.remote_endpoint().address().is_v4_mapped());
    EXPECT_EQ(there.remote_endpoint().address().unmapped(), net::ip_address::loopback_v4());
    both.close();
    const auto only = net::tcp_listener::listen({net::ip_address::any_v6(), 0}, {.v6_only = true});
    EXPECT_EQ(error_of([&](auto& e) {
                net::tcp_stream::connect(
                    {net::ip_address::loopback_v4(), only.local_endpoint().port()}, {}, e);
              }),
              std::errc::connection_refused);
  });
}

TEST_P(listen_test, bad_wishes_are_errors) {
  run_here([] {
    EXPECT_EQ(error_of([](auto& e) { net::tcp_listener::listen(any_port, {.backlog = -1}, e); }),
              std::errc::invalid_argument);
    const net::endpoint not_ours(*net::ip_address::parse("192.0.2.1"), 0);
    EXPECT_EQ(error_of([&](auto& e) { net::tcp_listener::listen(not_ours, {}, e); }),
              std::errc::address_not_available);
    EXPECT_THROW(net::tcp_listener::listen(not_ours), std::system_error);
  });
}

TEST_P(listen_test, nobody_there_is_connection_refused) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const net::endpoint at = listener.local_endpoint();
    listener.close();
    EXPECT_EQ(error_of([&](auto& e) { net::tcp_stream::connect(at, {}, e); }),
              std::errc::connection_refused);
    EXPECT_THROW(net::tcp_stream::connect(at), std::system_error);
  });
}

TEST_P(listen_test, a_deadline_ends_a_connect_that_nobody_answers) {
  run_here([] {
    // A full queue makes the kernel drop further requests, as a dead host would.
    auto listener = net::tcp_listener::listen(any_port, {.backlog = 0});
    const net::endpoint at = listener.local_endpoint();
    std::vector<net::tcp_stream> waiting;
    std::error_code error;
    for (int i = 0; i < 8 && !error; ++i) {
      const auto begin = steady_clock::now();
      waiting.push_back(net::tcp_stream::connect(at, {.deadline = begin + 30ms}, error));
      if (error) {
        EXPECT_GE(steady_clock::now() - begin, 30ms);
      }
    }
    EXPECT_EQ(error, std::errc::timed_out);
    EXPECT_EQ(error_of([&](auto& e) {
                net::tcp_stream::connect(at, {.deadline = steady_clock::now() - 1s}, e);
              }),
              std::errc::timed_out);
  });
}

TEST_P(listen_test, one_can_say_where_to_come_from) {
  run_here([] {
    auto listener = net::tcp_listener::listen(any_port);
    const net::endpoint from(*net::ip_address::parse("127.0.0.7"), 0);
    const auto here = net::tcp_stream::connect(listener.local_endpoint(), {.local = from});
    EXPECT_EQ(listener.accept().remote_endpoint().address(), from.address());
  });
}

TEST_P(listen_test, names_are_looked_up) {
  run_here([] {
    const auto found = net::resolve("127.0.0.1", "80");
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0], net::endpoint(net::ip_address::loopback_v4(), 80));
    EXPECT_EQ(net::resolve("::1", "7")[0], net::endpoint(net::ip_address::loopback_v6(), 7));
    for (const net::endpoint& one : net::resolve("", "80")) {
      EXPECT_TRUE(one.address().is_loopback());
    }
    for (const net::endpoint& one : net::resolve("localhost", "")) {
      EXPECT_TRUE(one.address().is_loopback());
      EXPECT_EQ(one.port(), 0);
    }
    const std::error_code none = error_of([](auto& e) { net::resolve("a..b", "80", e); });
    EXPECT_EQ(none.category(), net::resolve_category()) << none.message();
    EXPECT_EQ(error_of([](auto& e) { net::resolve("127.0.0.1", "no such", e); }),
              net::resolve_errc::service_unknown);
    EXPECT_EQ(error_of([](auto& e) { net::resolve(std::string_view("a\0b", 3), "80", e); }),
              net::resolve_errc::host_not_found);
    EXPECT_THROW(net::resolve("a..b", "80"), std::system_error);

    auto listener = net::tcp_listener::listen(any_port);
    const std::string port = std::to_string(listener.local_endpoint().port());
    EXPECT_TRUE(net::tcp_stream::connect("127.0.0.1", port));
    listener.close();
    EXPECT_EQ(error_of([&](auto& e) { net::tcp_stream::connect("127.0.0.1", port, {}, e); }),
              std::errc::connection_refused);
  });
}

TEST_P(listen_test, only_what_fits_is_adopted) {
  run_here([] {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::listen(listening, 1), 0);
    auto listener = net::tcp_listener::adopt(listening);
    EXPECT_EQ(listener.fd(), listening);
    constexpr auto bad = std::errc::invalid_argument;
    EXPECT_EQ(
        error_of([](auto& e) { net::tcp_stream::adopt(::socket(AF_UNIX, SOCK_STREAM, 0), e); }),
        bad);
    EXPECT_EQ(
        error_of([](auto& e) { net::tcp_stream::adopt(::socket(AF_INET, SOCK_DGRAM, 0), e); }),
        bad);
    EXPECT_EQ(
        error_of([](auto& e) { net::tcp_listener::adopt(::socket(AF_INET, SOCK_STREAM, 0), e); }),
        bad);
    EXPECT_EQ(error_of([](auto& e) { net::unix_stream::adopt(::dup(0), e); }), bad);
    EXPECT_EQ(error_of([](auto& e) { net::unix_stream::adopt(-1, e); }),
              std::errc::bad_file_descriptor);
  });
}

// ---------------------------------------------------------------------------------- Unix addresses

TEST_P(listen_test, unix_sockets_by_path) {
  run_here([] {
    const temporary_path path;
    auto listener = net::unix_listener::listen(path.get());
    EXPECT_EQ(listener.local_address(), net::unix_address(path.get()));
    EXPECT_EQ(error_of([&](auto& e) { net::unix_listener::listen(path.get(), {}, e); }),
              std::errc::address_in_use);
    auto here = net::unix_stream::connect(path.get());
    auto there = listener.accept();
    EXPECT_EQ(here.remote_address(), net::unix_address(path.get()));
    EXPECT_TRUE(here.local_address().is_unnamed());
    EXPECT_EQ(there.peer().pid, ::getpid());
    EXPECT_EQ(there.peer().uid, ::getuid());
    here.write_all("hello");
    std::array<char, 5> room{};
    EXPECT_EQ(there.read_full(room), 5u);
    EXPECT_TRUE(path.exists());
    listener.close();
    EXPECT_FALSE(path.exists());
    EXPECT_EQ(error_of([&](auto& e) { net::unix_stream::connect(path.get(), {}, e); }),
              std::errc::no_such_file_or_directory);
  });
}

TEST_P(listen_test, what_a_dead_listener_left_refuses) {
  run_here([] {
    const temporary_path path;
    { const auto left = net::unix_listener::listen(path.get(), {.unlink_on_close = false}); }
    EXPECT_TRUE(path.exists());
    EXPECT_EQ(error_of([&](auto& e) { net::unix_stream::connect(path.get(), {}, e); }),
              std::errc::connection_refused);
    EXPECT_EQ(error_of([&](auto& e) { net::unix_listener::listen(path.get(), {}, e); }),
              std::errc::address_in_use);
  });
}

TEST_P(listen_test, abstract_names_and_too_long_ones) {
  run_here([] {
    const std::string name = "sigrun-test-" + std::to_string(::getpid());
    auto listener = net::unix_listener::listen("@" + name);
    const auto here = net::unix_stream::connect(net::unix_address::abstract(name));
    const auto there = listener.accept();
    EXPECT_EQ(there.local_address().to_string(), "@" + name);

    const std::string longest(net::unix_address::path_max, 'x');
    const auto full = net::unix_listener::listen("@" + longest);
    EXPECT_EQ(full.local_address().name(), longest);
    EXPECT_EQ(error_of([&](auto& e) { net::unix_listener::listen("@x" + longest, {}, e); }),
              std::errc::filename_too_long);
    EXPECT_EQ(error_of([&](auto& e) { net::unix_stream::connect("/" + longest, {}, e); }),
              std::errc::filename_too_long);
  });
}

TEST_P(listen_test, a_unix_connect_waits_for_room_in_the_queue) {
  run_here([this] {
    const std::string name = "@sigrun-full-" + std::to_string(::getpid());
    auto listener = net::unix_listener::listen(name, {.backlog = 0});
    std::vector<net::unix_stream> waiting;
    std::error_code error;
    for (int i = 0; i < 8 && !error; ++i) {
      waiting.push_back(
          net::unix_stream::connect(name, {.deadline = steady_clock::now() + 20ms}, error));
    }
    EXPECT_EQ(error, std::errc::timed_out);
    task late = beside([&] { EXPECT_TRUE(net::unix_stream::connect(name)); });
    EXPECT_TRUE(listener.accept());
    late.join();
  });
}

}  // namespace
}  // namespace sigrun::test
