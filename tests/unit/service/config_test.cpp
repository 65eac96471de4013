// SPDX-License-Identifier: Apache-2.0
//
// Configuration files: what is read, and how what is wrong is told.
#include <sigrun/config.hpp>
#include <sigrun/go.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>

namespace {

using namespace std::chrono_literals;
namespace config = sigrun::config;

enum class level { quiet, loud };

struct point {
  int x = 0;
  int y = 0;
};
// A scalar of the program's own.
bool read_value(config::value& from, point& to) {
  std::string text;
  if (!from.to_text(text)) return false;
  if (std::sscanf(text.c_str(), "%d:%d", &to.x, &to.y) == 2) return true;
  return from.fail("\"" + text + "\" is not X:Y");
}

struct backend {
  std::string host;
  std::uint16_t port = 80;
};
void read_config(config::section& in, backend& to) {
  in.require("host", to.host, config::not_empty);
  in.get("port", to.port, config::at_least(1));
}

struct settings {
  std::string name = "none";
  bool on = false;
  std::int8_t small = 1;
  std::uint64_t big = 0;
  double rate = 0.5;
  std::chrono::milliseconds timeout{5000};
  std::optional<int> maybe;
  std::vector<std::string> peers;
  std::vector<backend> backends;
  std::map<std::string, int> weights;
  backend main;
  point at;
  level how = level::quiet;
};
void read_config(config::section& in, settings& to) {
  in.require("name", to.name);
  in.get("on", to.on);
  in.get("small", to.small);
  in.get("big", to.big);
  in.get("rate", to.rate, config::between(0.0, 1.0));
  in.get("timeout", to.timeout, config::at_most(60s));
  in.get("maybe", to.maybe);
  in.get("peers", to.peers);
  in.get("backends", to.backends);
  in.get("weights", to.weights);
  in.get("main", to.main);
  in.get("at", to.at);
  in.choose("how", to.how, {{"quiet", level::quiet}, {"loud", level::loud}});
  if (to.small > 100 && !to.on) in.fail("small", "above 100 only when \"on\"");
}

settings read(std::string_view text, const char* name) {
  return config::document::parse(text, name).read<settings>();
}

// What is wrong, all of it.
std::string complaint(std::string_view text, const char* name = "a.toml") {
  try {
    read(text, name);
  } catch (const config::invalid& error) {
    return error.what();
  }
  return "nothing";
}

constexpr const char* whole_toml = R"(
name = "gateway"
on = true
small = -8
big = 9223372036854775807
rate = 1
timeout = "1m0s"
maybe = 3
peers = ["a", 'b']
weights = { one = 1, "two words" = 2 }
at = "3:4"
how = "loud"
main.host = "m"

[[backends]]
host = "x"
port = 8080
[[backends]]
host = "y"
)";

constexpr const char* whole_json = R"({
  "name": "gateway", "on": true, "small": -8, "big": 9223372036854775807, "rate": 1,
  "timeout": "1m0s", "maybe": 3, "peers": ["a", "b"], "weights": {"one": 1, "two words": 2},
  "at": "3:4", "how": "loud", "main": {"host": "m"},
  "backends": [{"host": "x", "port": 8080}, {"host": "y"}]
})";

class WholeConfig : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(WholeConfig, EveryKindOfValueArrives) {
  const settings got = read(GetParam().second, GetParam().first);
  EXPECT_EQ(got.name, "gateway");
  EXPECT_TRUE(got.on);
  EXPECT_EQ(got.small, -8);
  EXPECT_EQ(got.big, 9223372036854775807U);
  EXPECT_EQ(got.rate, 1.0);
  EXPECT_EQ(got.timeout, 60s);
  EXPECT_EQ(got.maybe, 3);
  EXPECT_EQ(got.peers, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(got.weights, (std::map<std::string, int>{{"one", 1}, {"two words", 2}}));
  EXPECT_EQ(got.at.x * 10 + got.at.y, 34);
  EXPECT_EQ(got.how, level::loud);
  EXPECT_EQ(got.main.host, "m");
  EXPECT_EQ(got.main.port, 80);
  ASSERT_EQ(got.backends.size(), 2U);
  EXPECT_EQ(got.backends[0].port, 8080);
  EXPECT_EQ(got.backends[1].host, "y");
  EXPECT_EQ(got.backends[1].port, 80);
}
INSTANTIATE_TEST_SUITE_P(Formats, WholeConfig,
                         ::testing::Values(std::pair("a.toml", whole_toml),
                                           std::pair("a.json", whole_json)));

TEST(ConfigTest, WhatIsAbsentKeepsItsDefault) {
  settings to;
  to.peers = {"kept"};
  to.main.port = 7;
  config::document::parse("name='x'\nmain={host='h'}", "a.toml").read_into(to);
  EXPECT_EQ(to.peers.size(), 1U);
  EXPECT_EQ(to.main.port, 7);
  EXPECT_EQ(to.timeout, 5s);
}

TEST(ConfigTest, AllProblemsAreToldAtOnceWithTheirLines) {
  EXPECT_EQ(complaint("on = 1\n"
                      "small = 128\n"
                      "big = -1\n"
                      "rate = 1.5\n"
                      "timeout = 30\n"
                      "peers = ['a', 2]\n"
                      "how = 'louder'\n"
                      "at = '3'\n"
                      "[main]\n"
                      "host = ''\n"
                      "port = 0\n"
                      "[[backends]]\n"
                      "prot = 1\n"),
            "a.toml:1: name: is missing\n"
            "a.toml:1: on: is a whole number, not true or false\n"
            "a.toml:2: small: 128 is not between -128 and 127\n"
            "a.toml:3: big: -1 is not between 0 and 9223372036854775807\n"
            "a.toml:4: rate: 1.5 is not between 0 and 1\n"
            "a.toml:5: timeout: is a whole number, not a time like \"30s\" or \"250ms\"\n"
            "a.toml:6: peers[1]: is a whole number, not a text\n"
            "a.toml:7: how: \"louder\" is none of: quiet, loud\n"
            "a.toml:8: at: \"3\" is not X:Y\n"
            "a.toml:10: main.host: must not be empty\n"
            "a.toml:11: main.port: 0 is less than 1\n"
            "a.toml:12: backends[0].host: is missing\n"
            "a.toml:13: backends[0].prot: unknown key; did you mean \"port\"?");
}

TEST(ConfigTest, JsonProblemsHaveTheirLinesToo) {
  EXPECT_EQ(complaint("{\n"
                      " \"name\": \"n\",\n"
                      " \"small\": 128\n"
                      " , \"big\": 18446744073709551616,\n"
                      " \"rate\":\n"
                      "   1.5,\n"
                      " \"main\": {\"host\": null,\n"
                      "   \"prot\": 1\n"
                      " },\n"
                      " \"peers\": [\n"
                      "   1\n"
                      " ]\n"
                      "}\n",
                      "a.json"),
            "a.json:3: small: 128 is not between -128 and 127\n"
            "a.json:4: big: is a number, not a whole number\n"
            "a.json:5: rate: 1.5 is not between 0 and 1\n"
            "a.json:7: main.host: is null, not a text\n"
            "a.json:8: main.prot: unknown key; did you mean \"port\"?\n"
            "a.json:11: peers[0]: is a whole number, not a text");
}

TEST(ConfigTest, ATimeThatIsTooFineOrTooLongIsRefused) {
  EXPECT_EQ(complaint("name='x'\ntimeout='1us'"),
            "a.toml:2: timeout: the program has it in coarser units");
  EXPECT_EQ(complaint("name='x'\ntimeout='2m'"),
            "a.toml:2: timeout: 2 min 0 s is more than 1 min 0 s");
  EXPECT_EQ(complaint("name='x'\ntimeout='-2s'"),
            "a.toml:2: timeout: \"-2s\" is not a time like \"30s\" or \"250ms\"");
}

TEST(ConfigTest, WhatOnlySeveralKeysShowHasThePlaceOfOne) {
  EXPECT_EQ(complaint("name = 'x'\n\nsmall = 101"), "a.toml:3: small: above 100 only when \"on\"");
  EXPECT_EQ(complaint("name = 'x'\nsmall = 101\non = true"), "nothing");
}

TEST(ConfigTest, MalformedTextsAreToldByLine) {
  EXPECT_EQ(complaint("name = 'x'\nname = 'y'").rfind("a.toml:2: ", 0), 0U)
      << complaint("name = 'x'\nname = 'y'");
  EXPECT_EQ(complaint("a = 1\nb = \n").rfind("a.toml:2: ", 0), 0U) << complaint("a = 1\nb = \n");
  EXPECT_EQ(complaint("name = '\xff'").rfind("a.toml:1: ", 0), 0U);
  EXPECT_EQ(complaint("{\n\"name\": \"x\",\n\"name\": 2}", "a.json"),
            "a.json:3: the key \"name\" is there twice, first in line 2");
  EXPECT_EQ(complaint("{\n\"name\": \n}", "a.json").rfind("a.json:3: syntax error", 0), 0U)
      << complaint("{\n\"name\": \n}", "a.json");
  EXPECT_EQ(complaint("{\"name\": \"\xff\"}", "a.json").rfind("a.json:1: ", 0), 0U);
  EXPECT_EQ(complaint("[1]", "a.json"), "a.json:1: the whole is not an object");
  EXPECT_EQ(complaint("", "a.json").rfind("a.json:1: ", 0), 0U);
  EXPECT_EQ(complaint("{}", "a.yaml"), "a.yaml: a configuration's name ends in .toml or .json");
}

std::string repeated(std::string_view what, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += what;
  return all;
}

TEST(ConfigTest, NestingAndSizeAreBoundedAlsoOnAGoroutinesStack) {
  sigrun::run([] {
    EXPECT_EQ(complaint("x = 1\n\"a\" = " + repeated("[", 250) + repeated("]", 250)),
              "a.toml:2: nested more than 32 levels deep");
    EXPECT_NE(complaint("a = " + repeated("[", 200'000)), "nothing");
    EXPECT_EQ(complaint("x = 1\n" + repeated("a.", 200'000) + "b = 1"),
              "a.toml:2: a key of more than 16 parts");
    EXPECT_EQ(complaint("y = '''\n''' # a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s\n['x'" +
                        repeated(" . \"y.\"", 200'000) + "]"),
              "a.toml:3: a key of more than 16 parts");
    EXPECT_EQ(complaint("{\"a\":\n" + repeated("[", 200'000), "a.json"),
              "a.json:2: nested more than 32 levels deep");
    EXPECT_EQ(complaint("{\"a\":" + repeated("{\"b\":", 200'000), "a.json"),
              "a.json:1: nested more than 32 levels deep");
    EXPECT_EQ(complaint("name = '" + repeated("x", 5 << 20) + "'"), "a.toml: is larger than 4 MiB");
  });
  EXPECT_EQ(
      complaint("name = 'a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s'\n"
                "peers = [\"1.1.1.1\", '2.2.2.2', \"\"\"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q\"\"\"]"),
      "nothing");
}

TEST(ConfigTest, AHundredProblemsAreKept) {
  std::string text = "name = 'x'\n";
  for (int i = 0; i < 250; ++i) text += "key" + std::to_string(i) + " = 1\n";
  try {
    read(text, "a.toml");
    FAIL();
  } catch (const config::invalid& error) {
    ASSERT_EQ(error.problems().size(), 101U);
    EXPECT_EQ(error.problems().back().what, "and 150 problems more");
  }
}

TEST(ConfigTest, FilesAreReadAndTheirErrorsNameThem) {
  const std::string path = "/tmp/sigrun-config-" + std::to_string(::getpid()) + ".toml";
  std::ofstream(path) << "name = 'file'\n";
  sigrun::run([&] { EXPECT_EQ(config::load<settings>(path).name, "file"); });
  const config::document one = config::document::load(path);
  EXPECT_EQ(one.hash(), config::document::parse("name = 'file'\n", "b.toml").hash());
  EXPECT_NE(one.hash(), config::document::parse("name = 'fild'\n", "b.toml").hash());
  ::unlink(path.c_str());
  try {
    config::load<settings>(path);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
  EXPECT_THROW(config::document::load("/tmp/"), config::invalid);
}

TEST(ConfigTest, DatesAreTextsAndInfinityIsNoNumber) {
  struct dated {
    std::string day;
    double x = 0;
  } to;
  config::document::parse("day = 1979-05-27\nx = 2", "a.toml").read([&](config::section& in) {
    in.get("day", to.day);
    in.get("x", to.x);
  });
  EXPECT_EQ(to.day, "1979-05-27");
  EXPECT_EQ(to.x, 2);
  EXPECT_EQ(complaint("name='x'\nrate = inf"), "a.toml:2: rate: is not finite");
}

TEST(ConfigTest, KeysNobodyAskedForMayBeAllowed) {
  int seen = 0;
  config::document::parse("a = 1\nb.c = 2", "a.toml").read([&](config::section& in) {
    in.allow_other_keys();
    in.get("a", seen);
    EXPECT_TRUE(in.has("b"));
    EXPECT_EQ(in.keys(), (std::vector<std::string>{"a", "b"}));
  });
  EXPECT_EQ(seen, 1);
}

}  // namespace
