// SPDX-License-Identifier: Apache-2.0
//
// `sigrun dump` of programs that offer it, and of others.
#include "tools/tool_runner.hpp"

#include "crash/dump_name.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/dump.hpp>
#include <sigrun/go.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <system_error>

namespace sigrun::test {
namespace {

// A program with a goroutine that waits; it ends with 0 when it is told to go on.
int waiting_program() {
  int code = 1;
  run([&code] {
    const dump_on_request offered;
    chan<int> never(0);
    chan<int> ready(0);
    go({.name = "waits here"}, [never, ready]() mutable {
      ready.send(1);
      never.recv();
    }).detach();
    ready.recv();
    while (goroutine_stacks().find("chan receive") == std::string::npos) yield();
    announce_ready();
    const bool told = foreign_call([] { return wait_for_go(); });
    while (offered.written() + offered.failed() < 3) yield();  // it counts when it has said the end
    code = told && offered.failed() == 0 ? static_cast<int>(offered.written()) : 100;
  });
  return code;
}

TEST(SigrunDump, ShowsTheGoroutinesOfAProcessThatGoesOn) {
  child_process child(waiting_program);
  expect_ready(child);
  const std::string pid = std::to_string(child.pid());
  const child_result text = tool({"dump", pid});
  EXPECT_TRUE(text.exited_with(0)) << text.describe();
  EXPECT_NE(text.out.find("chan receive"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("name=waits here"), std::string::npos) << text.out;
  const child_result system = tool({"dump", "--system", pid});
  EXPECT_TRUE(system.exited_with(0)) << system.describe();
  EXPECT_GT(system.out.size(), text.out.size());
  const auto document = tool_json({"dump", pid}, 0);
  EXPECT_EQ(document.value("pid", 0), child.pid());
  EXPECT_TRUE(document.value("complete", false));
  bool found = false;
  for (const auto& one : document["goroutines"]) {
    const std::string state = one.value("state", "");
    if (state.find("name=waits here") == std::string::npos) continue;
    found = one.value("id", 0) > 0 && state.starts_with("chan receive") && one["stack"].size() >= 2;
  }
  EXPECT_TRUE(found) << document.dump(1);
  child.go_on();
  const child_result result = child.finish();
  EXPECT_TRUE(result.exited_with(3)) << result.describe();
}

TEST(SigrunDump, SaysThatAProcessOffersNone) {
  child_process child([] {
    announce_ready();
    return wait_for_go() ? 0 : 1;
  });
  expect_ready(child);
  const child_result none = tool({"dump", std::to_string(child.pid())});
  EXPECT_TRUE(none.exited_with(2)) << none.describe();
  EXPECT_NE(none.err.find("offers no dumps"), std::string::npos) << none.describe();
  child.go_on();
  EXPECT_TRUE(child.finish().exited_with(0));
}

TEST(SigrunDump, IsNotTakenInByAnotherProcessUnderThatName) {
  child_process child([] {
    announce_ready();
    return wait_for_go() ? 0 : 1;
  });
  expect_ready(child);
  struct stat space {};
  ASSERT_EQ(::stat("/proc/self/ns/pid", &space), 0);
  const crash::dump_address at = crash::dump_address_of(space.st_ino, child.pid());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&at.address), at.size), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  const child_result none = tool({"dump", std::to_string(child.pid())});
  EXPECT_TRUE(none.exited_with(2)) << none.describe();
  EXPECT_NE(none.err.find("offers no dumps"), std::string::npos) << none.describe();
  ::close(fd);
  child.go_on();
  EXPECT_TRUE(child.finish().exited_with(0));
}

TEST(SigrunDump, OneThatIsNotThereIsNamed) {
  const child_result none = tool({"dump", "2147483647"});
  EXPECT_TRUE(none.exited_with(2)) << none.describe();
  EXPECT_NE(none.err.find("no process has the id 2147483647"), std::string::npos)
      << none.describe();
  const child_result bad = tool({"dump", "x"});
  EXPECT_TRUE(bad.exited_with(2)) << bad.describe();
}

TEST(SigrunDump, ASecondOfferInOneProcessIsRefused) {
  const dump_on_request first;
  EXPECT_THROW(dump_on_request(), std::system_error);
}

// Who asks and does not read costs nobody anything, and is counted.
TEST(SigrunDump, OneThatHangsUpIsCounted) {
  const dump_on_request offered;
  struct stat space {};
  ASSERT_EQ(::stat("/proc/self/ns/pid", &space), 0);
  const crash::dump_address at = crash::dump_address_of(space.st_ino, ::getpid());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&at.address), at.size), 0);
  ::close(fd);
  while (offered.failed() == 0) yield();
  const child_result text = tool({"dump", std::to_string(::getpid())});
  EXPECT_TRUE(text.exited_with(0)) << text.describe();
  while (offered.written() == 0) yield();
}

}  // namespace
}  // namespace sigrun::test
