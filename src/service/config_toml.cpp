// SPDX-License-Identifier: Apache-2.0
#include "service/config_tree.hpp"

#include <toml++/toml.h>

#include <sstream>

namespace sigrun::config::detail {
namespace {

// toml++ bounds how deep values nest, but not how many parts a key has, each of which is a table in
// the one before; and it destroys tables recursively. So keys with too many parts never reach it.
class key_guard {
 public:
  static constexpr int parts_max = 16;

  explicit key_guard(std::string_view text) : text_(text) {}

  /// The line of the first key of too many parts; 0 without one.
  int find() {
    int parts = 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        skip_string(c);
        continue;
      }
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        continue;
      }
      if (c == '\n') ++line_;
      if (c == '.') {
        if (++parts > parts_max) return line_;
      } else if (c == '\n' || c == ',' || c == '=' || c == '[' || c == '{' || c == '}') {
        parts = 1;
      }
      ++at_;
    }
    return 0;
  }

 private:
  void skip_string(char quote) {
    const std::string three(3, quote);
    const bool long_one = text_.substr(at_, 3) == three;
    at_ += long_one ? 3 : 1;
    while (at_ < text_.size()) {
      if (text_[at_] == '\n') {
        if (!long_one) return;  // not closed: the parser will say so
        ++line_;
      }
      if (quote == '"' && text_[at_] == '\\') {
        at_ += text_.substr(at_ + 1, 1) == "\n" ? 1 : 2;
        continue;
      }
      if (text_[at_] == quote && (!long_one || text_.substr(at_, 3) == three)) {
        at_ += long_one ? 3 : 1;
        return;
      }
      ++at_;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
};

template <class T>
std::string as_text(const T& what) {
  std::ostringstream out;
  out << what;
  return out.str();
}

class converter {
 public:
  explicit converter(const std::string& file) : file_(file) {}

  node convert(const toml::node& from, int level) const {
    node to;
    to.line = static_cast<int>(from.source().begin.line);
    if (level > levels_max) malformed(file_, to.line, std::string(too_deep));
    from.visit([&](const auto& one) { fill(to, one, level); });
    return to;
  }

 private:
  void fill(node& to, const toml::table& from, int level) const {
    to.what = kind::table;
    for (const auto& [key, one] : from) {
      node& member = to.members[std::string(key.str())];
      member = convert(one, level + 1);
      member.line = static_cast<int>(key.source().begin.line);
    }
  }
  void fill(node& to, const toml::array& from, int level) const {
    to.what = kind::array;
    for (const toml::node& one : from) to.items.push_back(convert(one, level + 1));
  }
  template <class T>
  void fill(node& to, const toml::value<T>& from, int /*level*/) const {
    if constexpr (std::is_same_v<T, bool>) {
      to.what = kind::boolean;
      to.boolean = from.get();
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      to.what = kind::integer;
      to.integer = from.get();
    } else if constexpr (std::is_same_v<T, double>) {
      to.what = kind::number;
      to.number = from.get();
    } else if constexpr (std::is_same_v<T, std::string>) {
      to.what = kind::text;
      to.text = from.get();
    } else {  // dates and times
      to.what = kind::text;
      to.text = as_text(from.get());
    }
  }

  const std::string& file_;
};

}  // namespace

node parse_toml(std::string_view text, const std::string& file) {
  if (const int line = key_guard(text).find(); line != 0) {
    malformed(file, line, "a key of more than 16 parts");
  }
  try {
    const toml::table root = toml::parse(text);
    return converter(file).convert(root, 0);
  } catch (const toml::parse_error& error) {
    malformed(file, static_cast<int>(error.source().begin.line), std::string(error.description()));
  }
}

}  // namespace sigrun::config::detail
