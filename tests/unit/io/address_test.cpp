// SPDX-License-Identifier: Apache-2.0
//
// Addresses as text and back.
#include <sigrun/address.hpp>

#include <gtest/gtest.h>

#include <net/if.h>

namespace sigrun::net {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

std::string round(std::string_view text) {
  const auto parsed = ip_address::parse(text);
  return parsed ? parsed->to_string() : "none";
}

TEST(ip_address_test, what_is_an_address_is_parsed_and_printed_in_the_one_way) {
  EXPECT_EQ(round("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(round("0.0.0.0"), "0.0.0.0");
  EXPECT_EQ(round("::1"), "::1");
  EXPECT_EQ(round("::"), "::");
  EXPECT_EQ(round("2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
  EXPECT_EQ(round("::ffff:10.1.2.3"), "::ffff:10.1.2.3");
  EXPECT_EQ(round("fe80::1%7777"), "fe80::1%7777");
}

TEST(ip_address_test, what_is_not_an_address_is_none) {
  for (const std::string_view text :
       {""sv, " 127.0.0.1"sv, "127.0.0.1 "sv, "127.1"sv, "256.0.0.1"sv, "1.2.3.4.5"sv,
        "localhost"sv, "[::1]"sv, ":::"sv, "12345::"sv, "127.0.0.1%1"sv, "fe80::1%"sv,
        "fe80::1%no such"sv, "fe80::1%-1"sv, "127.0.0.1\0"sv, "::1\0x"sv,
        "fe80::1%99999999999"sv}) {
    EXPECT_EQ(round(text), "none") << '"' << text << '"';
  }
}

TEST(ip_address_test, a_scope_is_known_by_its_interface) {
  const unsigned loopback = if_nametoindex("lo");
  if (loopback == 0) GTEST_SKIP() << "no interface lo";
  const auto parsed = ip_address::parse("fe80::1%lo");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->scope(), loopback);
  EXPECT_EQ(parsed->to_string(), "fe80::1%lo");
  EXPECT_EQ(ip_address::parse("fe80::1%" + std::to_string(loopback)), parsed);
  EXPECT_NE(ip_address::parse("fe80::1"), parsed);
}

TEST(ip_address_test, kinds_are_told_apart) {
  EXPECT_TRUE(ip_address().is_unspecified());
  EXPECT_TRUE(ip_address::any_v6().is_unspecified());
  EXPECT_TRUE(ip_address::loopback_v4().is_loopback());
  EXPECT_TRUE(ip_address::loopback_v6().is_loopback());
  EXPECT_TRUE(ip_address::parse("::ffff:127.9.9.9")->is_loopback());
  EXPECT_FALSE(ip_address::parse("128.0.0.1")->is_loopback());
  EXPECT_TRUE(ip_address::parse("224.0.0.1")->is_multicast());
  EXPECT_TRUE(ip_address::parse("ff02::1")->is_multicast());
  EXPECT_TRUE(ip_address::parse("169.254.1.1")->is_link_local());
  EXPECT_TRUE(ip_address::parse("febf::1")->is_link_local());
  EXPECT_FALSE(ip_address::parse("fec0::1")->is_link_local());
  EXPECT_EQ(ip_address::parse("::ffff:1.2.3.4")->unmapped(), ip_address::parse("1.2.3.4"));
  EXPECT_EQ(ip_address::loopback_v6().unmapped(), ip_address::loopback_v6());
  EXPECT_NE(ip_address::any_v4(), ip_address::any_v6());
}

TEST(endpoint_test, text_and_back) {
  for (const char* const text :
       {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[fe80::1%7777]:80", "[::ffff:1.2.3.4]:5"}) {
    const auto parsed = endpoint::parse(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->to_string(), text);
  }
  EXPECT_EQ(endpoint::parse(":80"), endpoint(ip_address::any_v6(), 80));
}

TEST(endpoint_test, what_is_not_an_endpoint_is_none) {
  for (const char* const text :
       {"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
        "127.0.0.1: 1", "127.0.0.1:http", "::1", "::1:80", "[::1]", "[::1]80", "[127.0.0.1]:80",
        "localhost:80", "[]:80", "[:80"}) {
    EXPECT_FALSE(endpoint::parse(text)) << text;
  }
}

TEST(unix_address_test, paths_and_abstract_names) {
  EXPECT_TRUE(unix_address().is_unnamed());
  EXPECT_TRUE(unix_address("").is_unnamed());
  const unix_address path("/tmp/x");
  EXPECT_FALSE(path.is_abstract());
  EXPECT_EQ(path.name(), "/tmp/x");
  EXPECT_EQ(path.to_string(), "/tmp/x");
  const unix_address abstract("@x");
  EXPECT_TRUE(abstract.is_abstract());
  EXPECT_EQ(abstract.name(), "x");
  EXPECT_EQ(abstract, unix_address::abstract("x"));
  EXPECT_EQ(abstract.to_string(), "@x");
  EXPECT_EQ(unix_address::abstract("a\0\\"sv).to_string(), "@a\\x00\\x5c");
  EXPECT_FALSE(unix_address::abstract("").is_unnamed());
}

}  // namespace
}  // namespace sigrun::net
