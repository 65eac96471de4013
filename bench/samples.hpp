// SPDX-License-Identifier: Apache-2.0
//
// Timing in batches, and the one line of JSON that every program prints for run.py. A batch is long
// enough that reading the clock costs nothing beside it, and there are enough of them for a 99th
// percentile: it shows what a median hides, such as a scheduler that stalls once in a hundred.
#pragma once

#include "page.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

class report {
 public:
  void value(std::string_view name, double number) {
    char text[64];
    std::snprintf(text, sizeof text, "%.6g", number);
    line_.append(line_.empty() ? "{\"" : ", \"").append(name).append("\": ");
    line_.append(text);
  }

  /// NAME_ns and NAME_p99_ns.
  void samples(const std::string& name, std::vector<double> v) {
    if (v.empty()) return;
    std::sort(v.begin(), v.end());
    value(name + "_ns", v[(v.size() - 1) / 2]);
    value(name + "_p99_ns", v[(v.size() - 1) * 99 / 100]);
  }

  void print() const { std::printf("%s}\n", line_.c_str()); }

 private:
  std::string line_;
};

/// Nanoseconds per operation in each of `batches` calls of batch(operations), after a few calls
/// that do not count.
template <class Batch>
std::vector<double> per_operation(int batches, long operations, Batch batch) {
  const int warm_up = batches / 10 + 1;
  std::vector<double> v;
  v.reserve(static_cast<std::size_t>(batches));
  for (int i = -warm_up; i < batches; ++i) {
    const std::int64_t begin = now();
    batch(operations);
    const std::int64_t end = now();
    if (i >= 0) v.push_back(static_cast<double>(end - begin) / static_cast<double>(operations));
  }
  return v;
}

}  // namespace bench
