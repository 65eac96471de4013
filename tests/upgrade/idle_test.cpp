// SPDX-License-Identifier: Apache-2.0
//
// Connections that are kept and idle at an upgrade: whenever their next request comes, before,
// while or after the old process lets go of them, it is answered on that connection.
#include "upgraded_service.hpp"

#include <sigrun/time.hpp>

#include <random>

namespace {

using namespace std::chrono_literals;
using sigrun::test::upgraded_service;

// How long the probe leaves an idle connection alone: http::service_options::handed_on.
constexpr auto idle_grace = 300ms;

class kept_connection {
 public:
  explicit kept_connection(const upgraded_service& service) : at_(service.http()) {}

  struct answer {
    int pid = 0;  // 0: none, see what
    bool kept = false;
    std::string what;
  };
  answer ask() {
    answer a;
    try {
      if (!stream_.is_open()) stream_ = sigrun::net::tcp_stream::connect(at_);
      stream_.set_deadline_in(sigrun::test::patience);
      stream_.write_all("GET /pid HTTP/1.1\r\nHost: a\r\n\r\n");
      a = read();
    } catch (const std::exception& failure) {
      a.what = failure.what();
    }
    if (!a.kept) stream_ = {};
    return a;
  }

 private:
  answer read() {
    std::string all;
    std::size_t body = std::string::npos;
    char part[1024];
    for (;;) {
      const std::size_t n = stream_.read(part);
      if (n == 0) return {0, false, "the stream ended after \"" + all + "\""};
      all.append(part, n);
      body = all.find("\r\n\r\n");
      const std::size_t length = all.find("Content-Length: ");
      if (body == std::string::npos || length == std::string::npos) continue;
      if (all.size() >= body + 4 + std::stoul(all.substr(length + 16))) break;
    }
    if (!all.starts_with("HTTP/1.1 200")) return {0, false, all};
    return {
        std::stoi(all.substr(body + 4)), all.find("Connection: close") == std::string::npos, {}};
  }

  const sigrun::net::endpoint at_;
  sigrun::net::tcp_stream stream_;
};

std::vector<std::unique_ptr<kept_connection>> make_clients(const upgraded_service& service,
                                                           int count) {
  std::vector<std::unique_ptr<kept_connection>> clients;
  for (int i = 0; i < count; ++i) clients.push_back(std::make_unique<kept_connection>(service));
  return clients;
}

TEST(UpgradeIdle, AConnectionThatIsIdleGoesOnWithTheNewOne) {
  upgraded_service service;
  const int old = service.pid();
  auto clients = make_clients(service, 20);
  for (auto& client : clients) EXPECT_EQ(client->ask().pid, old);
  service.ask(old);
  const int next = service.await_next().pid;
  EXPECT_EQ(service.end_of(old), 0);
  for (auto& client : clients) {
    const auto answer = client->ask();
    EXPECT_EQ(answer.pid, next) << answer.what;
    EXPECT_TRUE(answer.kept);
  }
  // And with the one after that.
  service.ask(next);
  const int third = service.await_next().pid;
  EXPECT_EQ(service.end_of(next), 0);
  for (auto& client : clients) EXPECT_EQ(client->ask().pid, third);
  EXPECT_TRUE(service.get("/stats").ends_with(" taken 20\n")) << service.get("/stats");
}

// The moment at which the old one lets go is hit from both sides, hundreds of times.
TEST(UpgradeIdle, WheneverARequestComesItIsAnswered) {
  const char* const rounds_text = std::getenv("SIGRUN_UPGRADE_ROUNDS");
  const int rounds = rounds_text != nullptr ? std::atoi(rounds_text) : 4;
  const std::uint64_t seed = 20'240'611;
  std::mt19937_64 random(seed);
  upgraded_service service;
  const auto clients = make_clients(service, 100);
  std::atomic<int> by_old{0};
  std::atomic<int> by_next{0};
  for (int round = 0; round < rounds; ++round) {
    const int old = service.pid();
    for (auto& client : clients) EXPECT_NE(client->ask().pid, 0);
    service.ask(old);
    const int next = service.await_next().pid;
    // From here it is about the grace until it lets go.
    const auto begin = std::chrono::steady_clock::now();
    std::vector<sigrun::goroutine> asking;
    std::normal_distribution<double> around(1.0, 0.1);
    for (auto& client : clients) {
      const auto at =
          begin + std::chrono::duration_cast<std::chrono::nanoseconds>(idle_grace * around(random));
      asking.push_back(sigrun::go([&, at, one = client.get()] {
        sigrun::sleep_until(at);  // tidy: allow sleep, moments are what this is about
        const auto answer = one->ask();
        EXPECT_TRUE(answer.pid == old || answer.pid == next)
            << "seed " << seed << ", round " << round << ": " << answer.pid << answer.what;
        ++(answer.pid == old ? by_old : by_next);
      }));
    }
    for (auto& one : asking) one.join();
    EXPECT_EQ(service.end_of(old), 0);
  }
  std::printf("%d requests to the old ones, %d to the new ones\n", by_old.load(), by_next.load());
}

}  // namespace
