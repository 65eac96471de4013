// SPDX-License-Identifier: Apache-2.0
#include "io/foreign.hpp"
#include "io/socket.hpp"

#include <sigrun/net.hpp>

#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace sigrun::net {
namespace {

static_assert(static_cast<int>(resolve_errc::host_not_found) == EAI_NONAME);
static_assert(static_cast<int>(resolve_errc::try_again) == EAI_AGAIN);
static_assert(static_cast<int>(resolve_errc::failure) == EAI_FAIL);
static_assert(static_cast<int>(resolve_errc::family) == EAI_FAMILY);
static_assert(static_cast<int>(resolve_errc::service_unknown) == EAI_SERVICE);
static_assert(static_cast<int>(resolve_errc::out_of_memory) == EAI_MEMORY);

class resolve_errors final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sigrun.resolve"; }
  std::string message(int value) const override { return gai_strerror(value); }
  std::error_condition default_error_condition(int value) const noexcept override {
    if (value == EAI_MEMORY) return std::errc::not_enough_memory;
    if (value == EAI_AGAIN) return std::errc::resource_unavailable_try_again;
    return {value, *this};
  }
};
constinit const resolve_errors the_resolve_errors;

struct found_list {
  addrinfo* first = nullptr;
  int system_error = 0;
  ~found_list() {
    if (first != nullptr) freeaddrinfo(first);
  }
};

int look_up(const char* host, const char* service, found_list& found) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  // Without AI_ADDRCONFIG, which would hide loopback addresses of a machine without a network.
  return detail::in_foreign_call([&] {
    const int result = getaddrinfo(host, service, &wanted, &found.first);
    // tidy: allow errno, read on the thread that set it: a foreign call keeps its thread
    if (result == EAI_SYSTEM) found.system_error = errno;
    return result;
  });
}

}  // namespace

const std::error_category& resolve_category() noexcept { return the_resolve_errors; }

std::error_code make_error_code(resolve_errc error) noexcept {
  return {static_cast<int>(error), resolve_category()};
}

std::vector<endpoint> resolve(std::string_view host, std::string_view service,
                              std::error_code& error) {
  error.clear();
  const std::string host_text(host);
  const std::string service_text(service);
  if (host.find('\0') != host.npos || service.find('\0') != service.npos) {
    error = resolve_errc::host_not_found;
    return {};
  }
  // getaddrinfo() wants one of the two at least.
  const char* const named = service.empty() ? "0" : service_text.c_str();
  found_list found;
  const int result = look_up(host.empty() ? nullptr : host_text.c_str(), named, found);
  if (result != 0) {
    error = result == EAI_SYSTEM ? detail::to_error_code(found.system_error)
                                 : std::error_code(result, resolve_category());
    return {};
  }
  std::vector<endpoint> all;
  for (const addrinfo* one = found.first; one != nullptr; one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    detail::socket_address at;
    std::memcpy(&at.room, one->ai_addr, std::min<std::size_t>(one->ai_addrlen, sizeof at.room));
    const endpoint next = at.to_endpoint();
    if (std::find(all.begin(), all.end(), next) == all.end()) all.push_back(next);
  }
  if (all.empty()) error = resolve_errc::host_not_found;
  return all;
}

}  // namespace sigrun::net
