// SPDX-License-Identifier: Apache-2.0
//
// zlib, as gzip (RFC 1952), a part at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

class deflater {
 public:
  /// Throws std::bad_alloc.
  explicit deflater(int level);
  ~deflater();
  deflater(const deflater&) = delete;
  deflater& operator=(const deflater&) = delete;

  enum class until { more, flushed, end };
  /// Appends what comes out: with `more` that may be nothing yet.
  void put(std::string_view in, until what, std::string& out);
  /// Ready for another body.
  void reset() noexcept;

 private:
  struct stream;
  std::unique_ptr<stream> stream_;
};

/// Whether a Content-Type is worth the work: text, JSON, XML, JavaScript, SVG and their kin.
bool is_compressible(std::string_view content_type) noexcept;

}  // namespace sigrun::http::detail
