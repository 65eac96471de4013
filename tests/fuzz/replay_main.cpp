// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over every file of the folders and files given, as libFuzzer does, and over
// each of their prefixes, since cut-off input is what parsers meet most.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

int replay(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  if (!in.good() && !in.eof()) return 0;
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    // A copy of just this length, so that the address sanitizer sees a read past its end.
    const std::vector<std::uint8_t> input(bytes.begin(),
                                          bytes.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files += replay(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      files += replay(entry.path());
    }
  }
  std::printf("replayed %d files\n", files);
  return files > 0 ? 0 : 1;
}
