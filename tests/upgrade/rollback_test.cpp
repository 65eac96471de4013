// SPDX-License-Identifier: Apache-2.0
//
// New processes that fail, in each way there is: the old one goes on, and says why.
#include "upgraded_service.hpp"

#include <sys/stat.h>

#include <filesystem>

namespace {

using namespace std::chrono_literals;
using sigrun::test::beside_self;
using sigrun::test::constant_load;
using sigrun::test::upgraded_service;

struct failing {
  const char* as;       // PROBE_AS
  const char* failure;  // upgrade_failure
  const char* what;     // part of its text
};
void PrintTo(const failing& one, std::ostream* to) { *to << one.as; }

class UpgradeRollback : public testing::TestWithParam<failing> {};

TEST_P(UpgradeRollback, TheOldOneGoesOnAndSaysWhy) {
  const std::string as = GetParam().as;
  const bool slow = as == "hang" || as == "stay silent";
  upgraded_service service({"PROBE_AS=" + as, slow ? "PROBE_TIMEOUT_MS=300" : "PROBE_OTHER=1"});
  constant_load load(service.http(), service.echo(), 2, 1, 1);
  load.await_answers(20);
  std::string record;
  int asked = 0;
  do {
    record = service.get("/upgrade");
    ++asked;
    // On a busy machine its 300 ms may be over before it is ready to stay silent.
  } while (as == "stay silent" && record.find("it was not ready") != std::string::npos);
  EXPECT_TRUE(record.starts_with("rolled back|" + std::string(GetParam().failure) + "|")) << record;
  EXPECT_NE(record.find(GetParam().what), std::string::npos) << record;
  load.await_answers(20);
  EXPECT_EQ(service.get("/pid"), std::to_string(service.pid()));
  const std::string times = std::to_string(asked);
  EXPECT_TRUE(service.get("/stats").starts_with("requests " + times + " late 0 attempts " + times +
                                                " upgraded 0 rolled_back " + times +
                                                " passed_on 0 "));
  load.stop();
  EXPECT_EQ(load.failures(), 0u) << load.first_failure();
  // Nothing of it is left.
  ::kill(service.pid(), SIGTERM);
  EXPECT_EQ(service.end_of(service.pid()), SIGTERM);
  EXPECT_TRUE(upgraded_service::orphans().empty()) << "a process was left behind";
}

INSTANTIATE_TEST_SUITE_P(
    EachWay, UpgradeRollback,
    testing::Values(failing{"exit", "ended", "ended with exit status 3"},
                    failing{"crash", "ended", "killed by SIGSEGV"},
                    failing{"hang", "timed out", "it was not ready after 300 ms"},
                    failing{"close", "protocol", "has closed the channel, and runs on"},
                    failing{"garbage", "protocol", "no message of an upgrade"},
                    failing{"version", "protocol", "it speaks version 99"},
                    failing{"out of turn", "protocol", "out of turn"},
                    failing{"die after ready", "ended", "ended with exit status 4"},
                    failing{"die after go", "ended", "ended with exit status 5"},
                    failing{"stay silent", "timed out", "it was not in charge after 300 ms"},
                    failing{"throw", "refused", "it has ended before it was ready"},
                    failing{"throw in charge", "refused", "\"announcement\": no luck"},
                    failing{"throw: told to stop", "refused", "the service is told to stop"},
                    failing{"throw: told to stop late", "refused", "the service is told to stop"}),
    [](const testing::TestParamInfo<failing>& one) {
      std::string name = one.param.as;
      for (char& c : name) c = c == ' ' || c == ':' ? '_' : c;
      return name;
    });

TEST(UpgradeCheck, WhatItThrowsRollsBack) {
  upgraded_service service({"PROBE_CHECK=throw"});
  EXPECT_EQ(service.get("/upgrade"), "rolled back|check|it threw: the store is busy|1\n");
  EXPECT_EQ(service.get("/pid"), std::to_string(service.pid()));
}

TEST(UpgradeCheck, WhatDoesNotReturnIsLeftBehindAndNotCalledAgain) {
  upgraded_service service({"PROBE_CHECK=hang", "PROBE_TIMEOUT_MS=500"});
  EXPECT_EQ(service.get("/upgrade"), "rolled back|check|it has not returned in time|1\n");
  EXPECT_EQ(service.get("/upgrade"),
            "rolled back|check|an earlier check has still not returned|1\n");
  EXPECT_EQ(service.get("/pid"), std::to_string(service.pid()));
}

// The program's file, as a deployment changes it.
class UpgradeProgram : public testing::Test {
 protected:
  UpgradeProgram()
      : folder_(std::filesystem::path(testing::TempDir()) /
                ("upgrade_program_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_ / "1");
    std::filesystem::create_directories(folder_ / "2");
    install("1");
  }
  ~UpgradeProgram() override { std::filesystem::remove_all(folder_); }

  void install(const std::string& version) {
    std::filesystem::copy_file(beside_self("upgrade_probe"), folder_ / version / "probe");
  }
  std::string path(const std::string& version) const { return folder_ / version / "probe"; }
  static std::string running(int pid) {
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe");
  }

  const std::filesystem::path folder_;
};

TEST_F(UpgradeProgram, AFileThatWasReplacedIsStarted) {
  upgraded_service service({}, path("1"));
  std::filesystem::remove(path("1"));
  install("1");
  EXPECT_EQ(running(service.pid()), path("1") + " (deleted)");
  service.ask(service.pid());
  EXPECT_EQ(running(service.await_next().pid), path("1"));
}

TEST_F(UpgradeProgram, ASymbolicLinkThatWasTurnedIsFollowed) {
  install("2");
  std::filesystem::create_directory_symlink("1", folder_ / "current");
  upgraded_service service({}, path("current"));
  EXPECT_EQ(running(service.pid()), path("1"));
  std::filesystem::create_directory_symlink("2", folder_ / "next");
  std::filesystem::rename(folder_ / "next", folder_ / "current");
  service.ask(service.pid());
  EXPECT_EQ(running(service.await_next().pid), path("2"));
}

TEST_F(UpgradeProgram, WithoutAFileOrThePermissionNothingChangesAndItCanBeTriedAgain) {
  upgraded_service service({}, path("1"));
  std::filesystem::rename(path("1"), path("2"));
  const std::string missing = service.get("/upgrade");
  EXPECT_TRUE(missing.starts_with("rolled back|not started|")) << missing;
  EXPECT_NE(missing.find("No such file or directory"), std::string::npos) << missing;
  std::filesystem::copy_file("/etc/passwd", path("1"));
  ::chmod(path("1").c_str(), 0644);
  const std::string refused = service.get("/upgrade");
  EXPECT_NE(refused.find("Permission denied"), std::string::npos) << refused;
  // A script that says nothing of this, and ends.
  ::chmod(path("1").c_str(), 0755);
  const std::string other = service.get("/upgrade");
  EXPECT_TRUE(other.starts_with("rolled back|ended|")) << other;
  std::filesystem::remove(path("1"));
  install("1");
  service.ask(service.pid());
  EXPECT_NE(service.await_next().pid, 0);
}

TEST(UpgradeCheck, WithoutDescriptorsNothingChangesAndItCanBeTriedAgain) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs a pipe to look whether an object is there";
#endif
  upgraded_service service;
  const std::string record = service.get("/upgrade_without_descriptors");
  EXPECT_TRUE(record.starts_with("rolled back|not started|")) << record;
  EXPECT_NE(record.find("Too many open files"), std::string::npos) << record;
  const int old = service.pid();
  EXPECT_EQ(service.get("/pid"), std::to_string(old));
  service.ask(old);
  EXPECT_NE(service.await_next().pid, old);
  EXPECT_EQ(service.end_of(old), 0);
}

}  // namespace
