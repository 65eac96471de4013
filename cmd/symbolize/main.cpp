// SPDX-License-Identifier: Apache-2.0
//
// sigrun-symbolize [--daemon]
//
// Answers on descriptor 3 (with --daemon, in the background, a session of its own) or on standard
// input and output. The lines are described in src/report/symbolizer.hpp; a line
// "producer \t BUILD-ID or - \t PATH" is answered by one line.
//
// It ends when the other side does.
#include "symbols.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace sigrun::symbolize {
namespace {

std::string take_field(std::string& line) {
  const std::size_t tab = line.find('\t');
  std::string field = line.substr(0, tab);
  line.erase(0, tab == std::string::npos ? tab : tab + 1);
  return field;
}

// No tabs and newlines but those of the form.
std::string plain(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  }
  return text;
}

class session {
 public:
  session(int in, int out) : in_(in), out_(out) {}

  void serve() {
    for (std::string line; read_line(line);) {
      if (line == ".") {
        answer_ += ".\n";
        if (!send()) return;
        answer_.clear();
      } else {
        answer(std::move(line));
      }
    }
  }

 private:
  void answer(std::string line) {
    const std::string address = take_field(line);
    if (address == "producer") {
      const std::string id = take_field(line);
      answer_ += plain(symbols_.producer(line, id)) + "\n";
      return;
    }
    const std::uint64_t offset = std::strtoull(take_field(line).c_str(), nullptr, 16);
    const std::string id = take_field(line);
    for (const place& each : symbols_.find(line, id, offset)) {
      char tail[64];
      std::snprintf(tail, sizeof tail, "\t%d\t0x%" PRIx64 "\n", each.line, each.offset);
      answer_ += address + '\t' + plain(each.function) + '\t' + plain(each.file) + tail;
    }
  }

  bool read_line(std::string& line) {
    for (;;) {
      if (const std::size_t end = input_.find('\n'); end != std::string::npos) {
        line = input_.substr(0, end);
        input_.erase(0, end + 1);
        return true;
      }
      char piece[4096];
      const ssize_t n = ::read(in_, piece, sizeof piece);
      if (n <= 0) return false;
      input_.append(piece, static_cast<std::size_t>(n));
    }
  }

  bool send() {
    for (std::size_t at = 0; at < answer_.size();) {
      const ssize_t n = ::write(out_, answer_.data() + at, answer_.size() - at);
      if (n <= 0) return false;
      at += static_cast<std::size_t>(n);
    }
    return true;
  }

  int in_;
  int out_;
  std::string input_, answer_;
  symbols symbols_;
};

}  // namespace
}  // namespace sigrun::symbolize

int main(int argc, char** argv) {
  ::setenv("DEBUGINFOD_URLS", "", 1);  // nothing is fetched from anywhere
  if (argc == 2 && std::strcmp(argv[1], "--daemon") == 0) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid > 0 ? 0 : 1;
    ::setsid();
    ::prctl(PR_SET_NAME, "sigrun-symbols", 0, 0, 0);
    if (::chdir("/") != 0) return 1;
    sigrun::symbolize::session(3, 3).serve();
    return 0;
  }
  if (argc != 1) {
    std::fputs("usage: sigrun-symbolize [--daemon]\n", stderr);
    return 2;
  }
  sigrun::symbolize::session(0, 1).serve();
  return 0;
}
