// SPDX-License-Identifier: Apache-2.0
#include "http/tls.hpp"

#include "http/tls_context.hpp"

#include <sigrun/sync.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

namespace sigrun::http::detail {
namespace {

constexpr std::size_t record_max = 16 << 10;

class tls_transport final : public transport {
 public:
  tls_transport(std::unique_ptr<transport> plain, SSL* ssl) : plain_(std::move(plain)), ssl_(ssl) {
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    if (in_ == nullptr || out_ == nullptr) {
      BIO_free(in_);
      BIO_free(out_);
      throw std::bad_alloc();
    }
    BIO_set_mem_eof_return(in_, -1);
    SSL_set_bio(ssl_.get(), in_, out_);
  }

  std::size_t read(mutable_buffer into, std::error_code& error) noexcept override {
    error.clear();
    if (into.size() == 0) return 0;
    std::size_t count = 0;
    advance(error, [&] {
      return SSL_read_ex(ssl_.get(), into.data(), into.size(), &count) == 1 ? 1 : -1;
    });
    return error ? 0 : count;
  }

  void handshake(std::error_code& error) noexcept override {
    error.clear();
    advance(error, [&] { return SSL_do_handshake(ssl_.get()); });
    if (!error && SSL_in_init(ssl_.get()) != 0) {
      error = std::make_error_code(std::errc::connection_aborted);
    }
  }

  void write(std::span<const const_buffer> from, std::error_code& error) noexcept override {
    error.clear();
    const std::lock_guard order(write_lock_);
    char room[record_max];
    std::size_t used = 0;
    for (const const_buffer& part : from) {
      const auto* bytes = static_cast<const char*>(part.data());
      std::size_t left = part.size();
      while (left != 0) {
        // Gathered into full records.
        const std::size_t count = std::min(left, record_max - used);
        std::memcpy(room + used, bytes, count);
        used += count;
        bytes += count;
        left -= count;
        if (used == record_max) {
          encrypt({room, used}, error);
          used = 0;
        }
        if (error) return;
      }
    }
    if (used != 0) encrypt({room, used}, error);
  }

  void shutdown_write() noexcept override {
    std::error_code gone;
    {
      const std::lock_guard guard(ssl_lock_);
      ERR_clear_error();
      // Not within a handshake, where it would be an error, nor after one.
      if (SSL_in_init(ssl_.get()) == 0 && !failed_) SSL_shutdown(ssl_.get());
      ERR_clear_error();
    }
    flush(gone);
    plain_->shutdown_write();
  }

  net::stream& stream() noexcept override { return plain_->stream(); }
  std::string remote() const override { return plain_->remote(); }
  bool secure() const noexcept override { return true; }
  bool holds_bytes() const noexcept override {
    const std::lock_guard guard(ssl_lock_);
    return SSL_pending(ssl_.get()) != 0;
  }
  std::string why() const override {
    const std::lock_guard guard(ssl_lock_);
    return why_;
  }

 private:
  struct freed {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
  };

  /// Calls `step`, which returns 1 when it is done, and moves bytes until it is, or fails. The end
  /// of what the peer sends, said so by TLS, is no error.
  template <class Step>
  void advance(std::error_code& error, Step step) noexcept {
    for (;;) {
      int reason = SSL_ERROR_NONE;
      bool to_send = false;
      {
        const std::lock_guard guard(ssl_lock_);
        ERR_clear_error();
        const int result = step();
        if (result != 1) reason = SSL_get_error(ssl_.get(), result);
        if (reason == SSL_ERROR_SSL || reason == SSL_ERROR_SYSCALL) note_failure();
        to_send = BIO_ctrl_pending(out_) != 0;
      }
      if (to_send) flush(error);  // an alert, too
      if (reason == SSL_ERROR_NONE || reason == SSL_ERROR_ZERO_RETURN || error) return;
      if (reason != SSL_ERROR_WANT_READ) {
        error = std::make_error_code(std::errc::protocol_error);
        return;
      }
      char room[4 << 10];
      const std::size_t count = plain_->read(room, error);
      if (error) return;
      if (count == 0) {  // without TLS's own end: cut short, by whom we do not know
        error = std::make_error_code(std::errc::connection_aborted);
        return;
      }
      const std::lock_guard guard(ssl_lock_);
      if (BIO_write(in_, room, static_cast<int>(count)) != static_cast<int>(count)) {
        error = std::make_error_code(std::errc::not_enough_memory);
        return;
      }
    }
  }

  /// Under write_lock_.
  void encrypt(std::span<const char> bytes, std::error_code& error) noexcept {
    {
      const std::lock_guard guard(ssl_lock_);
      std::size_t count = 0;
      ERR_clear_error();
      if (failed_ || SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count) != 1) {
        if (!failed_) note_failure();
        error = std::make_error_code(std::errc::protocol_error);
        return;
      }
    }
    send_records(error);
  }

  void flush(std::error_code& error) noexcept {
    const std::lock_guard order(write_lock_);
    send_records(error);
  }

  /// Under write_lock_. (2)
  void send_records(std::error_code& error) noexcept {
    for (;;) {
      char room[record_max + 512];
      int count = 0;
      {
        const std::lock_guard guard(ssl_lock_);
        count = BIO_read(out_, room, sizeof room);
      }
      if (count <= 0) return;
      const const_buffer records(room, static_cast<std::size_t>(count));
      plain_->write({&records, 1}, error);
      if (error) return;
    }
  }

  /// Under ssl_lock_.
  void note_failure() noexcept {
    failed_ = true;
    try {
      why_ = openssl_error();
      if (const long bad = SSL_get_verify_result(ssl_.get()); bad != X509_V_OK) {
        why_.append(": ").append(X509_verify_cert_error_string(bad));
      }
    } catch (const std::bad_alloc&) {
    }
  }

  const std::unique_ptr<transport> plain_;
  const std::unique_ptr<SSL, freed> ssl_;
  BIO* in_ = nullptr;   // the SSL object's
  BIO* out_ = nullptr;  // the same
  mutable mutex ssl_lock_;
  mutex write_lock_;
  bool failed_ = false;  // under ssl_lock_
  std::string why_;      // under ssl_lock_
};

}  // namespace

std::unique_ptr<transport> tls_server_side(std::unique_ptr<transport> plain,
                                           tls_certificates& certificates) {
  const context_ptr context = certificates.of().current();
  SSL* const ssl = SSL_new(context.get());  // which keeps the context
  if (ssl == nullptr) throw std::bad_alloc();
  SSL_set_accept_state(ssl);
  return std::make_unique<tls_transport>(std::move(plain), ssl);
}

std::unique_ptr<transport> tls_client_side(std::unique_ptr<transport> plain,
                                           const tls_client_settings& settings) {
  const context_ptr context = client_context(settings);
  SSL* const ssl = SSL_new(context.get());
  if (ssl == nullptr) throw std::bad_alloc();
  auto made = std::make_unique<tls_transport>(std::move(plain), ssl);
  SSL_set_connect_state(ssl);
  X509_VERIFY_PARAM* const check = SSL_get0_param(ssl);
  // An address must be in the certificate as one, and has no SNI.
  if (X509_VERIFY_PARAM_set1_ip_asc(check, settings.host.c_str()) != 1) {
    ERR_clear_error();
    SSL_set_tlsext_host_name(ssl, settings.host.c_str());
    SSL_set1_host(ssl, settings.host.c_str());
  }
  return made;
}

}  // namespace sigrun::http::detail
