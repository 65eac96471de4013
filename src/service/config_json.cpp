// SPDX-License-Identifier: Apache-2.0
#include "service/config_tree.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>

namespace sigrun::config::detail {
namespace {

// The library's events carry no place. So it reads the text through iterators that tell how far it
// has come.
struct counting_iterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  std::size_t* consumed;

  reference operator*() const { return *at; }
  counting_iterator& operator++() {
    ++at;
    ++*consumed;
    return *this;
  }
  counting_iterator operator++(int) {
    const counting_iterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const counting_iterator& a, const counting_iterator& b) {
    return a.at == b.at;
  }
  friend bool operator!=(const counting_iterator& a, const counting_iterator& b) {
    return !(a == b);
  }
};

class builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  builder(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  std::size_t consumed = 0;
  node root;

  bool null() {
    put({});
    return true;
  }
  bool boolean(bool given) {
    node one;
    one.what = kind::boolean;
    one.boolean = given;
    put(std::move(one));
    return true;
  }
  bool number_integer(number_integer_t given) {
    node one;
    one.what = kind::integer;
    one.integer = given;
    put(std::move(one), 1);
    return true;
  }
  bool number_unsigned(number_unsigned_t given) {
    if (given <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      return number_integer(static_cast<std::int64_t>(given));
    }
    return number_float(static_cast<double>(given), {});
  }
  bool number_float(number_float_t given, const string_t& /*text*/) {
    node one;
    one.what = kind::number;
    one.number = given;
    put(std::move(one), 1);
    return true;
  }
  bool string(string_t& given) {
    node one;
    one.what = kind::text;
    one.text = std::move(given);
    put(std::move(one));
    return true;
  }
  bool binary(binary_t& /*given*/) { return false; }
  bool start_object(std::size_t /*elements*/) { return open(kind::table); }
  bool start_array(std::size_t /*elements*/) { return open(kind::array); }
  bool key(string_t& given) {
    node& table = *open_.back();
    const int line = line_here(0);
    const auto [at, fresh] = table.members.try_emplace(given);
    if (!fresh) {
      malformed(file_, line,
                "the key \"" + given + "\" is there twice, first in line " +
                    std::to_string(at->second.line));
    }
    next_ = &at->second;
    next_->line = line;
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what"
    std::string what = error.what();
    const std::size_t colon = what.find(": ");
    if (colon != std::string::npos) what.erase(0, colon + 2);
    malformed(file_, line_at(position == 0 ? 0 : position - 1), std::move(what));
  }

 private:
  int line_at(std::size_t end) const {
    const std::string_view before = text_.substr(0, end);
    return 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  }
  // A number's end is only seen one character later.
  int line_here(std::size_t beyond) {
    const std::size_t end = consumed - std::min(consumed, beyond + 1);
    // Counted on from the last place: a file is not counted once for each of its values.
    if (end < counted_to_) return line_at(end);
    const std::string_view between = text_.substr(counted_to_, end - counted_to_);
    line_ += static_cast<int>(std::count(between.begin(), between.end(), '\n'));
    counted_to_ = end;
    return line_;
  }
  node& put(node one, std::size_t beyond = 0) {
    one.line = line_here(beyond);
    if (open_.empty()) {
      root = std::move(one);
      return root;
    }
    node& into = *open_.back();
    if (into.what == kind::array) {
      into.items.push_back(std::move(one));
      return into.items.back();
    }
    one.line = next_->line;
    *next_ = std::move(one);
    return *next_;
  }
  bool open(kind what) {
    if (open_.size() > static_cast<std::size_t>(levels_max)) {
      malformed(file_, line_here(0), std::string(too_deep));
    }
    node one;
    one.what = what;
    open_.push_back(&put(std::move(one)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& file_;
  std::vector<node*> open_;
  node* next_ = nullptr;
  std::size_t counted_to_ = 0;
  int line_ = 1;
};

}  // namespace

node parse_json(std::string_view text, const std::string& file) {
  builder build(text, file);
  const char* const end = text.data() + text.size();
  nlohmann::json::sax_parse(counting_iterator{text.data(), &build.consumed},
                            counting_iterator{end, &build.consumed}, &build);
  if (build.root.what != kind::table) malformed(file, 1, "the whole is not an object");
  return std::move(build.root);
}

}  // namespace sigrun::config::detail
