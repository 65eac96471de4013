// SPDX-License-Identifier: Apache-2.0
//
// Upgrades and reloads under constant load: not one request may fail.
#include "upgraded_service.hpp"

#include <cstdlib>
#include <fstream>

namespace {

using sigrun::test::constant_load;
using sigrun::test::upgraded_service;

int rounds() {
  const char* const text = std::getenv("SIGRUN_UPGRADE_ROUNDS");
  return text != nullptr ? std::atoi(text) : 4;
}

TEST(UpgradeLoad, RollingUpgradesFailNoRequest) {
  upgraded_service service;
  const auto first = service.now();
  constant_load load(service.http(), service.echo(), 4, 2, 2);
  for (int i = 0; i < rounds(); ++i) {
    load.await_answers(50);
    const int old = service.pid();
    service.ask(old);
    const auto& next = service.await_next();
    ASSERT_NE(next.pid, 0) << "round " << i << ": " << load.first_failure();
    EXPECT_NE(next.pid, old);
    EXPECT_EQ(next.http, first.http);
    EXPECT_EQ(next.echo, first.echo);
    load.await_answers(50);
    EXPECT_EQ(service.end_of(old), 0);
    ASSERT_EQ(load.failures(), 0u) << "round " << i << ": " << load.first_failure();
  }
  load.stop();
  EXPECT_EQ(load.failures(), 0u) << load.first_failure();
  std::printf("%d upgrades, %llu requests\n", rounds(),
              static_cast<unsigned long long>(load.answered()));
}

TEST(UpgradeLoad, RollingReloadsFailNoRequest) {
  const std::string file =
      testing::TempDir() + "upgrade_reload_" + std::to_string(::getpid()) + ".toml";
  const auto write_number = [&](int number) {
    const std::string next = file + ".next";
    std::ofstream(next) << "number = " << number << "\n";
    ASSERT_EQ(std::rename(next.c_str(), file.c_str()), 0);
  };
  write_number(0);
  {
    upgraded_service service({"PROBE_CONFIG=" + file});
    constant_load load(service.http(), service.echo(), 4, 2, 0);
    for (int i = 1; i <= rounds(); ++i) {
      load.await_answers(20);
      write_number(i);
      ::kill(service.pid(), SIGHUP);
      while (service.get("/number") != std::to_string(i)) sigrun::yield();
      ASSERT_EQ(load.failures(), 0u) << "round " << i << ": " << load.first_failure();
    }
    load.stop();
    EXPECT_EQ(load.failures(), 0u) << load.first_failure();
  }
  ::unlink(file.c_str());
}

}  // namespace
