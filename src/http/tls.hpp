// SPDX-License-Identifier: Apache-2.0
//
// TLS over a transport, by OpenSSL with buffers in memory: OpenSSL never waits itself, so no
// goroutine changes its thread inside of it, and its per-thread error queue stays whole.
//
//   (1) `ssl_lock_` guards the SSL object and its buffers; nothing blocks under it.
//   (2) `write_lock_` is held from taking records out of the buffer until they are with the kernel,
//       so that records keep their order. It is taken before ssl_lock_.
//   (3) One goroutine reads; any number may write beside it.
#pragma once

#include "http/transport.hpp"

#include <sigrun/http_tls.hpp>

#include <memory>
#include <string>

namespace sigrun::http::detail {

/// With the certificates of now. Throws tls_error, std::bad_alloc.
std::unique_ptr<transport> tls_server_side(std::unique_ptr<transport> plain,
                                           tls_certificates& certificates);

struct tls_client_settings {
  std::string host;         // for SNI, and to be in the certificate
  std::string ca_file;      // PEM; empty: the system's
  std::string certificate;  // PEM, with `key`: to show when asked for; empty: none
  std::string key;
  bool verify = true;
};
std::unique_ptr<transport> tls_client_side(std::unique_ptr<transport> plain,
                                           const tls_client_settings& settings);

}  // namespace sigrun::http::detail
