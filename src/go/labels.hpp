// SPDX-License-Identifier: Apache-2.0
//
// A goroutine's labels: an immutable set that it shares with the goroutines it started, until one
// of them changes its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun::go_detail {

/// How a set begins: its text, "key=value key=value", for who reads it beside us and by the
/// kernel's help (process_vm_readv(2)), because it may be gone.
struct label_head {
  std::atomic<int> users{1};
  std::uint32_t text_size = 0;
  const char* text = nullptr;
};

using label_list = std::vector<std::pair<std::string, std::string>>;

/// One more user of `labels`, which is returned; nullptr is the empty set.
void* share_labels(void* labels) noexcept;
void drop_labels(void* labels) noexcept;
/// A new set: `labels` with the change. Throws std::bad_alloc.
void* with_label(const void* labels, std::string_view key, std::string_view value);
/// What is in it. The caller must know that it stays meanwhile.
const label_list& labels_of(const void* labels) noexcept;

}  // namespace sigrun::go_detail
