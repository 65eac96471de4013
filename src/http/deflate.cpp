// SPDX-License-Identifier: Apache-2.0
#include "http/deflate.hpp"

#include "base/expect.hpp"
#include "http/text.hpp"

#include <sigrun/http.hpp>

#include <zlib.h>

#include <new>

namespace sigrun::http::detail {

struct deflater::stream {
  z_stream z{};
};

deflater::deflater(int level) : stream_(std::make_unique<stream>()) {
  constexpr int window_bits = 15 + 16;  // with gzip's header
  constexpr int memory_level = 8;
  if (deflateInit2(&stream_->z, level, Z_DEFLATED, window_bits, memory_level, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    throw std::bad_alloc();
  }
}

deflater::~deflater() { deflateEnd(&stream_->z); }

void deflater::put(std::string_view in, until what, std::string& out) {
  z_stream& z = stream_->z;
  const int flush = what == until::end       ? Z_FINISH
                    : what == until::flushed ? Z_SYNC_FLUSH
                                             : Z_NO_FLUSH;
  // zlib counts in 32 bits.
  do {
    const std::string_view part = in.substr(0, std::size_t{1} << 30);
    in.remove_prefix(part.size());
    const bool last = in.empty();
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    z.avail_in = static_cast<uInt>(part.size());
    do {
      char room[4096];
      z.next_out = reinterpret_cast<Bytef*>(room);
      z.avail_out = sizeof room;
      base::expect(deflate(&z, last ? flush : Z_NO_FLUSH) != Z_STREAM_ERROR, "http: zlib's stream");
      out.append(room, sizeof room - z.avail_out);
    } while (z.avail_out == 0);
  } while (!in.empty());
}

void deflater::reset() noexcept { deflateReset(&stream_->z); }

bool is_compressible(std::string_view content_type) noexcept {
  const std::string_view type = trimmed(content_type.substr(0, content_type.find(';')));
  const auto ends_with = [&](std::string_view end) {
    return type.size() >= end.size() && same_name(type.substr(type.size() - end.size()), end);
  };
  if (type.size() > 5 && same_name(type.substr(0, 5), "text/")) {
    return !same_name(type, "text/event-stream");  // a proxy would wait for more of it
  }
  for (const char* const one :
       {"application/json", "application/javascript", "application/xml", "application/wasm",
        "application/x-ndjson", "image/svg+xml", "image/bmp", "font/ttf"}) {
    if (same_name(type, one)) return true;
  }
  return ends_with("+json") || ends_with("+xml");
}

}  // namespace sigrun::http::detail
