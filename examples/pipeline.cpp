// SPDX-License-Identifier: Apache-2.0
//
// A pipeline: lines from standard input go through stages that are joined by channels, and come out
// in their order.
//
//   read ──▶ split into words ──▶ count (3 at a time) ──▶ add up
//
// Reading may block in the kernel, so it is a foreign call: the other stages go on meanwhile. Each
// stage closes its output when its input is closed, and so the end of the input ends them all.
//
//   example_pipeline < some text     the ten words that are there most often
#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/sync.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

using word_counts = std::map<std::string, int>;

void read_lines(sigrun::chan<std::string> out) {
  std::string line;
  while (sigrun::foreign_call([&] { return static_cast<bool>(std::getline(std::cin, line)); })) {
    out.send(std::move(line));
  }
  out.close();
}

void split_into_words(sigrun::chan<std::string> in, sigrun::chan<std::string> out) {
  for (const std::string& line : in) {
    std::string word;
    for (const char c : line + ' ') {
      if (std::isalpha(static_cast<unsigned char>(c))) {
        word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      } else if (!word.empty()) {
        out.send(std::exchange(word, {}));
      }
    }
  }
  out.close();
}

void count_words(sigrun::chan<std::string> in, sigrun::chan<word_counts> out) {
  word_counts counts;
  for (const std::string& word : in) ++counts[word];
  out.send(std::move(counts));
}

}  // namespace

int main() {
  return sigrun::run([] {
    sigrun::chan<std::string> lines(16);
    sigrun::chan<std::string> words(64);
    sigrun::chan<word_counts> parts(0);
    sigrun::go({.name = "read"}, read_lines, lines);
    sigrun::go({.name = "split"}, split_into_words, lines, words);

    constexpr int counters = 3;
    sigrun::wait_group counting;
    counting.add(counters);
    for (int i = 0; i < counters; ++i) {
      sigrun::go({.name = "count"}, [=, &counting] {
        count_words(words, parts);
        counting.done();
      });
    }
    sigrun::go([=, &counting] {
      counting.wait();
      parts.close();
    });

    word_counts total;
    for (const word_counts& part : parts) {
      for (const auto& [word, n] : part) total[word] += n;
    }
    std::vector<std::pair<int, std::string>> order;
    for (const auto& [word, n] : total) order.emplace_back(-n, word);
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 10); ++i) {
      std::printf("%6d %s\n", -order[i].first, order[i].second.c_str());
    }
  });
}
