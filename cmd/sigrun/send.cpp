// SPDX-License-Identifier: Apache-2.0
//
// `sigrun send SIGNAL PID`: sends a signal to a process, a thread or a group, with or without a
// value, and can wait for the process to end. A process is held by its pidfd from before the first
// signal, so none reaches a later process that got the same number.
#include "subcommands.hpp"
#include "tool_json.hpp"
#include "tool_process.hpp"
#include "tool_text.hpp"

#include "procfs/read.hpp"
#include "sys/clock.hpp"
#include "sys/file.hpp"
#include "sys/signal.hpp"

#include <sigrun/signal_names.hpp>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

namespace sigrun::cmd {
namespace {

constexpr char help[] =
    "Usage: sigrun send [OPTIONS] SIGNAL PID\n"
    "Sends SIGNAL (TERM, SIGRTMIN+3, 15; 0 only asks whether it may) to process PID.\n"
    "\n"
    "  -v, --value N      with this value, as sigqueue(3): 64 bits, decimal or 0x…, may be\n"
    "                     negative. Real-time signals always have one (0), so that a full queue\n"
    "                     is an error and not a silent loss\n"
    "  -t, --tid TID      to this thread of PID alone\n"
    "  -g, --group        to every process of the group whose number is PID\n"
    "  -n, --count N      N times (at most 1000000)\n"
    "  -r, --retry T      when the queue is full, try again for up to T, such as 500ms or 2s\n"
    "  -w, --wait[=T]     then wait until the process has ended, for at most T\n"
    "      --json         one JSON document\n"
    "  -h, --help         this text\n"
    "\n"
    "Exit code: 0 sent (and ended), 1 the process had not ended in time, 2 not sent, or sent only\n"
    "in part: the message says why.\n";

struct send_options {
  int signo = 0;
  int pid = 0;
  int tid = 0;
  bool group = false;
  bool has_value = false;
  std::uint64_t value = 0;
  std::uint64_t count = 1;
  std::chrono::milliseconds retry{0};
  bool wait = false;
  std::optional<std::chrono::milliseconds> timeout;
  bool as_json = false;
};

struct send_result {
  std::uint64_t sent = 0;
  std::uint64_t retries = 0;
};

std::uint64_t parse_value(std::string_view text) {
  std::string_view digits = text;
  const bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  }
  std::uint64_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, problem] = std::from_chars(digits.data(), end, value, base);
  constexpr std::uint64_t lowest = std::uint64_t{1} << 63;
  if (problem != std::errc{} || stop != end || (negative && value > lowest)) {
    throw tool_error("--value: '" + printable(text) +
                     "' is not a number of 64 bits, decimal or with 0x");
  }
  return negative ? ~value + 1 : value;
}

int parse_signal_name(std::string_view text) {
  if (text == "0") return 0;
  const int signo = parse_signal(text);
  if (signo == 0) {
    throw tool_error("'" + printable(text) +
                     "' is not a signal: a name (TERM, SIGUSR1, RTMIN+3) or a number from 1 to 64");
  }
  if (signo == 32 || signo == 33) {
    throw tool_error("signal " + std::to_string(signo) +
                     " is refused: the C library keeps it for its threads, and crashes or hangs "
                     "when others send it");
  }
  return signo;
}

bool queues(const send_options& o) { return o.has_value || o.signo >= signal_rt_min; }

siginfo_t make_info(const send_options& o) {
  siginfo_t info{};
  info.si_signo = o.signo;
  info.si_code = SI_QUEUE;
  info.si_pid = sys::getpid();
  info.si_uid = sys::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(o.value);
  return info;
}

// One try; the kernel's value.
long send_once(const send_options& o, const process_handle* process, const siginfo_t& info) {
  if (o.group) return sys::kill(-o.pid, o.signo);
  if (o.tid != 0) {
    return queues(o) ? sys::rt_tgsigqueueinfo(o.pid, o.tid, o.signo, &info)
                     : sys::tgkill(o.pid, o.tid, o.signo);
  }
  return sys::pidfd_send_signal(process->fd(), o.signo, queues(o) ? &info : nullptr, 0);
}

std::string target(const send_options& o) {
  if (o.group) return "process group " + std::to_string(o.pid);
  if (o.tid != 0) {
    return "thread " + std::to_string(o.tid) + " of process " + std::to_string(o.pid);
  }
  return "process " + std::to_string(o.pid);
}

std::string owner(const send_options& o) {
  try {
    const auto status = procfs::read_status(o.pid, o.pid);
    return ": it belongs to user " + std::to_string(status.uid) + ", you are user " +
           std::to_string(sys::getuid());
  } catch (const std::exception&) {
    return ": it belongs to another user";
  }
}

std::string queue_state(const send_options& o) {
  try {
    const auto status = procfs::read_status(o.pid, o.pid);
    return " (" + std::to_string(status.queued) + " signals queued for user " +
           std::to_string(status.uid) + ", limit " + std::to_string(status.queue_limit) + ")";
  } catch (const std::exception&) {
    return {};
  }
}

[[noreturn]] void fail(const send_options& o, const send_result& result, int code) {
  std::string why;
  switch (code) {
    case ESRCH:
      if (o.group) {
        why = "there is no process group " + std::to_string(o.pid);
      } else if (o.tid != 0) {
        why =
            "there is no thread " + std::to_string(o.tid) + " in process " + std::to_string(o.pid);
      } else {
        why = "process " + std::to_string(o.pid) + " has ended";
      }
      break;
    case EPERM:
      why = target(o) + " may not be signalled by you" + (o.group ? std::string{} : owner(o));
      break;
    case EAGAIN:
      why = "the signal queue is full: RLIMIT_SIGPENDING is used up" + queue_state(o) +
            (o.retry.count() == 0 ? "; --retry waits for room" : "; no room within --retry");
      break;
    case ENOSYS:
      why = "this kernel cannot send through a pidfd (Linux 5.1 can)";
      break;
    default:
      why = "the kernel refused: " + std::generic_category().message(code);
      break;
  }
  if (o.count > 1) {
    why += "; sent " + std::to_string(result.sent) + " of " + std::to_string(o.count);
  }
  throw tool_error(why);
}

send_result send_all(const send_options& o, const process_handle* process) {
  const siginfo_t info = make_info(o);
  const std::int64_t patience = o.retry.count() * 1'000'000;
  send_result result;
  std::int64_t deadline = 0;  // set by the first refusal of each signal
  int pause_ms = 1;
  while (result.sent < o.count) {
    const long answer = send_once(o, process, info);
    if (!sys::failed(answer)) {
      ++result.sent;
      deadline = 0;
      pause_ms = 1;
      continue;
    }
    const std::int64_t now = sys::now_ns();
    if (deadline == 0) deadline = now + patience;
    if (answer != -EAGAIN || now >= deadline) fail(o, result, static_cast<int>(-answer));
    ++result.retries;
    poll(nullptr, 0, pause_ms);
    pause_ms = std::min(2 * pause_ms, 50);
  }
  return result;
}

send_options read_options(int argc, char** argv) {
  send_options o;
  tool_line line(argc, argv,
                 {{'v', "value", argument::required},
                  {'t', "tid", argument::required},
                  {'g', "group"},
                  {'n', "count", argument::required},
                  {'r', "retry", argument::required},
                  {'w', "wait", argument::optional},
                  {1, "json"}});
  while (const char option = line.next()) {
    switch (option) {
      case 'v':
        o.value = parse_value(line.value());
        o.has_value = true;
        break;
      case 't':
        o.tid = parse_id(line.value(), "thread id");
        break;
      case 'g':
        o.group = true;
        break;
      case 'n':
        o.count = parse_count(line.value(), "--count", 1'000'000);
        break;
      case 'r':
        o.retry = parse_time(line.value(), "--retry");
        break;
      case 'w':
        o.wait = true;
        if (!line.value().empty()) o.timeout = parse_time(line.value(), "--wait");
        break;
      default:
        o.as_json = true;
        break;
    }
  }
  const auto words = line.operands({"SIGNAL", "PID"});
  o.signo = parse_signal_name(words[0]);
  o.pid = parse_id(words[1], o.group ? "process group" : "process id");
  if (o.group && o.pid == 1) {
    // kill(-1) is every process there is.
    throw tool_error("--group 1 is refused: to the kernel it means every process");
  }
  if (o.group && o.tid != 0) throw tool_error("--group and --tid exclude each other");
  if (o.group && o.wait) throw tool_error("--group and --wait exclude each other");
  if (o.group && o.has_value) {
    throw tool_error(
        "--group and --value exclude each other: the kernel sends no value to a group");
  }
  if (o.signo == 0 && (o.has_value || o.count > 1)) {
    throw tool_error("signal 0 only asks: it has no --value and no --count");
  }
  return o;
}

void report(const send_options& o, const send_result& result, const std::string* end, bool ended,
            std::int64_t waited_ms) {
  const std::string name = o.signo == 0 ? "0" : std::string{signal_name(o.signo)};
  if (o.as_json) {
    json out = {{"signal", name}, {"number", o.signo}, {"pid", o.pid}};
    if (o.tid != 0) out["tid"] = o.tid;
    out["group"] = o.group;
    if (queues(o)) out["value"] = o.value;
    out["sent"] = result.sent;
    out["retries"] = result.retries;
    if (o.wait) {
      out["ended"] = ended;
      out["waited_ms"] = waited_ms;
      if (end != nullptr && !end->empty()) out["end"] = *end;
    }
    print_json(out, 2);
    return;
  }
  if (!o.wait) return;  // as kill(1): nothing to say when all went well
  print("process " + std::to_string(o.pid) + (ended ? " ended after " : " has not ended within ") +
        std::to_string(waited_ms) + " ms" + (end != nullptr && !end->empty() ? ": " + *end : "") +
        "\n");
}

int body(int argc, char** argv) {
  const send_options o = read_options(argc, argv);
  std::unique_ptr<process_handle> process;
  if (!o.group) process = std::make_unique<process_handle>(o.pid);
  const send_result result = send_all(o, process.get());
  if (!o.wait) {
    report(o, result, nullptr, false, 0);
    return 0;
  }
  const std::int64_t begin = sys::now_ns();
  const bool ended = process->wait_end(o.timeout);
  const std::int64_t waited_ms = (sys::now_ns() - begin) / 1'000'000;
  const std::string end = ended ? process->end() : std::string{};
  report(o, result, &end, ended, waited_ms);
  return ended ? 0 : 1;
}

}  // namespace

int send_main(int argc, char** argv) { return run_tool("send", help, argc, argv, body); }

}  // namespace sigrun::cmd
