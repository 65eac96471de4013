// SPDX-License-Identifier: Apache-2.0
//
// Connections that go on in another process: idle ones of a server that has been taken over. Of
// these nothing was read that is not answered, so the socket is all there is to pass, and what
// comes on it meanwhile waits in the kernel: whoever reads next has it.
#include "io/socket.hpp"
#include "service/lifecycle.hpp"
#include "service/text.hpp"

#include <sys/socket.h>

namespace sigrun {

bool service::graceful_state::take_connection(const std::string& name, int fd) {
  std::error_code error;
  net::tcp_stream stream = net::tcp_stream::adopt(fd, error);
  if (error) return false;
  const std::lock_guard hold(passing);
  const auto taker = takers.find(name);
  if (taker == takers.end()) return false;
  try {
    taker->second(std::move(stream));
    return true;
  } catch (const std::exception&) {
    return false;  // its server is at its end
  }
}

void graceful::take_connections(const std::string& name,
                                std::function<void(net::tcp_stream)> take) {
  const std::lock_guard hold(state_->passing);
  if (take) {
    state_->takers[name] = std::move(take);
  } else {
    state_->takers.erase(name);
  }
}

bool graceful::pass_connection(const std::string& name, int fd) const noexcept {
  try {
    const long domain = detail::get_option(fd, SOL_SOCKET, SO_DOMAIN);
    if (domain != AF_INET && domain != AF_INET6) return false;
    std::function<bool(const std::string&, int)> pass;
    {
      const std::lock_guard hold(state_->passing);
      pass = state_->pass;
    }
    return pass && pass(name, fd);
  } catch (...) {
    return false;  // no memory for it
  }
}

}  // namespace sigrun
