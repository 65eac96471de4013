// SPDX-License-Identifier: Apache-2.0
//
//   replay_NAME PATH...
// Runs a fuzz target over every file of the folders and files given, as libFuzzer does, and over
// each of their prefixes, since cut-off input is what parsers meet most.
//
//   replay_NAME --mutate SEED RUNS SECONDS PATH...
// Runs it over inputs made from them by chance: RUNS of them, or what fits into SECONDS (0: all).
// The seed says it all; an input that a target has found something wrong with is in fuzz.input.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

using bytes = std::vector<std::uint8_t>;

constexpr std::size_t size_max = 8192;

std::vector<bytes> read_all(int count, char** paths) {
  std::vector<std::filesystem::path> files;
  for (int i = 0; i < count; ++i) {
    if (!std::filesystem::is_directory(paths[i])) {
      files.emplace_back(paths[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(paths[i])) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());  // the order of a folder is no order
  std::vector<bytes> all;
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    const std::vector<char> text{std::istreambuf_iterator<char>(in), {}};
    if (in.good() || in.eof()) all.emplace_back(text.begin(), text.end());
  }
  return all;
}

void replay(const bytes& whole) {
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    // A copy of just this length, so that the address sanitizer sees a read past its end.
    const bytes input(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}

class mutator {
 public:
  mutator(std::uint64_t seed, const std::vector<bytes>& from) : chance_(seed), from_(from) {}

  bytes next() {
    bytes one = from_[below(from_.size())];
    for (std::size_t changes = 1 + below(6); changes > 0; --changes) change(one);
    if (one.size() > size_max) one.resize(size_max);
    return one;
  }

 private:
  std::size_t below(std::size_t end) { return end == 0 ? 0 : chance_() % end; }
  static auto at(bytes& one, std::size_t i) { return one.begin() + static_cast<std::ptrdiff_t>(i); }

  // The first byte chooses what is tested; it is seldom touched, since most others mean nothing.
  void change(bytes& one) {
    static constexpr char telling[] = "\r\n :;,=-+.\"\\/%0189afAFxX\t{}[]#'\0\x7f\x80\xff";
    const std::size_t first = below(20) == 0 ? 0 : 1;
    if (one.size() <= first) {
      one.push_back(static_cast<std::uint8_t>(chance_()));
      return;
    }
    const std::size_t place = first + below(one.size() - first);
    const std::size_t length = 1 + below(std::min<std::size_t>(one.size() - place, 32));
    switch (below(7)) {
      case 0:
        one[place] = static_cast<std::uint8_t>(one[place] ^ (1u << below(8)));
        break;
      case 1:
        one[place] = static_cast<std::uint8_t>(telling[below(sizeof telling - 1)]);
        break;
      case 2:
        one.insert(at(one, place), static_cast<std::uint8_t>(telling[below(sizeof telling - 1)]));
        break;
      case 3:
        one.erase(at(one, place), at(one, place + length));
        break;
      case 4: {  // said again, a few times
        const bytes part(at(one, place), at(one, place + length));
        for (std::size_t times = 1 + below(4); times > 0; --times) {
          one.insert(at(one, place), part.begin(), part.end());
        }
        break;
      }
      case 5: {  // a number that is on an edge
        static constexpr const char* edges[] = {
            "0",        "-1",         "18446744073709551615", "4294967296", "9223372036854775808",
            "7fffffff", "00000000001"};
        const std::string number = edges[below(std::size(edges))];
        one.insert(at(one, place), number.begin(), number.end());
        break;
      }
      default: {  // begins as one and ends as another
        const bytes& other = from_[below(from_.size())];
        one.resize(place);
        const std::size_t tail = below(other.size());
        one.insert(one.end(), other.end() - static_cast<std::ptrdiff_t>(tail), other.end());
      }
    }
  }

  std::mt19937_64 chance_;
  const std::vector<bytes>& from_;
};

const bytes* present = nullptr;

// A target that finds something wrong aborts; its input is worth keeping.
void keep_present(int) {
  const int file = ::open("fuzz.input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file >= 0 && ::write(file, present->data(), present->size()) >= 0) ::close(file);
  std::signal(SIGABRT, SIG_DFL);
}

int mutate(std::uint64_t seed, std::uint64_t runs, int seconds, const std::vector<bytes>& from) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::signal(SIGABRT, keep_present);
  mutator inputs(seed, from);
  std::uint64_t run = 0;
  for (; run < runs; ++run) {
    if (seconds != 0 && std::chrono::steady_clock::now() >= end) break;
    const bytes input = inputs.next();
    present = &input;
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%llu inputs from seed %llu\n", static_cast<unsigned long long>(run),
              static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool mutates = argc > 5 && std::strcmp(argv[1], "--mutate") == 0;
  const int first = mutates ? 5 : 1;
  const std::vector<bytes> all = read_all(argc - first, argv + first);
  if (all.empty()) {
    std::fprintf(stderr, "nothing to replay\n");
    return 1;
  }
  if (mutates) {
    return mutate(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10),
                  std::atoi(argv[4]), all);
  }
  for (const bytes& one : all) replay(one);
  std::printf("replayed %zu files\n", all.size());
  return 0;
}
