// SPDX-License-Identifier: Apache-2.0
//
// Bytes that belong to somebody else: what reads fill and writes send. Made without being named
// from arrays, std::string, std::vector, std::span and the like of any one-byte type:
//
//   char line[4096];
//   std::size_t n = stream.read(line);
//   stream.write_all("hello\n"sv);
#pragma once

#include <cstddef>
#include <ranges>
#include <string_view>
#include <type_traits>

namespace sigrun {

namespace detail {

template <class Range>
concept BytesRange = std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
                         sizeof(std::ranges::range_value_t<Range>) == 1 &&
                     std::is_trivially_copyable_v<std::ranges::range_value_t<Range>>;

template <class Range>
concept MutableBytesRange = BytesRange<Range> &&
    !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<Range>>>;

}  // namespace detail

/// Bytes to be written into. Borrowed: the memory must stay for the call.
class mutable_buffer {
 public:
  constexpr mutable_buffer() noexcept = default;
  constexpr mutable_buffer(void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <detail::MutableBytesRange Range>
  requires(!std::is_same_v<std::remove_cvref_t<Range>, mutable_buffer>) constexpr mutable_buffer(
      Range&& range)  // NOLINT: meant to be implicit
      : data_(std::ranges::data(range)), size_(std::ranges::size(range)) {}

  constexpr void* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  /// Without the first `count` bytes; empty when there are no more.
  mutable_buffer operator+(std::size_t count) const noexcept {
    const std::size_t skipped = count < size_ ? count : size_;
    return {static_cast<char*>(data_) + skipped, size_ - skipped};
  }

 private:
  void* data_ = nullptr;  // first, as in iovec
  std::size_t size_ = 0;
};

/// Bytes to be read. Borrowed: the memory must stay for the call.
class const_buffer {
 public:
  constexpr const_buffer() noexcept = default;
  constexpr const_buffer(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  constexpr const_buffer(const mutable_buffer& from) noexcept  // NOLINT: meant to be implicit
      : data_(from.data()), size_(from.size()) {}
  template <detail::BytesRange Range>
  requires(!std::is_same_v<std::remove_cvref_t<Range>, const_buffer> &&
           !std::is_array_v<std::remove_cvref_t<
               Range>>) constexpr const_buffer(const Range& range)  // NOLINT: meant to be implicit
      : data_(std::ranges::data(range)), size_(std::ranges::size(range)) {}
  /// A literal, without the NUL at its end.
  constexpr const_buffer(const char* text) noexcept  // NOLINT: meant to be implicit
      : const_buffer(std::string_view(text)) {}
  /// An array is text up to its NUL as `const char*`, and therefore needs std::span or a size
  /// when it is bytes.
  template <class Byte, std::size_t Size>
  requires(sizeof(Byte) == 1 &&
           !std::is_same_v<std::remove_cv_t<Byte>,
                           char>) constexpr const_buffer(Byte (&bytes)[Size]) noexcept
      : data_(bytes), size_(Size) {}  // NOLINT

  constexpr const void* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  /// Without the first `count` bytes; empty when there are no more.
  const_buffer operator+(std::size_t count) const noexcept {
    const std::size_t skipped = count < size_ ? count : size_;
    return {static_cast<const char*>(data_) + skipped, size_ - skipped};
  }

 private:
  const void* data_ = nullptr;  // first, as in iovec
  std::size_t size_ = 0;
};

}  // namespace sigrun
