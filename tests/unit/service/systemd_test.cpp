// SPDX-License-Identifier: Apache-2.0
//
// What a supervisor hears, and what it hands over.
#include <sigrun/net.hpp>
#include <sigrun/process.hpp>
#include <sigrun/select.hpp>
#include <sigrun/systemd.hpp>
#include <sigrun/time.hpp>

#include "receiver.hpp"
#include "support/child_process.hpp"
#include "support/leak_guard.hpp"
#include "sys/clock.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace {

using namespace std::chrono_literals;
namespace systemd = sigrun::systemd;
using sigrun::test::run_child;
using sigrun::test::supervisor_socket;

class SystemdTest : public ::testing::Test {
 protected:
  SystemdTest() {
    ::alarm(50);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
                             "LISTEN_PID", "LISTEN_FDNAMES"}) {
      ::unsetenv(name);
    }
  }
  ~SystemdTest() override { ::alarm(0); }
};

TEST_F(SystemdTest, WithoutASupervisorNothingIsSentAndNothingIsWrong) {
  EXPECT_FALSE(systemd::supervised());
  EXPECT_FALSE(systemd::ready());
  EXPECT_FALSE(systemd::stopping());
  EXPECT_FALSE(systemd::watchdog_interval());
  EXPECT_TRUE(systemd::take_listen_fds().empty());
}

TEST_F(SystemdTest, EachStateIsOneDatagramToAPathOrAnAbstractName) {
  for (const bool abstract : {true, false}) {
    const supervisor_socket heard(abstract);
    EXPECT_TRUE(systemd::ready());
    EXPECT_EQ(heard.receive(), "READY=1");
    EXPECT_TRUE(systemd::stopping());
    EXPECT_EQ(heard.receive(), "STOPPING=1");
    EXPECT_TRUE(systemd::keep_watchdog_quiet());
    EXPECT_EQ(heard.receive(), "WATCHDOG=1");
    EXPECT_TRUE(systemd::trigger_watchdog());
    EXPECT_EQ(heard.receive(), "WATCHDOG=trigger");
    EXPECT_TRUE(systemd::main_pid(4711));
    EXPECT_EQ(heard.receive(), "MAINPID=4711");
    EXPECT_TRUE(systemd::extend_timeout(2500ms));
    EXPECT_EQ(heard.receive(), "EXTEND_TIMEOUT_USEC=2500000");
    EXPECT_TRUE(systemd::extend_timeout(-1s));
    EXPECT_EQ(heard.receive(), "EXTEND_TIMEOUT_USEC=1");
    EXPECT_TRUE(systemd::status("two\nlines"));
    EXPECT_EQ(heard.receive(), "STATUS=two lines");
  }
}

TEST_F(SystemdTest, ReloadingCarriesTheMonotonicClock) {
  const supervisor_socket heard;
  const std::int64_t before = sigrun::sys::now_ns() / 1000;
  EXPECT_TRUE(systemd::reloading());
  const std::int64_t after = sigrun::sys::now_ns() / 1000;
  const std::string message = heard.receive();
  const std::string begin = "RELOADING=1\nMONOTONIC_USEC=";
  ASSERT_EQ(message.substr(0, begin.size()), begin);
  const std::int64_t said = std::stoll(message.substr(begin.size()));
  EXPECT_GE(said, before);
  EXPECT_LE(said, after);
}

TEST_F(SystemdTest, ASocketThatIsNoneIsAnErrorThatNamesIt) {
  std::error_code error;
  ::setenv("NOTIFY_SOCKET", "nonsense", 1);
  EXPECT_FALSE(systemd::notify("READY=1", error));
  EXPECT_EQ(error, std::errc::invalid_argument);
  ::setenv("NOTIFY_SOCKET", ("/" + std::string(200, 'x')).c_str(), 1);
  EXPECT_FALSE(systemd::notify("READY=1", error));
  EXPECT_EQ(error, std::errc::invalid_argument);
  ::setenv("NOTIFY_SOCKET", "/no/such/socket", 1);
  try {
    systemd::ready();
    FAIL();
  } catch (const std::system_error& refused) {
    EXPECT_EQ(refused.code(), std::errc::no_such_file_or_directory);
    EXPECT_NE(std::string(refused.what()).find("/no/such/socket"), std::string::npos);
  }
  EXPECT_THROW(systemd::main_pid(0), std::invalid_argument);
}

TEST_F(SystemdTest, ASupervisorThatDoesNotReadIsGivenUp) {
  const supervisor_socket deaf;
  std::error_code error;
  int sent = 0;
  const std::string long_text(1000, 'x');
  while (systemd::notify(long_text, error) && sent < 100'000) ++sent;
  EXPECT_EQ(error, std::errc::timed_out);
  EXPECT_GT(sent, 0);
}

TEST_F(SystemdTest, TheWatchdogsVariablesAreChecked) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(systemd::watchdog_interval(), 3s);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(systemd::watchdog_interval(), 3s);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(systemd::watchdog_interval());
  for (const char* bad : {"0", "-5", "soon", "3s", "99999999999999999999"}) {
    ::setenv("WATCHDOG_USEC", bad, 1);
    try {
      systemd::watchdog_interval();
      FAIL() << bad;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find("WATCHDOG_USEC=" + std::string(bad)),
                std::string::npos);
    }
  }
}

TEST_F(SystemdTest, TheWatchdogSpeaksAsLongAsTheServiceIsAlive) {
  const supervisor_socket heard;
  std::atomic<bool> alive{true};
  systemd::watchdog dog([&] { return alive.load(); }, 20ms);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(heard.receive(), "WATCHDOG=1");
  alive = false;
  while (dog.withheld() < 3) sigrun::yield();
  const std::uint64_t sent = dog.sent();
  while (dog.withheld() < 5) sigrun::yield();
  EXPECT_EQ(dog.sent(), sent);
  alive = true;
  while (dog.sent() == sent) sigrun::yield();
}

TEST_F(SystemdTest, AQuestionThatThrowsIsNoSignOfLife) {
  const supervisor_socket heard;
  const systemd::watchdog dog([]() -> bool { throw std::runtime_error("ill"); }, 10ms);
  while (dog.withheld() < 2) sigrun::yield();
  EXPECT_EQ(dog.sent(), 0U);
  EXPECT_TRUE(heard.nothing_waits());
}

TEST_F(SystemdTest, WithoutAnIntervalTheWatchdogDoesNothing) {
  const systemd::watchdog dog(nullptr);
  EXPECT_FALSE(dog.running());
}

// Makes `count` fds from 3 on, in a forked child where these numbers are free to take.
int place_fds(int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = ::open("/dev/null", O_RDONLY);
    if (fd != 3 + i) {
      ::dup2(fd, 3 + i);
      ::close(fd);
    }
  }
  return 0;
}

TEST_F(SystemdTest, SocketsAreTakenOnceWithTheirNames) {
  const auto result = run_child([] {
    place_fds(3);
    ::setenv("LISTEN_FDS", "3", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", "http::metrics", 1);
    const auto fds = systemd::take_listen_fds();
    if (fds.size() != 3) return 1;
    if (fds[0].fd != 3 || fds[0].name != "http") return 2;
    if (fds[1].fd != 4 || fds[1].name != "unknown") return 3;
    if (fds[2].fd != 5 || fds[2].name != "metrics") return 4;
    if ((::fcntl(4, F_GETFD) & FD_CLOEXEC) == 0) return 5;
    if (std::getenv("LISTEN_FDS") != nullptr) return 6;
    return systemd::take_listen_fds().empty() ? 0 : 7;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST_F(SystemdTest, SocketsOfAnotherProcessAreNotTaken) {
  ::setenv("LISTEN_FDS", "2", 1);
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_TRUE(systemd::take_listen_fds().empty());
  EXPECT_NE(std::getenv("LISTEN_FDS"), nullptr);
}

TEST_F(SystemdTest, NonsenseInListenFdsIsNamed) {
  for (const char* bad : {"-1", "many", "2147483647"}) {
    ::setenv("LISTEN_FDS", bad, 1);
    EXPECT_THROW(systemd::take_listen_fds(), std::invalid_argument) << bad;
  }
  ::setenv("LISTEN_FDS", "900", 1);
  EXPECT_THROW(systemd::take_listen_fds(), std::invalid_argument);
  ::setenv("LISTEN_PID", "self", 1);
  EXPECT_THROW(systemd::take_listen_fds(), std::invalid_argument);
  EXPECT_NE(std::getenv("LISTEN_FDS"), nullptr);
}

}  // namespace
