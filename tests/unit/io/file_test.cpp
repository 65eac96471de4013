// SPDX-License-Identifier: Apache-2.0
//
// Files, from goroutines and threads.
#include "support/net_fixture.hpp"

#include <sigrun/file.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <cstdlib>

namespace sigrun {
namespace {

using test::error_of;

using file_test = test::net_test;
INSTANTIATE_TEST_SUITE_P(callers, file_test,
                         ::testing::Values(test::caller_kind::threads,
                                           test::caller_kind::goroutines),
                         test::caller_name);

TEST_P(file_test, what_is_written_is_read) {
  run_here([] {
    char path[] = "/tmp/sigrun-file-XXXXXX";
    ::close(::mkstemp(path));
    const std::string text(100'000, 'x');
    file out = file::open(path, file_mode::write);
    EXPECT_EQ(out.write_all(text), text.size());
    EXPECT_EQ(out.size(), text.size());
    out.sync();
    out.close();
    EXPECT_EQ(error_of([&](auto& e) { out.close(e); }), std::errc::bad_file_descriptor);
    file::open(path, file_mode::append).write_all("end");
    EXPECT_EQ(read_file(path), text + "end");
    file in = file::open(path);
    std::array<char, 10> room{};
    EXPECT_EQ(in.read_at(text.size() - 1, room), 4u);
    EXPECT_EQ(std::string_view(room.data(), 4), "xend");
    EXPECT_EQ(in.read(room), 10u) << "its own position has not moved";
    EXPECT_EQ(error_of([&](auto& e) { in.write_all("x", e); }), std::errc::bad_file_descriptor);
    ::unlink(path);
  });
}

TEST_P(file_test, files_without_a_size_are_read_whole) {
  run_here([] {
    EXPECT_NE(read_file("/proc/self/status").find("VmPeak"), std::string::npos);
    EXPECT_EQ(read_file("/dev/null"), "");
  });
}

TEST_P(file_test, what_cannot_be_opened_says_why) {
  run_here([] {
    EXPECT_EQ(error_of([](auto& e) { read_file("/no/such/file", e); }),
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(error_of([](auto& e) { read_file("/tmp", e); }), std::errc::is_a_directory);
    EXPECT_EQ(error_of([](auto& e) { file::open(std::string("/tmp\0x", 6), file_mode::read, e); }),
              std::errc::invalid_argument);
    EXPECT_THROW(file::open("/no/such/file"), std::system_error);
    file none;
    std::array<char, 1> room{};
    EXPECT_FALSE(none.is_open());
    EXPECT_EQ(error_of([&](auto& e) { none.read(room, e); }), std::errc::bad_file_descriptor);
  });
}

}  // namespace
}  // namespace sigrun
