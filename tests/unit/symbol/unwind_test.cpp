// SPDX-License-Identifier: Apache-2.0
//
// Goal: our walk over a stack names the frames that are there, in code built with default flags,
// across signal frames and calls to nowhere, as the compiler's own unwinder does; and over rubbish
// it ends, and reads nothing that is not there.

#include "symbol/unwind.hpp"

#include "fiber/sanitizer.hpp"
#include "support/child_process.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <sys/mman.h>
#include <unwind.h>
#include <csignal>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

namespace sigrun::symbol {
namespace {

struct walked {
  std::vector<frame> frames;
  bool more = false;
};

// Into the room that is there, so that a handler may.
void walk_into(walked& out, const registers& start) {
  out.frames.resize(walk(start, memory{}, out.frames.data(), out.frames.size(), out.more));
}

walked walk_from(const registers& start, std::size_t most = 64) {
  walked out;
  out.frames.resize(most);
  walk_into(out, start);
  return out;
}

_Unwind_Reason_Code collect(_Unwind_Context* context, void* arg) {
  const std::uint64_t pc = _Unwind_GetIP(context);
  if (pc != 0) static_cast<std::vector<std::uint64_t>*>(arg)->push_back(pc);
  return _URC_NO_REASON;
}

std::vector<std::uint64_t> compilers_walk() {
  std::vector<std::uint64_t> pcs;
  _Unwind_Backtrace(&collect, &pcs);
  return pcs;
}

// The pcs of the frames from the first one that both have, to the end.
void expect_same_tail(const walked& ours, std::vector<std::uint64_t> theirs, std::size_t at_least) {
  ASSERT_FALSE(ours.frames.empty());
  const auto known = [&](const frame& f) {
    return std::find(theirs.begin(), theirs.end(), f.pc) != theirs.end();
  };
  const auto first = std::find_if(ours.frames.begin(), ours.frames.end(), known);
  ASSERT_NE(first, ours.frames.end()) << "no frame in common";
  theirs.erase(theirs.begin(), std::find(theirs.begin(), theirs.end(), first->pc));
  std::vector<std::uint64_t> tail;
  for (auto f = first; f != ours.frames.end(); ++f) tail.push_back(f->pc);
  EXPECT_EQ(tail, theirs);
  EXPECT_GE(tail.size(), at_least);
}

class UnwindTest : public ::testing::Test {
 protected:
  UnwindTest() { refresh_modules(); }
};

walked here;
std::vector<std::uint64_t> theirs_here;

template <int Depth>
[[gnu::noinline]] int nested(int* sink) {
  char room[Depth * 48 + 1];
  asm volatile("" : : "r"(room), "r"(sink) : "memory");
  room[Depth] = static_cast<char>(*sink);
  if constexpr (Depth == 0) {
    here = walk_from(registers_here());
    theirs_here = compilers_walk();
  } else {
    *sink = nested<Depth - 1>(sink) + 1;
  }
  return *sink + room[Depth];
}

TEST_F(UnwindTest, NestedCallsAreWalkedToTheirEnd) {
  int sink = 0;
  nested<9>(&sink);
  // The frame that called both walks has a different pc in each; its callers are the same.
  expect_same_tail(here, theirs_here, 12);
  EXPECT_FALSE(here.more);
}

[[gnu::noinline]] double with_dynamic_stack(std::size_t size, int* sink) {
  auto* room = static_cast<char*>(__builtin_alloca(size));
  room[0] = 1;
  alignas(128) double aligned = std::sqrt(static_cast<double>(size));
  asm volatile("" : : "r"(room), "r"(&aligned) : "memory");
  nested<1>(sink);
  return aligned + room[0];
}

TEST_F(UnwindTest, DynamicAndRealignedFramesAreCrossed) {
  int sink = 0;
  for (const std::size_t size : {16U, 1000U, 70'000U}) {
    EXPECT_GT(with_dynamic_stack(size, &sink), 0);
    expect_same_tail(here, theirs_here, 4);
  }
}

TEST_F(UnwindTest, ABoundOnFramesIsKeptAndSaid) {
  const walked few = walk_from(registers_here(), 2);
  EXPECT_EQ(few.frames.size(), 2U);
  EXPECT_TRUE(few.more);
}

walked in_handler;
walked interrupted;
std::vector<std::uint64_t> theirs_in_handler;

void on_signal(int, siginfo_t*, void* context) {
  in_handler = walk_from(registers_here());
  interrupted = walk_from(interrupted_registers(*static_cast<ucontext_t*>(context)));
  theirs_in_handler = compilers_walk();
}

void install(int signo, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO | flags;
  action.sa_sigaction = handler;
  ASSERT_EQ(sigaction(signo, &action, nullptr), 0);
}

TEST_F(UnwindTest, ASignalFrameIsCrossedToTheInterruptedFunction) {
#if SIGRUN_TSAN
  GTEST_SKIP() << "TSan calls handlers from its own";
#endif
  install(SIGUSR1, &on_signal, 0);
  std::raise(SIGUSR1);
  ASSERT_GT(interrupted.frames.size(), 3U);
  EXPECT_TRUE(interrupted.frames.front().exact);
  expect_same_tail(in_handler, theirs_in_handler, 5);
  // And what the handler's walk finds beyond the signal frame is the interrupted stack.
  ASSERT_GE(in_handler.frames.size(), interrupted.frames.size());
  const auto tail = in_handler.frames.end() - static_cast<long>(interrupted.frames.size());
  for (std::size_t i = 0; i < interrupted.frames.size(); ++i) {
    EXPECT_EQ(tail[static_cast<long>(i)].pc, interrupted.frames[i].pc) << i;
  }
}

// The compiler must not know that it returns to nowhere, nor look at what it calls before.
[[gnu::noinline]] __attribute__((no_sanitize("undefined"))) void calls_nowhere() {
  void (*nowhere)() = nullptr;
  asm volatile("" : "+r"(nowhere));
  nowhere();
  asm volatile("" : : : "memory");
}

void on_fault(int, siginfo_t*, void* context) {
  walked& w = interrupted;
  walk_into(w, interrupted_registers(*static_cast<ucontext_t*>(context)));
  const auto function = reinterpret_cast<std::uint64_t>(&calls_nowhere);
  const bool named = w.frames.size() > 3 && w.frames[0].pc == 0 && w.frames[1].pc > function &&
                     w.frames[1].pc < function + 256;
  _exit(named ? 0 : 1);
}

TEST_F(UnwindTest, ACallThroughANullPointerHasItsCaller) {
  const test::child_result result = test::run_child([] {
    interrupted.frames.resize(64);
    install(SIGSEGV, &on_fault, 0);
    calls_nowhere();
    return 2;
  });
  EXPECT_TRUE(result.exited_with(0)) << result.describe();
}

TEST_F(UnwindTest, RubbishInRegistersEndsTheWalk) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> page(512);
  const auto low = reinterpret_cast<std::uint64_t>(page.data());
  for (int round = 0; round < 20'000; ++round) {
    for (int i = 0; i < 8; ++i) page[random() % page.size()] = random();
    // Return addresses that look like some, into code that exists.
    page[random() % page.size()] = reinterpret_cast<std::uint64_t>(&std::raise) + random() % 4096;
    registers start;
    for (std::uint64_t& r : start.r) r = random() % 2 == 0 ? random() : low + random() % 4096;
    start.pc = random() % 2 == 0 ? reinterpret_cast<std::uint64_t>(&compilers_walk) + random() % 512
                                 : random();
    start.exact = random() % 2 == 0;
    const walked w = walk_from(start);
    ASSERT_LE(w.frames.size(), 64U);
  }
}

TEST_F(UnwindTest, NothingIsReadFromAGuardPage) {
  auto* const pages = static_cast<char*>(
      mmap(nullptr, 2 * page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(mprotect(pages + page_size, page_size, PROT_NONE), 0);
  const auto first = reinterpret_cast<std::uint64_t>(pages);
  memory look;
  std::uint64_t value = 1;
  EXPECT_TRUE(look.load(first + page_size - 8, value));
  EXPECT_EQ(value, 0U);
  EXPECT_FALSE(look.load(first + page_size - 4, value)) << "half of it lies in the guard";
  EXPECT_FALSE(look.load(first + page_size, value));
  EXPECT_FALSE(look.load(0, value));
  EXPECT_FALSE(look.load(UINT64_MAX - 3, value));
  munmap(pages, 2 * page_size);
}

// As a dump finds it that begins while another one refreshes; the loader has no name for it.
TEST(ModulesTest, TheProgramHasItsPathBeforeTheFirstRefresh) {
  module_view own;
  ASSERT_TRUE(find_module(reinterpret_cast<std::uint64_t>(&compilers_walk), own));
  EXPECT_EQ(own.name(), test::self_path());
}

std::vector<std::string> listed_modules() {
  std::vector<std::string> names;
  for_each_module(
      [](void* arg, const module_view& row) {
        static_cast<std::vector<std::string>*>(arg)->emplace_back(row.name());
        return true;
      },
      &names);
  return names;
}

bool is_listed(std::string_view name) {
  for (const std::string& each : listed_modules()) {
    if (each.find(name) != std::string::npos) return true;
  }
  return false;
}

TEST(ModulesTest, TheProgramAndItsLibrariesAreListedWithTheirBuildIds) {
  refresh_modules();
  module_view own;
  ASSERT_TRUE(find_module(reinterpret_cast<std::uint64_t>(&compilers_walk), own));
  EXPECT_EQ(own.name(), test::self_path());
  EXPECT_EQ(own.build_id_size, 20);
  EXPECT_NE(own.eh_frame_hdr, 0U);
  module_view libc;
  ASSERT_TRUE(find_module(reinterpret_cast<std::uint64_t>(dlsym(RTLD_DEFAULT, "getpid")), libc));
  EXPECT_NE(libc.name().find("libc.so"), std::string_view::npos) << libc.name();
  module_view none;
  EXPECT_FALSE(find_module(1, none));
  EXPECT_GE(listed_modules().size(), 3U);
  EXPECT_EQ(listed_modules().front(), test::self_path());
}

TEST(ModulesTest, ALibraryLoadedSinceTheRefreshIsFoundAllTheSame) {
  refresh_modules();
  void* const library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) GTEST_SKIP() << dlerror();
  const auto inside = reinterpret_cast<std::uint64_t>(dlsym(library, "__b64_ntop"));
  module_view found;
  ASSERT_TRUE(find_module(inside, found));
  EXPECT_NE(found.name().find("libresolv"), std::string_view::npos) << found.name();
  EXPECT_EQ(found.build_id_size, 0);
  frame_rules rules;
  EXPECT_TRUE(find_rules(found, inside, rules));
  refresh_modules();
  ASSERT_TRUE(find_module(inside, found));
  EXPECT_EQ(found.build_id_size, 20);
  dlclose(library);
}

// The loader changes again and again while rows are looked at, and each change is taken up.
TEST(ModulesTest, ARowStaysWhatItIsWhileItIsLookedAt) {
  static constexpr const char* name = "libresolv.so.2";
  if (void* const there = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    dlclose(there);
  } else {
    GTEST_SKIP() << dlerror();
  }
  refresh_modules();
  ASSERT_FALSE(is_listed(name));
  const std::vector<std::string> wanted = listed_modules();
  std::vector<std::string> seen;
  for_each_module(
      [](void* arg, const module_view& row) {
        for (int i = 0; i < 4; ++i) {
          void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
          refresh_modules();
          EXPECT_TRUE(is_listed(name)) << i;
          dlclose(library);
          refresh_modules();
          EXPECT_FALSE(is_listed(name)) << i;
        }
        static_cast<std::vector<std::string>*>(arg)->emplace_back(row.name());
        return true;
      },
      &seen);
  EXPECT_EQ(seen, wanted);
}

TEST(ModulesTest, WithAllTablesBeingReadTheListStaysTheOlderOne) {
  static constexpr const char* name = "libresolv.so.2";
  void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) GTEST_SKIP() << dlerror();
  dlclose(library);
  refresh_modules();
  // Each look is into a table of its own, because the loader has changed since the one before.
  struct looks {
    int depth = 0;
    void* library = nullptr;
    static bool look(void* arg, const module_view&) {
      auto& self = *static_cast<looks*>(arg);
      if (++self.depth % 2 == 1) {
        self.library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      } else {
        dlclose(self.library);
      }
      refresh_modules();
      if (self.depth < 3) {
        EXPECT_EQ(is_listed(name), self.depth == 1);
        for_each_module(&look, arg);
      } else {
        EXPECT_FALSE(is_listed(name)) << "there was a table left";
      }
      return false;
    }
  } all;
  for_each_module(&looks::look, &all);
  ASSERT_EQ(all.depth, 3);
  refresh_modules();
  EXPECT_TRUE(is_listed(name));
  dlclose(all.library);
}

}  // namespace
}  // namespace sigrun::symbol
