// SPDX-License-Identifier: Apache-2.0
//
// What else happens around a hand-over: ends of either process, storms, children, supervisors.
#include "upgraded_service.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <filesystem>

namespace {

using namespace std::chrono_literals;
using sigrun::test::constant_load;
using sigrun::test::upgraded_service;

// A request that its handler holds, until it is let go.
class held_request {
 public:
  explicit held_request(upgraded_service& service)
      : stream_(sigrun::net::tcp_stream::connect(service.http())) {
    stream_.set_deadline_in(sigrun::test::patience);
    stream_.write_all("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(service.await_line("holding"));
  }
  std::string answer() {
    std::string all;
    char part[1024];
    while (const std::size_t n = stream_.read(part)) all.append(part, n);
    return all;
  }

 private:
  sigrun::net::tcp_stream stream_;
};

// After a hand-over: the old one drains, as long as its last request is held.
class draining_service : public upgraded_service {
 public:
  draining_service() : old(pid()), held_(*this) {
    // Until that is said, a stop of the new one leaves the old one in charge.
    EXPECT_EQ(get("/upgrade"), "upgraded|none||1\n");
    next = await_next().pid;
  }
  // Lets the request go: it is the old one that answers, and ends well.
  void finish() {
    ::kill(old, SIGUSR1);
    const std::string answer = held_.answer();
    EXPECT_NE(answer.find("held by " + std::to_string(old)), std::string::npos) << answer;
    EXPECT_EQ(end_of(old), 0);
  }
  const int old;
  int next = 0;

 private:
  held_request held_;
};

TEST(UpgradeEnds, WhatIsInFlightIsFinishedByTheOldOne) {
  draining_service service;
  service.await_answer_of(service.next);
  service.finish();
}

TEST(UpgradeEnds, ASignalWhileTheOldOneDrainsDoesNotCutItShort) {
  draining_service service;
  ::kill(service.old, SIGTERM);
  service.finish();
}

TEST(UpgradeEnds, TheNextUpgradeWaitsForTheOldOneToDrain) {
  draining_service service;
  service.ask(service.next);
  service.await_answer_of(service.next);
  service.finish();
  const int third = service.await_next().pid;
  EXPECT_EQ(service.end_of(service.next), 0);
  EXPECT_EQ(service.get("/pid"), std::to_string(third));
}

TEST(UpgradeEnds, WithAnOldOneThatDrainsForTooLongItIsRolledBack) {
  upgraded_service service({"PROBE_TIMEOUT_MS=700"});
  const int first = service.pid();
  held_request held(service);
  service.ask(first);
  service.await_next();
  // Until then the old one may answer, that there was one.
  std::string record;
  while (!record.starts_with("rolled back")) record = service.get("/upgrade");
  EXPECT_TRUE(
      record.starts_with("rolled back|predecessor|pid " + std::to_string(first) + " still drains|"))
      << record;
  ::kill(first, SIGUSR1);
  EXPECT_NE(held.answer().find("held by"), std::string::npos);
}

TEST(UpgradeEnds, AServiceThatIsToldToStopGivesTheAttemptUp) {
  upgraded_service service({"PROBE_AS=hang"});
  const int pid = service.pid();
  auto asked = sigrun::go([&] {
    EXPECT_EQ(service.get("/upgrade"), "rolled back|stopping|the service is told to stop|1\n");
  });
  ASSERT_TRUE(service.await_line("hanging"));
  ::kill(pid, SIGTERM);
  asked.join();
  EXPECT_EQ(service.end_of(pid), SIGTERM);
  EXPECT_TRUE(upgraded_service::orphans().empty()) << "the new one was left behind";
}

TEST(UpgradeEnds, WhenTheOldOneDiesBeforeItSaysGoTheNewOneTakesCharge) {
  upgraded_service service({"PROBE_CHECK=hang"});
  const int old = service.pid();
  service.ask(old);
  ASSERT_TRUE(service.await_line("checking"));
  ::kill(old, SIGKILL);
  EXPECT_EQ(service.end_of(old), SIGKILL);
  const int next = service.await_next().pid;
  EXPECT_EQ(service.get("/pid"), std::to_string(next));
}

TEST(UpgradeEnds, AStopWhileItWaitsForTheOldOneToDrainIsNotHeldUp) {
  draining_service service;
  service.ask(service.next);
  ::kill(service.next, SIGTERM);
  service.finish();
  // Whose child it is at its end is a matter of chance.
  const int end = service.end_of(service.next);
  EXPECT_TRUE(end == SIGTERM || ::kill(service.next, 0) != 0) << end;
}

TEST(UpgradeStorm, RequestsDuringAnAttemptAreOneMore) {
  upgraded_service service({"PROBE_AS=exit"});
  constant_load load(service.http(), service.echo(), 2, 1, 0);
  std::vector<sigrun::goroutine> askers;
  std::atomic<int> rolled_back{0};
  for (int i = 0; i < 20; ++i) {
    askers.push_back(sigrun::go([&] {
      if (service.get("/upgrade").starts_with("rolled back|ended")) ++rolled_back;
    }));
  }
  for (int i = 0; i < 200; ++i) service.ask(service.pid());
  for (auto& one : askers) one.join();
  EXPECT_EQ(rolled_back.load(), 20);
  load.stop();
  EXPECT_EQ(load.failures(), 0u) << load.first_failure();
  int requests = 0;
  int attempts = 0;
  const std::string stats = service.get("/stats");
  ASSERT_EQ(std::sscanf(stats.c_str(), "requests %d late 0 attempts %d", &requests, &attempts), 2);
  EXPECT_GE(requests, 21);
  EXPECT_LT(attempts, requests);
}

TEST(UpgradeStorm, EndsWithOneInCharge) {
  upgraded_service service;
  constant_load load(service.http(), service.echo(), 2, 1, 1);
  const int first = service.pid();
  for (int i = 0; i < 500; ++i) ::kill(first, SIGUSR2);
  service.await_next();
  int upgrades = 1;
  for (;;) {
    // What came during an attempt was passed on, as one more.
    int requests = 0;
    int pid = 0;
    int predecessor = 0;
    std::sscanf(service.get("/stats").c_str(),
                "requests %d late %*d attempts %*d upgraded %*d rolled_back %*d passed_on %*d "
                "pid %d predecessor %d",
                &requests, &pid, &predecessor);
    if (pid != service.pid() || predecessor != 0) {
      sigrun::yield();
    } else if (requests == 0) {
      break;
    } else {
      service.await_next();
      ++upgrades;
    }
  }
  EXPECT_LE(upgrades, 5);
  EXPECT_EQ(service.end_of(first), 0);
  load.stop();
  EXPECT_EQ(load.failures(), 0u) << load.first_failure();
}

TEST(UpgradeChildren, NothingOfItIsInherited) {
  upgraded_service service;
  const auto check = [&] {
    const std::string seen = service.get("/child");
    EXPECT_EQ(seen.find("UPGRADE"), std::string::npos) << seen;
    EXPECT_EQ(seen.find("socket:"), std::string::npos) << seen;
    EXPECT_NE(seen.find(" 1 -> pipe:"), std::string::npos) << seen;
  };
  check();
  service.ask(service.pid());
  service.await_next();
  check();
}

TEST(UpgradeChildren, NeitherWhileAnAttemptIsUnderWay) {
  upgraded_service service({"PROBE_CHECK=hang", "PROBE_TIMEOUT_MS=20000"});
  service.ask(service.pid());
  ASSERT_TRUE(service.await_line("checking"));
  const std::string seen = service.get("/child");
  EXPECT_EQ(seen.find("UPGRADE"), std::string::npos) << seen;
  EXPECT_EQ(seen.find("socket:"), std::string::npos) << seen;
}

std::string pid_at(const std::string& path) {
  auto stream = sigrun::net::unix_stream::connect(sigrun::net::unix_address(path));
  stream.set_deadline_in(sigrun::test::patience);
  stream.write_all("GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  std::string all;
  char part[1024];
  while (const std::size_t n = stream.read(part)) all.append(part, n);
  return all.substr(all.find("\r\n\r\n") + 4);
}

TEST(UpgradeUnix, ThePathOutlivesANewOneThatFails) {
  const std::string path = testing::TempDir() + "upgrade_unix_" + std::to_string(::getpid());
  for (const char* as : {"throw", "throw in charge"}) {
    upgraded_service service({"PROBE_UNIX=" + path, std::string("PROBE_AS=") + as});
    EXPECT_TRUE(service.get("/upgrade").starts_with("rolled back|refused|"));
    EXPECT_EQ(pid_at(path), std::to_string(service.pid()));
    ::kill(service.pid(), SIGTERM);
    service.end_of(service.pid());
  }
}

TEST(UpgradeUnix, ThePathStaysUntilTheLastOneEnds) {
  const std::string path = testing::TempDir() + "upgrade_unix_" + std::to_string(::getpid());
  upgraded_service service({"PROBE_UNIX=" + path});
  for (int i = 0; i < 2; ++i) {
    const int old = service.pid();
    service.ask(old);
    const int next = service.await_next().pid;
    EXPECT_EQ(service.end_of(old), 0);
    EXPECT_EQ(pid_at(path), std::to_string(next));
  }
  ::kill(service.pid(), SIGTERM);
  EXPECT_EQ(service.end_of(service.pid()), SIGTERM);
  EXPECT_FALSE(std::filesystem::exists(path));
}

// What systemd would hear.
class supervisor_socket {
 public:
  supervisor_socket() : name_("sigrun-upgrade-" + std::to_string(::getpid())) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    name_.copy(at.sun_path + 1, sizeof at.sun_path - 2);
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    const timeval limit{40, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~supervisor_socket() { ::close(fd_); }
  std::string variable() const { return "NOTIFY_SOCKET=@" + name_; }
  std::string next() const {
    char text[1000];
    const ssize_t size = ::recv(fd_, text, sizeof text, 0);
    return size < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(size));
  }
  std::string pending() const {
    char text[1000];
    const ssize_t size = ::recv(fd_, text, sizeof text, MSG_DONTWAIT);
    return size < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(size));
  }

 private:
  const std::string name_;
  int fd_ = -1;
};

TEST(UpgradeSupervisor, HearsWhoGoesOn) {
  supervisor_socket supervisor;
  upgraded_service service({supervisor.variable()});
  EXPECT_EQ(supervisor.next(), "READY=1");
  for (int i = 0; i < 2; ++i) {
    const int old = service.pid();
    service.ask(old);
    const std::string next = std::to_string(service.await_next().pid);
    EXPECT_EQ(supervisor.next().substr(0, 11), "RELOADING=1");
    EXPECT_EQ(supervisor.next(),
              "MAINPID=" + next + "\nREADY=1\nSTATUS=upgraded, pid " + next + " is in charge");
    EXPECT_EQ(service.end_of(old), 0);
    EXPECT_EQ(supervisor.pending(), "nothing");  // the service has not stopped
  }
  ::kill(service.pid(), SIGTERM);
  EXPECT_EQ(supervisor.next(), "STOPPING=1");
}

TEST(UpgradeSupervisor, ItsSocketsAreTakenByTheirNamesAndHandedOn) {
  const auto listener = sigrun::net::tcp_listener::listen(upgraded_service::at(0));
  const int port = listener.local_endpoint().port();
  upgraded_service service({"LISTEN_FDS=1", "LISTEN_FDNAMES=http"}, {}, {{listener.fd(), 3}});
  EXPECT_EQ(service.now().http, port);
  for (int i = 0; i < 2; ++i) {
    const int old = service.pid();
    service.ask(old);
    EXPECT_EQ(service.await_next().http, port);
    EXPECT_EQ(service.end_of(old), 0);
    EXPECT_EQ(service.get("/pid"), std::to_string(service.pid()));
  }
}

TEST(UpgradeSupervisor, HearsOfARollback) {
  supervisor_socket supervisor;
  upgraded_service service({supervisor.variable(), "PROBE_AS=exit"});
  EXPECT_EQ(supervisor.next(), "READY=1");
  service.get("/upgrade");
  EXPECT_EQ(supervisor.next().substr(0, 11), "RELOADING=1");
  EXPECT_EQ(supervisor.next(), "READY=1");
  EXPECT_EQ(supervisor.next().substr(0, 29), "STATUS=upgrade: rolled back (");
}

}  // namespace
