// SPDX-License-Identifier: Apache-2.0
#include "report/symbolizer.hpp"

#include "sys/clock.hpp"
#include "sys/file.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>

namespace sigrun::report {
namespace {

constexpr std::size_t text_room = 1 << 20;
constexpr std::size_t slots = 8192;  // a power of two
constexpr std::size_t slots_full = slots / 4 * 3;

struct slot {
  std::uint64_t address = 0;  // 0: free
  std::uint32_t at = 0;       // its lines in `text`, each with its newline
  std::uint32_t size = 0;
};

struct memory_of_answers {
  char text[text_room];
  slot table[slots];
};

constinit memory_of_answers* kept = nullptr;
constinit std::size_t text_used = 0;
constinit std::size_t slots_used = 0;
constinit int helper = -1;

slot& slot_of(std::uint64_t address) noexcept {
  std::uint64_t hash = address * 0x9e3779b97f4a7c15U;
  for (std::size_t at = hash >> 51;; ++at) {
    slot& here = kept->table[at % slots];
    if (here.address == address || here.address == 0) return here;
  }
}

void forget_all() noexcept {
  for (slot& each : kept->table) each = slot{};
  text_used = 0;
  slots_used = 0;
}

void give_up() noexcept {
  sys::close(helper);
  helper = -1;
}

bool wait_for(short events, std::int64_t deadline_ns) noexcept {
  const std::int64_t left = deadline_ns - sys::now_ns();
  if (left <= 0) return false;
  pollfd wanted{helper, events, 0};
  const sys::timespec64 most = sys::to_timespec(left);
  const long n = sys::call(SYS_ppoll, &wanted, 1, &most, nullptr, 0);
  return n > 0 || n == -EINTR;
}

struct request {
  std::int64_t deadline_ns;
  bool failed = false;

  static void send(void* arg, std::string_view text) noexcept {
    auto& self = *static_cast<request*>(arg);
    while (!text.empty() && !self.failed) {
      const long n = sys::call(SYS_sendto, helper, text.data(), text.size(),
                               MSG_NOSIGNAL | MSG_DONTWAIT, nullptr, 0);
      if (n > 0) {
        text.remove_prefix(static_cast<std::size_t>(n));
      } else if (n != -EINTR && (n != -EAGAIN || !wait_for(POLLOUT, self.deadline_ns))) {
        self.failed = true;
      }
    }
  }
};

// Reads until the line with the dot; what came lies at text_used. False: it did not come.
bool receive(std::int64_t deadline_ns, std::size_t& size) noexcept {
  size = 0;
  for (;;) {
    char* const to = kept->text + text_used + size;
    const std::size_t room = text_room - text_used - size;
    if (room == 0) return false;
    const long n = sys::call(SYS_recvfrom, helper, to, room, MSG_DONTWAIT, nullptr, nullptr);
    if (n > 0) {
      size += static_cast<std::size_t>(n);
      const char* const end = kept->text + text_used + size;
      if (size >= 2 && end[-1] == '\n' && end[-2] == '.' && (size == 2 || end[-3] == '\n')) {
        return true;
      }
    } else if (n == 0 || (n != -EINTR && (n != -EAGAIN || !wait_for(POLLIN, deadline_ns)))) {
      return false;
    }
  }
}

std::uint64_t take_number(std::string_view& text, unsigned base) noexcept {
  std::uint64_t value = 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
    if (digit >= static_cast<int>(base)) break;
    value = value * base + static_cast<unsigned>(digit);
  }
  text.remove_prefix(at);
  return value;
}

std::string_view take_field(std::string_view& line) noexcept {
  const std::size_t tab = line.find('\t');
  const std::string_view field = line.substr(0, tab);
  line.remove_prefix(tab == std::string_view::npos ? line.size() : tab + 1);
  return field;
}

std::string_view take_line(std::string_view& text) noexcept {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

void keep_answers(std::size_t size) noexcept {
  std::string_view text{kept->text + text_used, size - 2};  // without the dot
  while (!text.empty()) {
    const char* const begin = text.data();
    std::string_view line = take_line(text);
    if (line.substr(0, 2) == "0x") line.remove_prefix(2);
    slot& of = slot_of(take_number(line, 16));
    if (of.address == 0) continue;  // nobody asked
    if (of.size == 0) of.at = static_cast<std::uint32_t>(begin - kept->text);
    of.size = static_cast<std::uint32_t>(text.data() - kept->text) - of.at;
  }
  text_used += size;
}

}  // namespace

long use_symbolizer(int fd) noexcept {
  if (kept == nullptr) {
    const long mapped = sys::call(SYS_mmap, nullptr, sizeof(memory_of_answers),
                                  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sys::failed(mapped)) return mapped;
    kept = reinterpret_cast<memory_of_answers*>(mapped);
  }
  if (helper >= 0) sys::close(helper);
  helper = fd;
  return 0;
}

bool has_symbolizer() noexcept { return helper >= 0; }

void learn(const symbol::frame* frames, std::size_t count, std::int64_t deadline_ns) noexcept {
  if (helper < 0) return;
  if (text_used > text_room / 2 || slots_used + count > slots_full) forget_all();
  request state{deadline_ns};
  std::size_t asked = 0;
  {
    sink out(&request::send, &state);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t address = frames[i].lookup();
      symbol::module_view image;
      if (address == 0 || !symbol::find_module(address, image) || image.path[0] != '/') continue;
      slot& of = slot_of(address);
      if (of.address == address) continue;
      of.address = address;
      ++slots_used;
      ++asked;
      out.hex(address).add('\t').hex(address - image.bias).add('\t');
      if (image.build_id_size == 0) out.add('-');
      out.bytes(image.build_id, image.build_id_size).add('\t').add(image.name()).add('\n');
    }
    if (asked != 0) out.add(".\n");
  }
  std::size_t size = 0;
  if (asked == 0) return;
  if (state.failed || !receive(deadline_ns, size)) {
    give_up();
    return;
  }
  keep_answers(size);
}

std::size_t learned(std::uint64_t address, code_line (&out)[lines_max]) noexcept {
  if (kept == nullptr || address == 0) return 0;
  const slot& of = slot_of(address);
  if (of.address != address || of.size == 0) return 0;
  std::string_view text{kept->text + of.at, of.size};
  std::size_t count = 0;
  while (!text.empty() && count < lines_max) {
    std::string_view line = take_line(text);
    take_field(line);
    code_line& to = out[count++];
    to = code_line{};
    to.function = take_field(line);
    to.file = take_field(line);
    std::string_view number = take_field(line);
    to.line = static_cast<std::uint32_t>(take_number(number, 10));
    number = take_field(line);
    if (number.substr(0, 2) == "0x") number.remove_prefix(2);
    to.offset = take_number(number, 16);
  }
  return count;
}

}  // namespace sigrun::report
