// SPDX-License-Identifier: Apache-2.0
#include "support/proc_self.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sigrun::test {
namespace {

signal_set parse_set(std::string_view digits) {
  return signal_set{std::strtoull(std::string{digits}.c_str(), nullptr, 16)};
}

std::optional<proc_signals> read_status(const std::string& path) {
  const std::string text = read_file(path);
  if (text.empty()) return std::nullopt;
  return parse_status(text);
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

proc_signals parse_status(std::string_view text) {
  proc_signals found;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(":\t");
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 2);
    if (key == "Name") found.name = value;
    if (key == "State" && !value.empty()) found.state = value.front();
    if (key == "SigPnd") found.pending = parse_set(value);
    if (key == "ShdPnd") found.shared = parse_set(value);
    if (key == "SigBlk") found.blocked = parse_set(value);
    if (key == "SigIgn") found.ignored = parse_set(value);
    if (key == "SigCgt") found.caught = parse_set(value);
  }
  return found;
}

std::optional<proc_signals> read_proc_signals(int pid) {
  return read_status("/proc/" + std::to_string(pid) + "/status");
}

std::optional<proc_signals> read_task_signals(int pid, int tid) {
  return read_status("/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/status");
}

std::vector<int> thread_ids(int pid) {
  std::vector<int> ids;
  std::error_code error;
  std::filesystem::directory_iterator entry{"/proc/" + std::to_string(pid) + "/task", error};
  for (; !error && entry != std::filesystem::directory_iterator{}; entry.increment(error)) {
    ids.push_back(std::atoi(entry->path().filename().c_str()));
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace sigrun::test
