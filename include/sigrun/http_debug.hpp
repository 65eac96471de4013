// SPDX-License-Identifier: Apache-2.0
//
// The stacks of all goroutines over HTTP, at the place and in the form of Go's net/http/pprof, so
// that what reads those reads these. Nothing is served unless a program adds the route:
//
//   routes.get("/debug/pprof/goroutine", sigrun::http::goroutine_dump());
//
//   curl 'http://localhost:8080/debug/pprof/goroutine?debug=2'
//
// All of it is inline: it needs the libraries of both sigrun::http and sigrun::core. Not for
// handlers of signals.
#pragma once

#include <sigrun/address.hpp>
#include <sigrun/dump.hpp>
#include <sigrun/go.hpp>
#include <sigrun/http.hpp>

#include <string>
#include <string_view>
#include <system_error>

namespace sigrun::http {

struct goroutine_dump_options {
  /// Who is no neighbour on this machine is answered 403. A stack shows names of functions, files
  /// and labels; a dump takes time of every goroutine. False: guard the route yourself.
  bool local_only = true;
  /// The text is held in memory, some hundred bytes for each frame.
  dump_options dump{.goroutines_max = 10'000};
};

namespace detail {

inline bool is_local_name(std::string_view host) noexcept {
  const bool closed = host.starts_with('[');
  const std::size_t end = closed ? host.find(']') : host.rfind(':');
  std::string_view name = host.substr(0, end);
  if (closed) name.remove_prefix(1);
  if (same_name(name, "localhost")) return true;
  const auto address = net::ip_address::parse(name);
  return address && address->is_loopback();
}

}  // namespace detail

/// Whether the client sits on this machine and means it: it came from a loopback address or a Unix
/// socket; no proxy says that it came for somebody else (Forwarded, X-Forwarded-For); and the Host
/// is this machine's own name for itself, which that of a web page elsewhere is not, wherever its
/// name was made to lead (DNS rebinding).
inline bool is_local(const request& q) {
  if (q.has_header("Forwarded") || q.has_header("X-Forwarded-For")) return false;
  if (q.remote() == "unix") return true;
  const auto from = net::endpoint::parse(q.remote());
  return from && from->address().is_loopback() && detail::is_local_name(q.host());
}

/// A handler that answers `?debug=2` with goroutine_stacks() as text. 400 for another `debug` and
/// for none: Go has other forms there, which are not ours. 403 as goroutine_dump_options says. 503
/// when another dump takes too long. Other requests are served meanwhile.
inline handler goroutine_dump(const goroutine_dump_options& options = {}) {
  return [options](request& q, response& p) {
    if (options.local_only && !is_local(q)) throw error(403, "for clients on this machine only\n");
    const std::string form = q.query_value("debug").value_or("");
    if (form != "2") throw error(400, "debug is \"" + form + "\": only debug=2 is there\n");
    p.set("Cache-Control", "no-store").set("X-Content-Type-Options", "nosniff");
    std::string text;
    try {
      text = foreign_call([&options] { return goroutine_stacks(options.dump); });
    } catch (const std::system_error& late) {
      throw error(503, std::string(late.what()) + "\n");
    }
    p.text(text);
  };
}

}  // namespace sigrun::http
