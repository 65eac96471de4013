// SPDX-License-Identifier: Apache-2.0
//
// What a context is made of. Users include <sigrun/context.hpp>; nothing here is for them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace sigrun::detail {

class cancel_node;

/// One step from a context towards its root. A handle is a count on it; a child has one on its
/// parent. The root itself is no node.
class context_node {
 public:
  context_node(const context_node&) = delete;
  context_node& operator=(const context_node&) = delete;

  void add_handle() noexcept { handles_.fetch_add(1, std::memory_order_relaxed); }
  /// False when there is no handle any more.
  bool add_handle_if_any() noexcept;
  /// The last one ends the node and, one after the other, the parents that only it kept.
  static void drop_handle(context_node* node) noexcept;

  const context_node* parent() const noexcept { return parent_; }
  /// The nearest that can be cancelled, itself included; nullptr for none.
  cancel_node* nearest() const noexcept { return nearest_; }
  /// "with_value(user)".
  virtual std::string describe() const = 0;
  /// The value for a key, if this is the node that has it.
  virtual const void* find(const void* key) const noexcept;

 protected:
  /// Takes over a handle on `parent`.
  context_node(context_node* parent, cancel_node* nearest) noexcept
      : parent_(parent), nearest_(nearest) {}
  virtual ~context_node() = default;
  /// Called without handles, once.
  virtual void expire() noexcept { delete this; }

 private:
  std::atomic<std::uint32_t> handles_{1};
  context_node* const parent_;
  cancel_node* const nearest_;
};

/// Something to do once.
struct context_task {
  virtual ~context_task() = default;
  virtual void run() noexcept = 0;
};

template <class T>
class value_node final : public context_node {
 public:
  template <class U>
  value_node(context_node* parent, cancel_node* nearest, const void* key, const char* name,
             U&& value)
      : context_node(parent, nearest), key_(key), name_(name), value_(std::forward<U>(value)) {}
  std::string describe() const override { return std::string("with_value(") + name_ + ")"; }
  const void* find(const void* key) const noexcept override {
    return key == key_ ? &value_ : nullptr;
  }

 private:
  const void* key_;
  const char* name_;
  const T value_;
};

}  // namespace sigrun::detail
