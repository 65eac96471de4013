// SPDX-License-Identifier: Apache-2.0
//
// What a server's connections share: options, the list of connections, and the way to the end.
//
//   serving ──refuse()──▶ refusing ──close()──▶ closed
//
//   (1) The state only moves forward, under lock_, and is read without it.
//   (2) The list and everything per client belong to lock_. Nothing that blocks is done under it.
//   (3) Whoever takes the last connection out wakes those who drain: no polling.
//   (4) It outlives the server: connections, and what was hijacked from them, hold it.
#pragma once

#include "http/connection.hpp"

#include <sigrun/http_server.hpp>
#include <sigrun/sync.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace sigrun::http::detail {

struct counters {
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> handler_failures{0};
  std::atomic<std::uint64_t> malformed{0};
  std::atomic<std::uint64_t> timed_out{0};
  std::atomic<std::uint64_t> unavailable{0};
  std::atomic<std::uint64_t> over_limit{0};
  std::atomic<std::uint64_t> accept_failures{0};
  std::atomic<std::uint64_t> handshake_failures{0};
  std::atomic<std::uint64_t> cut{0};
  std::atomic<std::uint64_t> passed_on{0};

  static void count(std::atomic<std::uint64_t>& which) noexcept {
    which.fetch_add(1, std::memory_order_relaxed);  // read by itself only
  }
};

class server_core : public std::enable_shared_from_this<server_core> {
 public:
  server_core(handler h, server_options options);

  /// Serves a connection, or refuses it because of a limit or the state.
  void admit(net::tcp_stream stream, const std::shared_ptr<tls_certificates>& tls);
  void admit(net::unix_stream stream, const std::shared_ptr<tls_certificates>& tls);

  /// For connections: in and out of the list. Their place was reserved before.
  void add(connection& one) noexcept;
  void remove(connection& one, net::ip_address client, bool counted) noexcept;

  void refuse(const refuse_options& how);
  /// Whether somebody else has an idle connection from now on, see refuse_options.
  bool pass_on(int fd) noexcept;
  bool wait_drained(std::chrono::steady_clock::time_point deadline);
  void cut_all() noexcept;
  void wait_closed() noexcept;
  /// There are no descriptors left: gives up the connection that has been idle for longest.
  void shed_idle() noexcept;
  /// Returns when each nudge() that has begun is over.
  void settle_nudges() noexcept { const std::lock_guard guard(lock_); }

  /// A gzip stream is a quarter of a MiB: connections that compress now have one, and some wait.
  std::unique_ptr<deflater> take_deflater();
  void give_deflater(std::unique_ptr<deflater> one) noexcept;

  server_state state() const noexcept { return state_.load(); }
  bool refusing() const noexcept { return state_.load() != server_state::serving; }
  bool serves_on() const noexcept { return serve_on_.load(); }
  bool keeps_alive() const noexcept { return keep_alive_.load(); }
  void set_keep_alive(bool on) noexcept { keep_alive_.store(on); }
  std::chrono::nanoseconds idle_grace() const noexcept {
    return std::chrono::nanoseconds(idle_grace_ns_.load());
  }

  server_statistics statistics() const;
  std::vector<connection_info> connections() const;

  const handler handle;
  const server_options options;
  counters count;

 private:
  template <class Stream>
  void admit_any(Stream stream, net::ip_address client, bool is_tcp,
                 const std::shared_ptr<tls_certificates>& tls);
  /// Takes a place within the limits: 0, or the status that says why there is none.
  int reserve(net::ip_address client, bool counted);
  void release(net::ip_address client, bool counted) noexcept;
  void release_locked(net::ip_address client, bool counted) noexcept;

  std::atomic<server_state> state_{server_state::serving};
  std::atomic<bool> serve_on_{false};
  std::atomic<bool> keep_alive_{true};
  std::atomic<std::int64_t> idle_grace_ns_{0};

  mutable mutex lock_;
  cond drained_;
  std::function<bool(int)> pass_on_;
  connection* first_ = nullptr;  // the oldest
  connection* last_ = nullptr;
  std::size_t open_ = 0;  // places taken: in the list, or about to be
  std::map<net::ip_address, std::size_t> clients_;

  static constexpr std::size_t deflaters_max = 8;
  mutex deflaters_lock_;
  std::vector<std::unique_ptr<deflater>> deflaters_;
};

}  // namespace sigrun::http::detail
