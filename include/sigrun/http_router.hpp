// SPDX-License-Identifier: Apache-2.0
//
// Which handler answers which path.
//
//   sigrun::http::router routes;
//   routes.use(log_all);
//   routes.get("/users/{id}", show_user);
//   routes.handle("DELETE", "/users/{id}", remove_user);
//   routes.get("/files/{path...}", sigrun::http::files("/srv/www"));
//
// A pattern's segments are literal, `{name}` for exactly one segment that is not empty, or, last,
// `{name...}` for all that is left, which may be nothing. A literal goes before `{name}`, that
// before `{name...}`; patterns are compared decoded, segment by segment, so that %2F is no slash.
// "." and ".." are segments like others and match `{...}` only; http::files() refuses them.
//
// Not for use from several threads while routes are added; any number afterwards.
#pragma once

#include <sigrun/http.hpp>

#include <memory>
#include <string_view>

namespace sigrun::http {

/// A handler as any other. Copies share their routes.
class router {
 public:
  router();
  router(const router&);
  router(router&&) noexcept;
  router& operator=(router) noexcept;
  ~router();

  /// `method` is a token, or "*" for all that have no route of their own here. A GET route answers
  /// HEAD too, without the body. Throws std::invalid_argument, naming it, for a pattern that does
  /// not begin with "/", has a bad or double name, or is there already for that method.
  router& handle(std::string_view method, std::string_view pattern, handler h);
  router& get(std::string_view pattern, handler h) { return handle("GET", pattern, std::move(h)); }
  router& post(std::string_view pattern, handler h) {
    return handle("POST", pattern, std::move(h));
  }
  router& put(std::string_view pattern, handler h) { return handle("PUT", pattern, std::move(h)); }
  router& patch(std::string_view pattern, handler h) {
    return handle("PATCH", pattern, std::move(h));
  }
  router& del(std::string_view pattern, handler h) {
    return handle("DELETE", pattern, std::move(h));
  }

  /// Middleware for the routes that are added from here on; the first added is the outermost.
  router& use(middleware m);
  /// What answers when no pattern fits; 404 in the beginning.
  router& not_found(handler h);

  /// Finds and calls. A path that has routes, but none for the method: 405 with Allow; OPTIONS is
  /// answered 204 with Allow.
  void operator()(request& q, response& p) const;

  struct tree;

 private:
  std::shared_ptr<tree> tree_;
};

}  // namespace sigrun::http
