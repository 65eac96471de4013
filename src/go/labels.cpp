// SPDX-License-Identifier: Apache-2.0
#include "go/labels.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

namespace sigrun::go_detail {
namespace {

struct label_set {
  label_head head;
  label_list list;
  std::string text;
};

label_set* as_set(void* labels) noexcept { return static_cast<label_set*>(labels); }

}  // namespace

void* share_labels(void* labels) noexcept {
  if (labels != nullptr) as_set(labels)->head.users.fetch_add(1, std::memory_order_relaxed);
  return labels;
}

void drop_labels(void* labels) noexcept {
  if (labels == nullptr) return;
  // acq_rel: the last one sees what all others read.
  if (as_set(labels)->head.users.fetch_sub(1, std::memory_order_acq_rel) == 1)
    delete as_set(labels);
}

void* with_label(const void* labels, std::string_view key, std::string_view value) {
  auto fresh = std::make_unique<label_set>();
  fresh->list = labels_of(labels);
  std::erase_if(fresh->list, [key](const auto& label) { return label.first == key; });
  if (!value.empty()) fresh->list.emplace_back(key, value);
  std::sort(fresh->list.begin(), fresh->list.end());
  for (const auto& [name, text] : fresh->list) {
    if (!fresh->text.empty()) fresh->text += ' ';
    fresh->text += name + '=' + text;
  }
  fresh->head.text = fresh->text.data();
  fresh->head.text_size = static_cast<std::uint32_t>(fresh->text.size());
  return fresh.release();
}

const label_list& labels_of(const void* labels) noexcept {
  static const label_list none;
  return labels == nullptr ? none : static_cast<const label_set*>(labels)->list;
}

}  // namespace sigrun::go_detail
