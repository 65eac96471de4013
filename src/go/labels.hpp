// SPDX-License-Identifier: Apache-2.0
//
// A goroutine's labels: an immutable set that it shares with the goroutines it started, until one
// of them changes its own.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun::go_detail {

using label_list = std::vector<std::pair<std::string, std::string>>;

/// One more user of `labels`, which is returned; nullptr is the empty set.
void* share_labels(void* labels) noexcept;
void drop_labels(void* labels) noexcept;
/// A new set: `labels` with the change. Throws std::bad_alloc.
void* with_label(const void* labels, std::string_view key, std::string_view value);
/// What is in it. The caller must know that it stays meanwhile.
const label_list& labels_of(const void* labels) noexcept;

}  // namespace sigrun::go_detail
