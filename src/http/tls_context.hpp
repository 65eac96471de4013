// SPDX-License-Identifier: Apache-2.0
//
// Certificates and keys, as OpenSSL keeps them.
#pragma once

#include "http/tls.hpp"

#include <sigrun/sync.hpp>

#include <openssl/ssl.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace sigrun::http {
namespace detail {

struct context_freed {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
using context_ptr = std::unique_ptr<SSL_CTX, context_freed>;

/// What the calling thread's error queue says; it is empty afterwards.
std::string openssl_error();
/// Throws tls_error.
context_ptr client_context(const tls_client_settings& settings);

}  // namespace detail

struct tls_certificates::impl {
  /// One more reference on the context of now.
  detail::context_ptr current();
  void load(tls_files fresh);

  mutable mutex lock;
  tls_files files;                                // under lock
  detail::context_ptr context;                    // under lock
  std::chrono::system_clock::time_point expires;  // under lock
  std::atomic<std::uint64_t> version{0};
};

}  // namespace sigrun::http
