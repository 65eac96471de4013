// SPDX-License-Identifier: Apache-2.0
//
// What an upgrader is given wrongly is named.
#include <sigrun/upgrade.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

using sigrun::graceful;
using sigrun::upgrade_options;
using sigrun::upgrader;

const sigrun::net::endpoint anywhere{sigrun::net::ip_address::loopback_v4(), 0};
const auto ignore = [](sigrun::net::tcp_listener) {};

// What f throws of that kind.
template <class Exception, class F>
std::string thrown(F f) {
  try {
    f();
  } catch (const Exception& failure) {
    return failure.what();
  }
  return "nothing";
}

class UpgradeBadInput : public testing::Test {
 protected:
  static sigrun::graceful_options quietly() {
    sigrun::graceful_options options;
    options.signals = {};
    options.log = [](std::string_view) {};
    return options;
  }
  std::string refused(upgrade_options options) {
    return thrown<std::invalid_argument>([&] { const upgrader one(life, std::move(options)); });
  }
  graceful life{quietly()};
};

TEST_F(UpgradeBadInput, OptionsAreRefusedByName) {
  upgrade_options options;
  options.timeout = std::chrono::seconds(0);
  EXPECT_NE(refused(options).find("timeout is 0"), std::string::npos);
  options = {};
  options.kill_grace = std::chrono::nanoseconds(-5);
  EXPECT_NE(refused(options).find("kill_grace is -5 ns"), std::string::npos);
  options = {};
  options.environment = {"PATH"};
  EXPECT_NE(refused(options).find("environment has \"PATH\""), std::string::npos);
  options = {};
  options.arguments = {""};
  EXPECT_NE(refused(options).find("arguments[0] is empty"), std::string::npos);
  options = {};
  options.signals = {77};
  EXPECT_NE(refused(options).find("signals has 77"), std::string::npos);
  // And the service is as before.
  const upgrader one(life);
  EXPECT_TRUE(one.in_charge());
  EXPECT_FALSE(one.is_successor());
}

TEST_F(UpgradeBadInput, ListenersNeedANameOfTheirOwn) {
  upgrader one(life);
  one.listen("http", anywhere, ignore);
  const auto refused_name = [&](const std::string& name) {
    return thrown<std::invalid_argument>([&] { one.listen(name, anywhere, ignore); });
  };
  EXPECT_NE(refused_name("http").find("\"http\" is taken"), std::string::npos);
  EXPECT_NE(refused_name("").find("is empty"), std::string::npos);
  EXPECT_NE(refused_name(std::string(65, 'x')).find("longer than 64"), std::string::npos);
  EXPECT_NE(refused_name(std::string("a\0b", 3)).find("NUL"), std::string::npos);
  for (std::size_t i = 1; i < upgrader::listeners_max; ++i) {
    one.listen("n" + std::to_string(i), anywhere, ignore);
  }
  EXPECT_NE(thrown<std::length_error>([&] {
              one.listen("more", anywhere, ignore);
            }).find("\"more\" is one too many"),
            std::string::npos);
}

TEST_F(UpgradeBadInput, ANameThatCouldNotBeServedIsFreeAgain) {
  upgrader one(life);
  const auto broken = [](sigrun::net::tcp_listener) { throw std::runtime_error("no"); };
  EXPECT_THROW(one.listen("http", anywhere, broken), std::runtime_error);
  EXPECT_NE(one.listen("http", anywhere, ignore).port(), 0);
}

TEST_F(UpgradeBadInput, ThereIsOneUpgrader) {
  const upgrader one(life);
  EXPECT_NE(thrown<std::logic_error>([&] { const upgrader two(life); }).find("has one already"),
            std::string::npos);
}

TEST_F(UpgradeBadInput, AChannelThatIsNoneIsNamedAndForgotten) {
  for (const char* value : {"nonsense", "1", "4711", "-3", ""}) {
    ::setenv("SIGRUN_UPGRADE", value, 1);
    const std::string what = refused({});
    EXPECT_NE(what.find("SIGRUN_UPGRADE=" + std::string(value)), std::string::npos) << what;
    EXPECT_EQ(::getenv("SIGRUN_UPGRADE"), nullptr);
  }
}

TEST_F(UpgradeBadInput, AServiceThatEndsTakesNoListenerAndNoRequest) {
  upgrader one(life);
  life.begin_stop();
  life.serve();
  EXPECT_THROW(one.listen("late", anywhere, ignore), std::logic_error);
  const auto record = one.upgrade();
  EXPECT_EQ(record.outcome, sigrun::upgrade_outcome::too_late);
  EXPECT_EQ(one.stats().too_late, 1u);
}

}  // namespace
