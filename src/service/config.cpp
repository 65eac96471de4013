// SPDX-License-Identifier: Apache-2.0
#include "service/config_tree.hpp"
#include "service/text.hpp"

#include <sigrun/config.hpp>
#include <sigrun/file.hpp>
#include <sigrun/go.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sigrun::config {

using detail::kind;
using detail::node;

namespace {

const char* name_of(kind what) {
  switch (what) {
    case kind::nothing:
      return "null";
    case kind::boolean:
      return "a truth value";
    case kind::integer:
      return "a whole number";
    case kind::number:
      return "a number";
    case kind::text:
      return "a text";
    case kind::array:
      return "an array";
    case kind::table:
      break;
  }
  return "a table";
}

bool is_bare(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::string join(const std::string& path, std::string_view key) {
  const std::string part = is_bare(key) ? std::string(key) : "\"" + std::string(key) + "\"";
  return path.empty() ? part : path + "." + part;
}

std::string all_of(const std::vector<problem>& problems) {
  std::string text;
  for (const problem& one : problems) text += (text.empty() ? "" : "\n") + to_string(one);
  return text;
}

}  // namespace

// ---------------------------------------------------------------------------------------- errors

std::string to_string(const problem& one) {
  std::string text = one.file;
  if (one.line > 0) text += ":" + std::to_string(one.line);
  if (!text.empty()) text += ": ";
  if (!one.key.empty()) text += one.key + ": ";
  return text + one.what;
}

invalid::invalid(std::vector<problem> problems)
    : std::runtime_error(all_of(problems)),
      problems_(std::make_shared<const std::vector<problem>>(std::move(problems))) {}

namespace detail {

void reading::note(int line, std::string key, std::string what) {
  if (problems.size() < problems_max) {
    problems.push_back({file, line, std::move(key), std::move(what)});
  } else {
    ++dropped;
  }
}

void malformed(const std::string& file, int line, std::string what) {
  throw invalid({{file, line, {}, std::move(what)}});
}

std::string show(std::int64_t number) { return std::to_string(number); }
std::string show(std::uint64_t number) { return std::to_string(number); }
std::string show(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", number);
  return text;
}
std::string show(std::chrono::nanoseconds time) { return service::describe(time); }

bool convert_unsigned(const value& from, std::uint64_t& to, std::uint64_t max) {
  // Neither format promises whole numbers above this.
  const std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  std::int64_t wide = 0;
  if (!from.to_integer(wide, 0, static_cast<std::int64_t>(std::min(max, most)))) return false;
  to = static_cast<std::uint64_t>(wide);
  return true;
}

}  // namespace detail

// ---------------------------------------------------------------------------------------- values

bool value::is_text() const noexcept { return node_->what == kind::text; }
bool value::is_table() const noexcept { return node_->what == kind::table; }
bool value::is_array() const noexcept { return node_->what == kind::array; }

bool value::fail(std::string_view what) const {
  into_->note(node_->line, path_, std::string(what));
  return false;
}

bool value::wants(const char* what) const {
  return fail("is " + std::string(name_of(node_->what)) + ", not " + what);
}

bool value::to_bool(bool& to) const {
  if (node_->what != kind::boolean) return wants("true or false");
  to = node_->boolean;
  return true;
}

bool value::to_integer(std::int64_t& to, std::int64_t min, std::int64_t max) const {
  if (node_->what != kind::integer) return wants("a whole number");
  if (node_->integer < min || node_->integer > max) {
    return fail(std::to_string(node_->integer) + " is not between " + std::to_string(min) +
                " and " + std::to_string(max));
  }
  to = node_->integer;
  return true;
}

bool value::to_number(double& to) const {
  if (node_->what != kind::number && node_->what != kind::integer) return wants("a number");
  const double given =
      node_->what == kind::number ? node_->number : static_cast<double>(node_->integer);
  if (!std::isfinite(given)) return fail("is not finite");
  to = given;
  return true;
}

bool value::to_text(std::string& to) const {
  if (node_->what != kind::text) return wants("a text");
  to = node_->text;
  return true;
}

bool value::to_time(std::chrono::nanoseconds& to) const {
  if (node_->what != kind::text) return wants("a time like \"30s\" or \"250ms\"");
  const auto time = service::parse_duration(node_->text);
  if (!time) return fail("\"" + node_->text + "\" is not a time like \"30s\" or \"250ms\"");
  to = *time;
  return true;
}

bool value::each(const std::function<bool(value&)>& of) const {
  if (node_->what != kind::array) return wants("an array");
  bool good = true;
  std::size_t index = 0;
  for (const node& one : node_->items) {
    value item(&one, into_, path_ + "[" + std::to_string(index++) + "]");
    good = of(item) && good;
  }
  return good;
}

bool value::each(const std::function<bool(const std::string&, value&)>& of) const {
  if (node_->what != kind::table) return wants("a table");
  bool good = true;
  for (const auto& [key, one] : node_->members) {
    value item(&one, into_, join(path_, key));
    good = of(key, item) && good;
  }
  return good;
}

bool value::table(const std::function<void(section&)>& of) const {
  if (node_->what != kind::table) return wants("a table");
  const std::size_t before = into_->problems.size() + into_->dropped;
  section in(node_, into_, path_);
  of(in);
  in.finish();
  return into_->problems.size() + into_->dropped == before;
}

// -------------------------------------------------------------------------------------- sections

std::optional<value> section::find(std::string_view key) {
  asked_.emplace_back(key);
  const auto at = node_->members.find(key);
  if (at == node_->members.end()) return std::nullopt;
  return value(&at->second, into_, join(path_, key));
}

bool section::has(std::string_view key) const noexcept {
  return node_->members.find(key) != node_->members.end();
}

bool section::there(std::string_view key) {
  if (has(key)) return true;
  asked_.emplace_back(key);
  into_->note(node_->line, join(path_, key), "is missing");
  return false;
}

std::vector<std::string> section::keys() const {
  std::vector<std::string> all;
  for (const auto& [key, one] : node_->members) all.push_back(key);
  return all;
}

void section::fail(std::string_view key, std::string_view what) {
  const auto at = node_->members.find(key);
  into_->note(at != node_->members.end() ? at->second.line : node_->line, join(path_, key),
              std::string(what));
}

void section::fail(std::string_view what) { into_->note(node_->line, path_, std::string(what)); }

void section::finish() {
  if (others_) return;
  for (const auto& [key, one] : node_->members) {
    if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
    std::string what = "unknown key";
    // Words this far apart are not misspellings of each other; and nobody's megabyte is compared.
    std::size_t best = key.size() > 64 ? 0 : key.size() < 4 ? 2 : 3;
    std::string nearest;
    for (const std::string& known : asked_) {
      if (best == 0) break;
      const std::size_t distance = service::edit_distance(key, known);
      if (distance >= best || has(known)) continue;
      best = distance;
      nearest = known;
    }
    if (!nearest.empty()) what += "; did you mean \"" + nearest + "\"?";
    into_->note(one.line, join(path_, key), what);
  }
}

// ------------------------------------------------------------------------------------- documents

struct document::state {
  std::string name;
  std::uint64_t hash = 0;
  node root;
};

namespace {

format format_of(const std::string& name) {
  const auto ends = [&](std::string_view tail) {
    return name.size() > tail.size() &&
           name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
  };
  if (ends(".toml")) return format::toml;
  if (ends(".json")) return format::json;
  detail::malformed(name, 0, "a configuration's name ends in .toml or .json");
}

}  // namespace

namespace detail {

std::uint64_t hash_of(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

// At most one byte more than is allowed, from whatever `path` is.
std::string read_bounded(const std::string& path) {
  file from = file::open(path);
  std::string text(bytes_max + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const std::size_t got = from.read(mutable_buffer(text.data() + size, text.size() - size));
    if (got == 0) break;
    size += got;
  }
  text.resize(size);
  return text;
}

}  // namespace detail

document document::parse(std::string_view text, std::string name, format how) {
  auto made = std::make_shared<state>();
  made->name = std::move(name);
  if (how == format::by_name) how = format_of(made->name);
  if (text.size() > detail::bytes_max) detail::malformed(made->name, 0, "is larger than 4 MiB");
  made->hash = detail::hash_of(text);
  foreign_call([&] {
    made->root = how == format::toml ? detail::parse_toml(text, made->name)
                                     : detail::parse_json(text, made->name);
  });
  return document(std::move(made));
}

document document::load(const std::string& path, format how) {
  if (how == format::by_name) how = format_of(path);
  std::string text;
  try {
    text = detail::read_bounded(path);
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(), path);
  }
  return parse(text, path, how);
}

const std::string& document::name() const noexcept { return state_->name; }
std::uint64_t document::hash() const noexcept { return state_->hash; }

void document::read(const std::function<void(section&)>& of) const {
  detail::reading into{state_->name, {}, 0};
  section in(&state_->root, &into, {});
  of(in);
  in.finish();
  if (into.problems.empty()) return;
  std::stable_sort(into.problems.begin(), into.problems.end(),
                   [](const problem& a, const problem& b) { return a.line < b.line; });
  if (into.dropped != 0) {
    into.problems.push_back(
        {state_->name, 0, {}, "and " + std::to_string(into.dropped) + " problems more"});
  }
  throw invalid(std::move(into.problems));
}

}  // namespace sigrun::config
