// SPDX-License-Identifier: Apache-2.0
//
// Configuration from TOML and JSON files into structs of the program's own, checked on the way.
//
//   struct settings {
//     std::string name;
//     std::uint16_t port = 8080;
//     std::chrono::milliseconds timeout{5000};
//     std::vector<std::string> peers;
//   };
//   void read_config(sigrun::config::section& in, settings& to) {
//     in.require("name", to.name, sigrun::config::not_empty);
//     in.get("port", to.port, sigrun::config::between(1, 65535));
//     in.get("timeout", to.timeout);  // "2.5s"
//     in.get("peers", to.peers);
//   }
//   const auto now = sigrun::config::load<settings>("gateway.toml");
//
// Everything that is wrong with a file is told at once, each with its place:
//   gateway.toml:3: port: 70000 is not between 1 and 65535
//   gateway.toml:9: limits.conections: unknown key; did you mean "connections"?
// A key that nobody asked for is wrong too: it is the way a misspelled one shows.
//
// Threads: separate objects may be used by separate goroutines and threads; nothing in a signal
// handler.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sigrun::config {

class section;
class value;

namespace detail {

struct node;     // of the tree that a file is
struct reading;  // what is wrong so far

template <class T>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <class T>
inline constexpr bool is_map = false;
template <class T>
inline constexpr bool is_map<std::map<std::string, T>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool not_supported = false;

std::string show(std::int64_t number);
std::string show(std::uint64_t number);
std::string show(double number);
std::string show(std::chrono::nanoseconds time);
template <class T>
std::string show_bound(const T& bound) {
  if constexpr (is_duration<T>) {
    return show(std::chrono::duration_cast<std::chrono::nanoseconds>(bound));
  } else if constexpr (std::is_floating_point_v<T>) {
    return show(static_cast<double>(bound));
  } else if constexpr (std::is_signed_v<T>) {
    return show(static_cast<std::int64_t>(bound));
  } else {
    return show(static_cast<std::uint64_t>(bound));
  }
}
template <class A, class B>
bool below(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
    return std::cmp_less(a, b);
  } else {
    return a < b;
  }
}

template <class T>
bool convert(value& from, T& to);

}  // namespace detail

// ---------------------------------------------------------------------------------------- errors

/// One thing that is wrong.
struct problem {
  std::string file;
  int line = 0;     ///< from 1; 0: the file as a whole
  std::string key;  ///< "limits.connections", "peers[2].port"; empty: the text as such
  std::string what;
};
/// "file:line: key: what", without the parts that are empty.
std::string to_string(const problem& one);

/// A configuration that must not be used. what() has all problems, a line each; at most 100 are
/// kept.
class invalid : public std::runtime_error {
 public:
  explicit invalid(std::vector<problem> problems);
  const std::vector<problem>& problems() const noexcept { return *problems_; }

 private:
  std::shared_ptr<const std::vector<problem>> problems_;
};

// --------------------------------------------------------------------------------------- reading

/// One value of a file, for the conversion functions of programs: a function
/// `bool read_value(sigrun::config::value& from, T& to)` beside T is found by section::get. Each
/// function here says whether it was done; if not, the problem is noted already.
class value {
 public:
  bool is_text() const noexcept;
  bool is_table() const noexcept;
  bool is_array() const noexcept;

  bool to_bool(bool& to) const;
  /// A whole number in these bounds.
  bool to_integer(std::int64_t& to, std::int64_t min, std::int64_t max) const;
  bool to_number(double& to) const;
  bool to_text(std::string& to) const;
  /// A text like "250ms", "1m30s", "2.5h", not negative; a number has no unit and is refused.
  bool to_time(std::chrono::nanoseconds& to) const;
  /// of(value&) for each element in turn. Goes on after one that was not done.
  bool each(const std::function<bool(value&)>& of) const;
  /// of(key, value&) for each entry of a table, by key.
  bool each(const std::function<bool(const std::string&, value&)>& of) const;
  /// A table, by a section of its own; keys that `of` does not ask for are problems.
  bool table(const std::function<void(section&)>& of) const;

  /// Notes what is wrong with it; false.
  bool fail(std::string_view what) const;
  const std::string& path() const noexcept { return path_; }

 private:
  friend class section;
  friend class document;
  value(const detail::node* node, detail::reading* into, std::string path)
      : node_(node), into_(into), path_(std::move(path)) {}
  bool wants(const char* what) const;

  const detail::node* node_;
  detail::reading* into_;
  std::string path_;
};

/// A table of a file. T may be bool, an integer, a floating-point number, std::string, a
/// std::chrono::duration, any type with a read_config() or read_value() beside it, and
/// std::vector, std::map<std::string, …> and std::optional of these. Integers must fit.
class section {
 public:
  /// Reads a key. Absent: `to` stays as it is. Wrong: a problem is noted. Whether it was there and
  /// right. `check`, if given, is called with what was read and says what is wrong with it, as a
  /// text; an empty one is good.
  template <class T>
  bool get(std::string_view key, T& to) {
    std::optional<value> from = find(key);
    return from && detail::convert(*from, to);
  }
  template <class T, class Check>
  bool get(std::string_view key, T& to, Check&& check) {
    std::optional<value> from = find(key);
    return from && detail::convert(*from, to) && checked(*from, check(std::as_const(to)));
  }
  /// The same for a key that must be there.
  template <class T>
  bool require(std::string_view key, T& to) {
    return there(key) && get(key, to);
  }
  template <class T, class Check>
  bool require(std::string_view key, T& to, Check&& check) {
    return there(key) && get(key, to, std::forward<Check>(check));
  }
  /// A text that stands for one of these values.
  template <class T>
  bool choose(std::string_view key, T& to,
              std::initializer_list<std::pair<std::string_view, T>> among) {
    std::optional<value> from = find(key);
    std::string text;
    if (!from || !from->to_text(text)) return false;
    std::string names;
    for (const auto& [name, meaning] : among) {
      if (name == text) {
        to = meaning;
        return true;
      }
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    return from->fail("\"" + text + "\" is none of: " + names);
  }

  bool has(std::string_view key) const noexcept;
  /// All keys, whether they were asked for or not.
  std::vector<std::string> keys() const;
  /// Notes what is wrong with a key, or with the table: what only several keys together show.
  void fail(std::string_view key, std::string_view what);
  void fail(std::string_view what);
  /// Keys that nobody asks for are no problems.
  void allow_other_keys() noexcept { others_ = true; }

 private:
  friend class value;
  friend class document;
  section(const detail::node* node, detail::reading* into, std::string path)
      : node_(node), into_(into), path_(std::move(path)) {}
  std::optional<value> find(std::string_view key);
  bool there(std::string_view key);
  static bool checked(const value& from, const std::string& complaint) {
    return complaint.empty() || from.fail(complaint);
  }
  void finish();

  const detail::node* node_;
  detail::reading* into_;
  std::string path_;
  std::vector<std::string> asked_;
  bool others_ = false;
};

enum class format : std::uint8_t { by_name, toml, json };

/// A file that was read and is well-formed. At most 4 MiB and 32 levels deep.
class document {
 public:
  /// The format is told by the name: .toml or .json. Throws invalid, naming file and line, for
  /// what is not well-formed, for a key that a table has twice, for a name that tells no format;
  /// std::system_error for a file that cannot be read. Reads and parses in a foreign call.
  static document load(const std::string& path, format how = format::by_name);
  /// The same for a text; `name` stands for the file in problems.
  static document parse(std::string_view text, std::string name, format how = format::by_name);

  const std::string& name() const noexcept;
  /// Of the bytes: differs when they do, nearly always. (FNV-1a, 64 bits)
  std::uint64_t hash() const noexcept;

  /// Calls of(section&) for the whole of it. Throws invalid when there was any problem.
  void read(const std::function<void(section&)>& of) const;
  /// Into `to`, whose values are the defaults, resp. into a new T.
  template <class T>
  void read_into(T& to) const {
    read([&](section& in) { read_config(in, to); });
  }
  template <class T>
  T read() const {
    T to{};
    read_into(to);
    return to;
  }

 private:
  struct state;
  explicit document(std::shared_ptr<const state> from) : state_(std::move(from)) {}
  std::shared_ptr<const state> state_;
};

/// A file into a new T.
template <class T>
T load(const std::string& path) {
  return document::load(path).read<T>();
}

// ---------------------------------------------------------------------------------------- checks

/// Whether a value lies in these bounds, both included.
template <class Min, class Max>
auto between(Min min, Max max) {
  return [min, max](const auto& v) {
    if (!detail::below(v, min) && !detail::below(max, v)) return std::string();
    return detail::show_bound(v) + " is not between " + detail::show_bound(min) + " and " +
           detail::show_bound(max);
  };
}
template <class Min>
auto at_least(Min min) {
  return [min](const auto& v) {
    if (!detail::below(v, min)) return std::string();
    return detail::show_bound(v) + " is less than " + detail::show_bound(min);
  };
}
template <class Max>
auto at_most(Max max) {
  return [max](const auto& v) {
    if (!detail::below(max, v)) return std::string();
    return detail::show_bound(v) + " is more than " + detail::show_bound(max);
  };
}
/// A text, or anything else that has empty().
inline constexpr auto not_empty = [](const auto& v) {
  return std::string(v.empty() ? "must not be empty" : "");
};

// ----------------------------------------------------------------------------------- conversions

namespace detail {

bool convert_unsigned(const value& from, std::uint64_t& to, std::uint64_t max);

template <class T>
bool convert_integer(const value& from, T& to) {
  if constexpr (std::is_signed_v<T>) {
    std::int64_t wide = 0;
    if (!from.to_integer(wide, std::numeric_limits<T>::min(), std::numeric_limits<T>::max())) {
      return false;
    }
    to = static_cast<T>(wide);
  } else {
    std::uint64_t wide = 0;
    if (!convert_unsigned(from, wide, std::numeric_limits<T>::max())) return false;
    to = static_cast<T>(wide);
  }
  return true;
}

template <class T>
bool convert_vector(value& from, std::vector<T>& to) {
  std::vector<T> all;
  const bool good = from.each([&](value& one) {
    T item{};
    if (!convert(one, item)) return false;
    all.push_back(std::move(item));
    return true;
  });
  if (good) to = std::move(all);
  return good;
}

template <class T>
bool convert_map(value& from, std::map<std::string, T>& to) {
  std::map<std::string, T> all;
  const bool good =
      from.each([&](const std::string& key, value& one) { return convert(one, all[key]); });
  if (good) to = std::move(all);
  return good;
}

template <class T>
bool convert(value& from, T& to) {
  if constexpr (requires { read_value(from, to); }) {
    return read_value(from, to);
  } else if constexpr (requires(section & in) { read_config(in, to); }) {
    return from.table([&](section& in) { read_config(in, to); });
  } else if constexpr (std::is_same_v<T, bool>) {
    return from.to_bool(to);
  } else if constexpr (std::is_integral_v<T>) {
    return convert_integer(from, to);
  } else if constexpr (std::is_floating_point_v<T>) {
    double wide = 0;
    if (!from.to_number(wide)) return false;
    to = static_cast<T>(wide);
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    return from.to_text(to);
  } else if constexpr (is_duration<T>) {
    std::chrono::nanoseconds wide{};
    if (!from.to_time(wide)) return false;
    to = std::chrono::duration_cast<T>(wide);
    if (to == wide) return true;
    return from.fail("the program has it in coarser units");
  } else if constexpr (is_optional<T>) {
    typename T::value_type inner{};
    if (!convert(from, inner)) return false;
    to = std::move(inner);
    return true;
  } else if constexpr (is_vector<T>) {
    return convert_vector(from, to);
  } else if constexpr (is_map<T>) {
    return convert_map(from, to);
  } else {
    static_assert(not_supported<T>, "no read_config(section&, T&) or read_value(value&, T&)");
  }
}

}  // namespace detail
}  // namespace sigrun::config
