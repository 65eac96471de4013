// SPDX-License-Identifier: Apache-2.0
#include <sigrun/http_server.hpp>

#include "http/core.hpp"
#include "io/socket.hpp"

#include <sigrun/go.hpp>

#include <unistd.h>

#include <list>
#include <mutex>
#include <stdexcept>
#include <variant>

namespace sigrun::http {

struct server::impl {
  struct listener {
    std::variant<net::tcp_listener, net::unix_listener> socket;
    listener_info info;
    std::string path;  // to remove; empty for none
    std::shared_ptr<tls_certificates> tls;
    goroutine acceptor;
  };

  impl(handler h, server_options options)
      : core(std::make_shared<detail::server_core>(std::move(h), std::move(options))) {}

  template <class Listener>
  void begin(Listener socket, listener_info info, std::string path, const listen_options& options) {
    const std::lock_guard guard(lock);
    if (closed_listeners || core->refusing()) {
      throw std::logic_error("sigrun::http::server: it takes no new listener, it is ending");
    }
    info.fd = socket.fd();
    info.secure = options.tls != nullptr;
    listener& one = listeners.emplace_back();
    one.socket = std::move(socket);
    one.info = std::move(info);
    one.path = std::move(path);
    one.tls = options.tls;
    try {
      accepting.add();
      one.acceptor = go({.name = "http acceptor"}, [this, &one] {
        std::visit([&](auto& socket_of) { accept_all(socket_of, one.tls); }, one.socket);
        accepting.done();
      });
    } catch (...) {
      accepting.done();
      listeners.pop_back();
      throw;
    }
  }

  template <class Listener>
  void accept_all(Listener& from, const std::shared_ptr<tls_certificates>& tls) {
    for (;;) {
      std::error_code error;
      auto stream = from.accept(error);
      if (error == std::errc::operation_canceled || error == std::errc::bad_file_descriptor) return;
      if (ending.load()) {
        if (!error) core->admit(std::move(stream), tls);
        return accept_queued(from, tls);
      }
      if (error) {
        // accept() itself takes its time before it tries again.
        detail::counters::count(core->count.accept_failures);
        core->shed_idle();
        continue;
      }
      core->admit(std::move(stream), tls);
    }
  }

  // What the kernel has completed already would be reset by the close: it is taken first, at most
  // a backlog of it.
  template <class Listener>
  void accept_queued(Listener& from, const std::shared_ptr<tls_certificates>& tls) {
    for (int i = 0; i < net::backlog_default; ++i) {
      const long fd =
          sys::call(SYS_accept4, from.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      std::error_code error;
      auto stream = decltype(from.accept())::adopt(static_cast<int>(fd), error);
      if (!error) core->admit(std::move(stream), tls);
    }
  }

  void close_listeners() noexcept {
    {
      const std::lock_guard guard(lock);
      closed_listeners = true;
      ending.store(true);
      // A deadline that has passed ends the waits in accept(), and loses nothing.
      for (listener& one : listeners) {
        std::error_code gone;
        std::visit(
            [&](auto& socket) { socket.set_deadline(std::chrono::steady_clock::now(), gone); },
            one.socket);
      }
    }
    accepting.wait();
    const std::lock_guard guard(lock);
    for (listener& one : listeners) {
      std::error_code gone;
      std::visit([&](auto& socket) { socket.close(gone); }, one.socket);
      if (!one.path.empty() && !paths_kept) unlink(one.path.c_str());
      one.path.clear();
    }
  }

  void join_acceptors() noexcept {
    for (;;) {
      goroutine acceptor;
      {
        const std::lock_guard guard(lock);
        for (listener& one : listeners) {
          if (one.acceptor.joinable()) acceptor = std::move(one.acceptor);
        }
      }
      if (!acceptor.joinable()) return;
      acceptor.join();
    }
  }

  const std::shared_ptr<detail::server_core> core;
  mutable mutex lock;
  std::list<listener> listeners;  // under lock
  wait_group accepting;
  std::atomic<bool> ending{false};  // set before the deadlines are
  bool closed_listeners = false;
  bool paths_kept = false;
};

server::server(handler h, server_options options)
    : impl_(std::make_unique<impl>(std::move(h), std::move(options))) {}

server::~server() { close(); }

net::endpoint server::listen(const net::endpoint& at, const listen_options& options) {
  auto listener = net::tcp_listener::listen(at, {.reuse_port = options.reuse_port});
  const net::endpoint where = listener.local_endpoint();
  serve(std::move(listener), options);
  return where;
}

void server::listen(const net::unix_address& at, const listen_options& options) {
  auto listener = net::unix_listener::listen(at, {.unlink_on_close = false});
  impl_->begin(std::move(listener), {.address = at.to_string(), .is_unix = true},
               at.is_abstract() ? std::string() : at.name(), options);
}

void server::serve(net::tcp_listener listener, const listen_options& options) {
  std::string address = listener.local_endpoint().to_string();
  impl_->begin(std::move(listener), {.address = std::move(address)}, {}, options);
}

void server::serve(net::unix_listener listener, const listen_options& options) {
  std::string address = listener.local_address().to_string();
  impl_->begin(std::move(listener), {.address = std::move(address), .is_unix = true}, {}, options);
}

void server::serve(net::tcp_stream stream, const listen_options& options) {
  impl_->core->admit(std::move(stream), options.tls);
}
void server::serve(net::unix_stream stream, const listen_options& options) {
  impl_->core->admit(std::move(stream), options.tls);
}

std::vector<listener_info> server::listeners() const {
  const std::lock_guard guard(impl_->lock);
  std::vector<listener_info> all;
  if (impl_->closed_listeners) return all;
  for (const impl::listener& one : impl_->listeners) all.push_back(one.info);
  return all;
}

void server::keep_paths() noexcept {
  const std::lock_guard guard(impl_->lock);
  impl_->paths_kept = true;
}

void server::set_keep_alive(bool on) noexcept { impl_->core->set_keep_alive(on); }
void server::close_listeners() noexcept { impl_->close_listeners(); }

void server::refuse(const refuse_options& options) {
  impl_->close_listeners();
  impl_->core->refuse(options);
}

bool server::wait_drained(std::chrono::steady_clock::time_point deadline) {
  // An acceptor may have a connection in its hands that it has not handed over yet.
  if (state() != server_state::serving) impl_->join_acceptors();
  return impl_->core->wait_drained(deadline);
}

void server::cut_off() noexcept {
  impl_->close_listeners();
  impl_->core->cut_all();
}

void server::close() noexcept {
  cut_off();
  impl_->join_acceptors();
  impl_->core->wait_closed();
}

bool server::shutdown(std::chrono::nanoseconds grace, const refuse_options& options) {
  const auto deadline = std::chrono::steady_clock::now() + grace;
  refuse(options);
  const bool drained = wait_drained(deadline);
  close();
  return drained;
}

server_state server::state() const noexcept { return impl_->core->state(); }
server_statistics server::statistics() const { return impl_->core->statistics(); }
std::vector<connection_info> server::connections() const { return impl_->core->connections(); }

}  // namespace sigrun::http
