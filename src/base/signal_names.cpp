// SPDX-License-Identifier: Apache-2.0
#include <sigrun/signal_names.hpp>
#include <sigrun/signal_set.hpp>

#include <csignal>

namespace sigrun {
namespace {

// Index is the signal number. One table for both CPUs: their numbers are the same (signal(7)).
constexpr std::string_view names[signal_max + 1] = {
    "SIG?",        "SIGHUP",      "SIGINT",      "SIGQUIT",     "SIGILL",      "SIGTRAP",
    "SIGABRT",     "SIGBUS",      "SIGFPE",      "SIGKILL",     "SIGUSR1",     "SIGSEGV",
    "SIGUSR2",     "SIGPIPE",     "SIGALRM",     "SIGTERM",     "SIGSTKFLT",   "SIGCHLD",
    "SIGCONT",     "SIGSTOP",     "SIGTSTP",     "SIGTTIN",     "SIGTTOU",     "SIGURG",
    "SIGXCPU",     "SIGXFSZ",     "SIGVTALRM",   "SIGPROF",     "SIGWINCH",    "SIGIO",
    "SIGPWR",      "SIGSYS",      "SIG32",       "SIG33",       "SIGRTMIN",    "SIGRTMIN+1",
    "SIGRTMIN+2",  "SIGRTMIN+3",  "SIGRTMIN+4",  "SIGRTMIN+5",  "SIGRTMIN+6",  "SIGRTMIN+7",
    "SIGRTMIN+8",  "SIGRTMIN+9",  "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13",
    "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMIN+17", "SIGRTMIN+18", "SIGRTMIN+19",
    "SIGRTMIN+20", "SIGRTMIN+21", "SIGRTMIN+22", "SIGRTMIN+23", "SIGRTMIN+24", "SIGRTMIN+25",
    "SIGRTMIN+26", "SIGRTMIN+27", "SIGRTMIN+28", "SIGRTMIN+29", "SIGRTMAX"};

constexpr char upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

constexpr bool same(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (upper(a[i]) != upper(b[i])) return false;
  }
  return true;
}

// substr() would throw, and the zone has no exceptions.
constexpr std::string_view after(std::string_view text, std::size_t count) noexcept {
  text.remove_prefix(count);
  return text;
}

constexpr bool begins(std::string_view text, std::string_view head) noexcept {
  return text.size() >= head.size() && same({text.data(), head.size()}, head);
}

// Decimal digits only, at most four of them; -1 for anything else.
constexpr int number(std::string_view text) noexcept {
  if (text.empty() || text.size() > 4) return -1;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

constexpr int in_range(int signo, int low) noexcept {
  return signo >= low && signo <= signal_max ? signo : 0;
}

struct code_name {
  int signo;  // 0: any signal
  int code;
  std::string_view name;
};

// Two columns a line keep the table readable.
// clang-format off
constexpr code_name codes[] = {
    {0, SI_USER, "SI_USER"},           {0, SI_KERNEL, "SI_KERNEL"},
    {0, SI_QUEUE, "SI_QUEUE"},         {0, SI_TIMER, "SI_TIMER"},
    {0, SI_MESGQ, "SI_MESGQ"},         {0, SI_ASYNCIO, "SI_ASYNCIO"},
    {0, SI_SIGIO, "SI_SIGIO"},         {0, SI_TKILL, "SI_TKILL"},
    {0, -60, "SI_ASYNCNL"},            {SIGCHLD, CLD_EXITED, "CLD_EXITED"},
    {SIGCHLD, CLD_KILLED, "CLD_KILLED"},     {SIGCHLD, CLD_DUMPED, "CLD_DUMPED"},
    {SIGCHLD, CLD_TRAPPED, "CLD_TRAPPED"},   {SIGCHLD, CLD_STOPPED, "CLD_STOPPED"},
    {SIGCHLD, CLD_CONTINUED, "CLD_CONTINUED"},
    {SIGSEGV, 1, "SEGV_MAPERR"},       {SIGSEGV, 2, "SEGV_ACCERR"},
    {SIGSEGV, 3, "SEGV_BNDERR"},       {SIGSEGV, 4, "SEGV_PKUERR"},
    {SIGSEGV, 8, "SEGV_MTEAERR"},      {SIGSEGV, 9, "SEGV_MTESERR"},
    {SIGBUS, 1, "BUS_ADRALN"},         {SIGBUS, 2, "BUS_ADRERR"},
    {SIGBUS, 3, "BUS_OBJERR"},         {SIGBUS, 4, "BUS_MCEERR_AR"},
    {SIGBUS, 5, "BUS_MCEERR_AO"},      {SIGFPE, 1, "FPE_INTDIV"},
    {SIGFPE, 2, "FPE_INTOVF"},         {SIGFPE, 3, "FPE_FLTDIV"},
    {SIGFPE, 4, "FPE_FLTOVF"},         {SIGFPE, 5, "FPE_FLTUND"},
    {SIGFPE, 6, "FPE_FLTRES"},         {SIGFPE, 7, "FPE_FLTINV"},
    {SIGFPE, 8, "FPE_FLTSUB"},         {SIGILL, 1, "ILL_ILLOPC"},
    {SIGILL, 2, "ILL_ILLOPN"},         {SIGILL, 3, "ILL_ILLADR"},
    {SIGILL, 4, "ILL_ILLTRP"},         {SIGILL, 5, "ILL_PRVOPC"},
    {SIGILL, 6, "ILL_PRVREG"},         {SIGILL, 7, "ILL_COPROC"},
    {SIGILL, 8, "ILL_BADSTK"},         {SIGTRAP, 1, "TRAP_BRKPT"},
    {SIGTRAP, 2, "TRAP_TRACE"},        {SIGTRAP, 3, "TRAP_BRANCH"},
    {SIGTRAP, 4, "TRAP_HWBKPT"},       {SIGIO, 1, "POLL_IN"},
    {SIGIO, 2, "POLL_OUT"},            {SIGIO, 3, "POLL_MSG"},
    {SIGIO, 4, "POLL_ERR"},            {SIGIO, 5, "POLL_PRI"},
    {SIGIO, 6, "POLL_HUP"},            {SIGSYS, 1, "SYS_SECCOMP"},
    {SIGSYS, 2, "SYS_USER_DISPATCH"}};
// clang-format on

}  // namespace

std::string_view signal_name(int signo) noexcept {
  return names[signal_set::valid(signo) ? signo : 0];
}

int parse_signal(std::string_view text) noexcept {
  if (const int plain = number(text); plain >= 0) return in_range(plain, 1);
  if (begins(text, "SIG")) text.remove_prefix(3);
  if (begins(text, "RTMIN")) {
    text.remove_prefix(5);
    if (text.empty()) return signal_rt_min;
    const int offset = text[0] == '+' ? number(after(text, 1)) : -1;
    return offset < 0 ? 0 : in_range(signal_rt_min + offset, signal_rt_min);
  }
  if (begins(text, "RTMAX")) {
    text.remove_prefix(5);
    if (text.empty()) return signal_rt_max;
    const int offset = text[0] == '-' ? number(after(text, 1)) : -1;
    return offset < 0 ? 0 : in_range(signal_rt_max - offset, signal_rt_min);
  }
  if (same(text, "POLL")) return SIGIO;
  if (same(text, "CLD")) return SIGCHLD;
  if (same(text, "IOT")) return SIGABRT;
  for (int signo = 1; signo < 32; ++signo) {
    if (same(text, after(names[signo], 3))) return signo;
  }
  return 0;
}

default_action signal_default_action(int signo) noexcept {
  constexpr auto core = signal_set::of(SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV,
                                       SIGXCPU, SIGXFSZ, SIGSYS);
  constexpr auto ignored = signal_set::of(SIGCHLD, SIGURG, SIGWINCH);
  constexpr auto stops = signal_set::of(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU);
  if (core.has(signo)) return default_action::core;
  if (ignored.has(signo)) return default_action::ignore;
  if (stops.has(signo)) return default_action::stop;
  return signo == SIGCONT ? default_action::resume : default_action::terminate;
}

std::string_view signal_code_name(int signo, int code) noexcept {
  for (const code_name& entry : codes) {
    if ((entry.signo == 0 || entry.signo == signo) && entry.code == code) return entry.name;
  }
  return "?";
}

std::string_view to_string(signal_origin origin) noexcept {
  constexpr std::string_view text[] = {"kernel", "user", "runtime", "bridge", "simulated"};
  const auto index = static_cast<unsigned>(origin);
  return index < 5 ? text[index] : "?";
}

std::string_view to_string(signal_cause cause) noexcept {
  constexpr std::string_view text[] = {"kernel",        "kill",  "tkill", "queue", "timer",
                                       "message_queue", "child", "fault", "poll",  "system_call"};
  const auto index = static_cast<unsigned>(cause);
  return index < 10 ? text[index] : "?";
}

}  // namespace sigrun
