// SPDX-License-Identifier: Apache-2.0
#include "crash/words.hpp"

#include <cxxabi.h>

#include <cstdlib>

namespace sigrun::crash {
namespace {

// The parameters are the last pair of parentheses; behind them may stand " const" and the like.
std::string_view without_parameters(std::string_view text) noexcept {
  const std::size_t end = text.rfind(')');
  if (end == std::string_view::npos) return text;
  for (const char c : text.substr(end + 1)) {
    if ((c < 'a' || c > 'z') && c != ' ' && c != '&') return text;  // "{lambda()#1}", "[clone …]"
  }
  int depth = 0;
  for (std::size_t at = end + 1; at-- > 0;) {
    if (text[at] == ')') ++depth;
    if (text[at] == '(' && --depth == 0) {
      // "operator()" has no parameters here.
      return at == 0 || text.substr(0, at).ends_with("operator") ? text : text.substr(0, at);
    }
  }
  return text;
}

}  // namespace

void write_words(report::sink& out, std::string_view linkage) noexcept {
  int status = 0;
  // The linker's names are strings of C in the table that they lie in.
  char* const text = abi::__cxa_demangle(linkage.data(), nullptr, nullptr, &status);
  if (text == nullptr || status != 0) {
    out.add(linkage);
  } else {
    out.add(without_parameters(text));
  }
  std::free(text);
}

}  // namespace sigrun::crash
