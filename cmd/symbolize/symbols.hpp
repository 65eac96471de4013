// SPDX-License-Identifier: Apache-2.0
//
// What debugging information says about an address in a file, by libdw (elfutils).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sigrun::symbolize {

struct place {
  std::string function;
  std::string file;
  int line = 0;
  std::uint64_t offset = 0;  // in the function
};

class file_symbols;

/// Files that were asked about stay open.
class symbols {
 public:
  symbols();
  ~symbols();
  /// The innermost inlined call first, the function that has the code last; empty: nothing known.
  /// `address` is as in the file. A file with another build id than this (hex; "-": any) is not
  /// believed; debugging information is also looked for by build id, below /usr/lib/debug.
  std::vector<place> find(const std::string& path, const std::string& build_id,
                          std::uint64_t address);
  /// What the compiler noted of itself and its flags in the file's first unit; empty: nothing.
  std::string producer(const std::string& path, const std::string& build_id);

 private:
  file_symbols* open(const std::string& path, const std::string& build_id);
  std::map<std::string, std::unique_ptr<file_symbols>> files_;
};

/// Without the parameters: "ns::f(int) const" is "ns::f".
std::string without_parameters(const std::string& name);

}  // namespace sigrun::symbolize
