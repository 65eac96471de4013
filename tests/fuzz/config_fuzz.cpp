// SPDX-License-Identifier: Apache-2.0
//
// Any bytes at all: a configuration is read, or refused by config::invalid, nothing else. The first
// byte chooses the format. What is read is asked for everything it has, and in every type.
#include <sigrun/config.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

namespace config = sigrun::config;

struct anything {
  std::size_t seen = 0;
};

void read_config(config::section& in, anything& to) {
  for (const std::string& key : in.keys()) {
    ++to.seen;
    bool truth = false;
    std::uint16_t number = 0;
    std::chrono::milliseconds time{};
    std::map<std::string, std::vector<double>> numbers;
    std::vector<anything> items;
    anything inside;
    if (!in.get(key, truth) && !in.get(key, number, config::between(10, 20)) &&
        !in.get(key, time) && !in.get(key, numbers) && !in.get(key, items) && key.size() > 2) {
      in.get(key, inside);
    }
  }
  in.get("never there", to.seen);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text{reinterpret_cast<const char*>(bytes + 1), size - 1};
  const config::format how = bytes[0] == 'j' ? config::format::json : config::format::toml;
  try {
    const config::document read = config::document::parse(text, "fuzz", how);
    try {
      read.read<anything>();
    } catch (const config::invalid& error) {
      if (error.problems().empty()) std::abort();
    }
  } catch (const config::invalid& error) {
    if (error.problems().size() != 1 || error.problems()[0].what.empty()) std::abort();
  }
  return 0;
}
