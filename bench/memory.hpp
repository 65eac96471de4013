// SPDX-License-Identifier: Apache-2.0
//
// What the kernel says of this process's memory: what is resident, and the page tables for it,
// which a process with many sparse stacks pays for as well.
#pragma once

#include "samples.hpp"

#include <cstdio>
#include <cstdlib>

namespace bench {

struct memory {
  double rss;
  double page_tables;
};

inline memory memory_now() {
  memory m{};
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) std::exit(2);
  char line[256];
  long kib = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::sscanf(line, "VmRSS: %ld", &kib) == 1) m.rss = static_cast<double>(kib) * 1024;
    if (std::sscanf(line, "VmPTE: %ld", &kib) == 1) m.page_tables = static_cast<double>(kib) * 1024;
  }
  std::fclose(status);
  return m;
}

/// What each of `count` things costs that came to be since `before`, in `took_ns`.
inline void report_memory(report& to, const memory& before, long count, std::int64_t took_ns) {
  const memory after = memory_now();
  const auto n = static_cast<double>(count);
  to.value("rss_bytes", (after.rss - before.rss) / n);
  to.value("page_table_bytes", (after.page_tables - before.page_tables) / n);
  to.value("bytes", (after.rss - before.rss + after.page_tables - before.page_tables) / n);
  to.value("spawn_ns", static_cast<double>(took_ns) / n);
}

}  // namespace bench
