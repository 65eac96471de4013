// SPDX-License-Identifier: Apache-2.0
//
// Certificates of a server, which can be exchanged while it runs.
//
//   auto certificates = sigrun::http::tls_certificates::load({"server.pem", "server.key"});
//   server.listen(at, {.tls = certificates});
//   ...
//   certificates->reload();   // on SIGHUP: new connections get the new ones, open ones go on
//
// TLS 1.2 and 1.3, by OpenSSL.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace sigrun::http {

/// What OpenSSL says: which file, and why.
class tls_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct tls_files {
  std::string certificate;  ///< PEM: the server's own first, then those above it
  std::string key;          ///< PEM, without a passphrase
  /// PEM: who signs the clients' certificates. Not empty: clients without one are refused.
  std::string client_ca = {};
};

/// Safe for any number of threads.
class tls_certificates {
 public:
  /// Throws tls_error: a file that cannot be read or is no PEM, a key that does not fit the
  /// certificate, a certificate that has expired.
  static std::shared_ptr<tls_certificates> load(tls_files files);
  ~tls_certificates();

  /// Reads the files again. Throws as load(), and then the ones before stay.
  void reload();
  /// The same with other files, which are then those of the next reload().
  void reload(tls_files files);

  /// 1, and one more after each reload() that went well.
  std::uint64_t version() const noexcept;
  /// When the server's certificate expires.
  std::chrono::system_clock::time_point expires() const noexcept;

  struct impl;
  impl& of() noexcept { return *impl_; }

 private:
  tls_certificates();
  std::unique_ptr<impl> impl_;
};

}  // namespace sigrun::http
