// SPDX-License-Identifier: Apache-2.0
//
// A tree of segments. Looking up goes down the literal child first, then the `{name}` child, then
// the `{name...}` one, and comes back when there is nothing: with the at most three ways at each
// segment, and a path's segments bounded by the head, that is bounded, and with patterns that do
// not overlap it is one way down.
#include <sigrun/http_router.hpp>

#include "http/text.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace sigrun::http {
namespace {

struct route {
  handler run;
  std::vector<std::string> names;  // of the pattern's parameters, in order
};

struct node {
  std::map<std::string, std::unique_ptr<node>, std::less<>> literal;
  std::unique_ptr<node> any;
  std::map<std::string, route, std::less<>> here;  // by method
  std::map<std::string, route, std::less<>> rest;  // `{name...}`
};

using methods = std::map<std::string, route, std::less<>>;

[[noreturn]] void refuse(std::string_view pattern, const char* why) {
  throw std::invalid_argument("sigrun::http::router: the pattern \"" + std::string(pattern) +
                              "\" " + why);
}

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> segments;
  path.remove_prefix(1);
  for (;;) {
    const std::size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

/// The path that is asked for, in segments; decoded where there is something to decode.
struct asked {
  std::string_view raw;  // without its first slash
  std::vector<std::string_view> raw_segments;
  std::vector<std::string_view> segments;
  std::vector<std::string> decoded;  // what those point into, if not into the raw path
};

struct found {
  const methods* at = nullptr;
  std::vector<std::size_t> captured;  // positions of segments; the last is where the rest begins
  bool with_rest = false;
};

class search {
 public:
  search(const asked& path, std::string_view method) : path_(path), method_(method) {}

  /// Looks for a route of the method; what has others only is remembered.
  bool down(const node& at, std::size_t position) {
    if (position == path_.segments.size()) return ends_at(at.here, false);
    const std::string_view segment = path_.segments[position];
    const auto literal = at.literal.find(segment);
    if (literal != at.literal.end() && down(*literal->second, position + 1)) return true;
    if (at.any != nullptr && !segment.empty()) {
      result.captured.push_back(position);
      if (down(*at.any, position + 1)) return true;
      result.captured.pop_back();
    }
    if (at.rest.empty()) return false;
    result.captured.push_back(position);
    if (ends_at(at.rest, true)) return true;
    result.captured.pop_back();
    return false;
  }

  found result;
  const methods* others = nullptr;

 private:
  bool ends_at(const methods& here, bool with_rest) {
    if (here.empty()) return false;
    if (!here.contains(method_) && !here.contains("*") &&
        !(method_ == "HEAD" && here.contains("GET"))) {
      if (others == nullptr) others = &here;
      return false;
    }
    result.at = &here;
    result.with_rest = with_rest;
    return true;
  }

  const asked& path_;
  std::string_view method_;
};

void split(const request& q, asked& path) {
  std::string_view raw = q.target().substr(0, q.target().find('?'));
  if (raw.empty()) raw = "/";
  path.raw = raw.substr(1);
  path.raw_segments = segments_of(raw);
  path.segments = path.raw_segments;
  if (raw.find('%') == std::string_view::npos) return;
  path.decoded.reserve(path.segments.size());  // nothing moves
  for (std::string_view& segment : path.segments) {
    if (segment.find('%') == std::string_view::npos) continue;
    // The server has refused bad escapes before.
    segment = path.decoded.emplace_back(detail::percent_decoded(segment, false).value_or(""));
  }
}

const route& choose(const methods& from, std::string_view method) {
  auto it = from.find(method);
  if (it == from.end() && method == "HEAD") it = from.find("GET");
  if (it == from.end()) it = from.find("*");
  return it->second;
}

std::string allowed(const methods& from) {
  std::string list;
  const auto add = [&list](std::string_view method) {
    if (!list.empty()) list.append(", ");
    list.append(method);
  };
  for (const auto& [method, unused] : from) {
    add(method);
    if (method == "GET" && !from.contains("HEAD")) add("HEAD");
  }
  if (!from.contains("OPTIONS")) add("OPTIONS");
  return list;
}

void answer_other_method(const methods& here, request& q, response& p) {
  p.set("Allow", allowed(here));
  if (q.method() == "OPTIONS") {
    p.status(204).send({});
  } else {
    p.status(405).text("the method is not allowed here\n");
  }
}

}  // namespace

struct router::tree {
  node root;
  handler not_found = [](request&, response& p) { p.status(404).text("there is nothing here\n"); };
  std::vector<middleware> around;
};

router::router() : tree_(std::make_shared<tree>()) {}
router::router(router&&) noexcept = default;
router::router(const router&) = default;
router& router::operator=(router other) noexcept {
  tree_.swap(other.tree_);
  return *this;
}
router::~router() = default;

router& router::handle(std::string_view method, std::string_view pattern, handler h) {
  if (method != "*" && !detail::is_token(method)) {
    throw std::invalid_argument("sigrun::http::router: the method \"" + std::string(method) +
                                "\" is no token");
  }
  if (!h) refuse(pattern, "has no handler");
  if (pattern.empty() || pattern[0] != '/') refuse(pattern, "does not begin with /");
  route added;
  node* at = &tree_->root;
  methods* end = nullptr;
  for (const std::string_view segment : segments_of(pattern)) {
    if (end != nullptr) refuse(pattern, "goes on after {name...}");
    if (segment.size() < 2 || segment.front() != '{' || segment.back() != '}') {
      if (segment.find_first_of("{}") != std::string_view::npos) {
        refuse(pattern, "has a brace inside a segment");
      }
      auto& next = at->literal[std::string(segment)];
      if (next == nullptr) next = std::make_unique<node>();
      at = next.get();
      continue;
    }
    std::string_view name = segment.substr(1, segment.size() - 2);
    const bool rest = name.ends_with("...");
    if (rest) name.remove_suffix(3);
    if (!detail::is_token(name)) refuse(pattern, "has a parameter without a name");
    if (std::find(added.names.begin(), added.names.end(), name) != added.names.end()) {
      refuse(pattern, "has two parameters of one name");
    }
    added.names.emplace_back(name);
    if (rest) {
      end = &at->rest;
      continue;
    }
    if (at->any == nullptr) at->any = std::make_unique<node>();
    at = at->any.get();
  }
  if (end == nullptr) end = &at->here;
  if (end->contains(method)) refuse(pattern, "is there already for that method");
  added.run = std::move(h);
  for (auto m = tree_->around.rbegin(); m != tree_->around.rend(); ++m) {
    added.run = (*m)(std::move(added.run));
  }
  end->emplace(std::string(method), std::move(added));
  return *this;
}

router& router::use(middleware m) {
  if (!m) throw std::invalid_argument("sigrun::http::router::use: no middleware");
  tree_->around.push_back(std::move(m));
  return *this;
}

router& router::not_found(handler h) {
  if (!h) throw std::invalid_argument("sigrun::http::router::not_found: no handler");
  tree_->not_found = std::move(h);
  return *this;
}

void router::operator()(request& q, response& p) const {
  if (q.target() == "*") {  // OPTIONS of the server as a whole
    p.status(204).send({});
    return;
  }
  asked path;
  split(q, path);
  search s(path, q.method());
  if (!s.down(tree_->root, 0)) {
    if (s.others != nullptr) return answer_other_method(*s.others, q, p);
    return tree_->not_found(q, p);
  }
  const route& to = choose(*s.result.at, q.method());
  if (!to.names.empty()) {
    std::vector<std::pair<std::string, std::string>> params;
    params.reserve(to.names.size());
    for (std::size_t i = 0; i < to.names.size(); ++i) {
      const std::size_t position = s.result.captured[i];
      if (i + 1 < to.names.size() || !s.result.with_rest) {
        params.emplace_back(to.names[i], path.segments[position]);
        continue;
      }
      const auto offset =
          static_cast<std::size_t>(path.raw_segments[position].data() - path.raw.data());
      params.emplace_back(to.names[i],
                          detail::percent_decoded(path.raw.substr(offset), false).value_or(""));
    }
    q.set_params(std::move(params));
  }
  to.run(q, p);
}

}  // namespace sigrun::http
