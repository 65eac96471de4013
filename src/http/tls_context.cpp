// SPDX-License-Identifier: Apache-2.0
#include "http/tls_context.hpp"

#include <sigrun/go.hpp>

#include <openssl/err.h>
#include <openssl/x509.h>

#include <time.h>

#include <cstring>
#include <mutex>

namespace sigrun::http {
namespace detail {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& file) {
  throw tls_error("sigrun::http: " + what + " " + file + ": " + openssl_error());
}

context_ptr new_context(const SSL_METHOD* method) {
  context_ptr context(SSL_CTX_new(method));
  if (context == nullptr) throw tls_error("sigrun::http: " + openssl_error());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

/// HTTP/1.1 is all that is spoken here; who offers others only is told so. (RFC 7301)
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void*) {
  static constexpr unsigned char ours[] = "\x08http/1.1";
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_size, ours, sizeof ours - 1, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

void use_own(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    refuse("the certificate", certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    refuse("the key", key);
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    refuse("the key does not fit the certificate", certificate);
  }
}

context_ptr server_context(const tls_files& files, std::chrono::system_clock::time_point& expires) {
  context_ptr context = new_context(TLS_server_method());
  use_own(context.get(), files.certificate, files.key);
  const X509* const own = SSL_CTX_get0_certificate(context.get());
  const ASN1_TIME* const end = X509_get0_notAfter(own);
  tm parts{};
  if (ASN1_TIME_to_tm(end, &parts) != 1) refuse("the certificate", files.certificate);
  expires = std::chrono::system_clock::from_time_t(timegm(&parts));
  if (expires < std::chrono::system_clock::now()) {
    throw tls_error("sigrun::http: the certificate " + files.certificate + " has expired");
  }
  SSL_CTX_set_alpn_select_cb(context.get(), &choose_protocol, nullptr);
  SSL_CTX_set_session_id_context(context.get(), reinterpret_cast<const unsigned char*>("sigrun"),
                                 6);
  if (files.client_ca.empty()) return context;
  if (SSL_CTX_load_verify_locations(context.get(), files.client_ca.c_str(), nullptr) != 1) {
    refuse("the clients' authorities", files.client_ca);
  }
  SSL_CTX_set_client_CA_list(context.get(), SSL_load_client_CA_file(files.client_ca.c_str()));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

}  // namespace

std::string openssl_error() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    if (const char* const reason = ERR_reason_error_string(code)) {
      text.append(text.empty() ? "" : ", ").append(reason);
    } else if (ERR_SYSTEM_ERROR(code)) {
      text.append(text.empty() ? "" : ", ")
          .append(strerror(static_cast<int>(ERR_GET_REASON(code))));
    }
  }
  return text.empty() ? "unknown reason" : text;
}

context_ptr client_context(const tls_client_settings& settings) {
  return foreign_call([&] {
    ERR_clear_error();
    context_ptr context = new_context(TLS_client_method());
    const int loaded =
        settings.ca_file.empty()
            ? SSL_CTX_set_default_verify_paths(context.get())
            : SSL_CTX_load_verify_locations(context.get(), settings.ca_file.c_str(), nullptr);
    if (loaded != 1) refuse("the authorities", settings.ca_file);
    if (!settings.certificate.empty()) use_own(context.get(), settings.certificate, settings.key);
    SSL_CTX_set_verify(context.get(), settings.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    return context;
  });
}

}  // namespace detail

detail::context_ptr tls_certificates::impl::current() {
  const std::lock_guard guard(lock);
  SSL_CTX_up_ref(context.get());
  return detail::context_ptr(context.get());
}

void tls_certificates::impl::load(tls_files fresh) {
  std::chrono::system_clock::time_point end;
  // Reads files, and OpenSSL's error queue is the thread's.
  detail::context_ptr made = foreign_call([&] {
    ERR_clear_error();
    return detail::server_context(fresh, end);
  });
  const std::lock_guard guard(lock);
  context.swap(made);
  files = std::move(fresh);
  expires = end;
  version.fetch_add(1);
}

tls_certificates::tls_certificates() : impl_(std::make_unique<impl>()) {}
tls_certificates::~tls_certificates() = default;

std::shared_ptr<tls_certificates> tls_certificates::load(tls_files files) {
  std::shared_ptr<tls_certificates> made(new tls_certificates());
  made->impl_->load(std::move(files));
  return made;
}

void tls_certificates::reload() {
  tls_files files;
  {
    const std::lock_guard guard(impl_->lock);
    files = impl_->files;
  }
  impl_->load(std::move(files));
}

void tls_certificates::reload(tls_files files) { impl_->load(std::move(files)); }

std::uint64_t tls_certificates::version() const noexcept { return impl_->version.load(); }

std::chrono::system_clock::time_point tls_certificates::expires() const noexcept {
  const std::lock_guard guard(impl_->lock);
  return impl_->expires;
}

}  // namespace sigrun::http
