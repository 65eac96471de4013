// SPDX-License-Identifier: Apache-2.0
//
// Dies with a report: crash_target CASE DIRECTORY. See crash_check.py.
#include <sigrun/crash.hpp>
#include <sigrun/go.hpp>

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace {

template <class T>
[[gnu::noinline]] T hidden(T value) {
  asm volatile("" : "+r"(value));
  return value;
}

[[gnu::noinline]] void writes_to(int* at) {
  *at = 42;
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] void calls_null() {
  hidden<void (*)()>(nullptr)();
  asm volatile("");
}

[[gnu::noinline]] int runs_deep(int depth) {
  char room[512];
  asm volatile("" : : "r"(room) : "memory");
  room[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : runs_deep(hidden(depth - 1)) + room[hidden(0)];
}

[[gnu::noinline]] void aborts() { std::abort(); }

[[gnu::noinline]] void throws() { throw std::runtime_error("no more bread"); }

void die(std::string_view how) {
  if (how == "null_write") writes_to(hidden<int*>(nullptr));
  if (how == "calls_null") calls_null();
  if (how == "overflows") runs_deep(hidden(1 << 30));
  if (how == "aborts") aborts();
  if (how == "throws") throws();
  std::_Exit(96);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::alarm(100);
  sigrun::install_crash_reports({.directory = argv[2], .symbolize = false, .program = "target"});
  sigrun::run([&] {
    const std::string_view how = argv[1];
    sigrun::go({.name = "waiter"}, [] {
      for (;;) sigrun::yield();
    }).detach();
    sigrun::go({.name = "victim"}, [how] { die(how); }).detach();
    for (;;) sigrun::yield();
  });
}
