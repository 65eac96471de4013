// SPDX-License-Identifier: Apache-2.0
#include "doctor_rules.hpp"

#include "tool_text.hpp"

#include <sigrun/signal_names.hpp>

#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

namespace sigrun::cmd {
namespace {

using procfs::process_view;
using procfs::thread_view;
using findings = std::vector<finding>;

constexpr auto unblockable = signal_set::of(SIGKILL, SIGSTOP);
constexpr auto of_glibc = signal_set::of(32, 33);
constexpr auto ours = signal_set::all() - unblockable - of_glibc;
constexpr auto faults = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS);
// Those by which people and service managers end a program, or tell it something.
constexpr auto from_people = signal_set::of(SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2);
constexpr std::size_t evidence_max = 8;

std::string hex(signal_set set) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(set.bits()));
  return text;
}

std::string thread_word(const thread_view& thread) {
  return "thread " + std::to_string(thread.status.tid) + " (" + printable(thread.status.name) + ")";
}

std::string count_of(std::size_t count, std::string_view one, std::string_view several) {
  return std::to_string(count) + " " + std::string{count == 1 ? one : several};
}

std::string is_are(signal_set set) { return set.size() == 1 ? " is " : " are "; }

void add_evidence(finding& f, std::string line) {
  if (f.evidence.size() < evidence_max) {
    f.evidence.push_back(std::move(line));
  } else if (f.evidence.size() == evidence_max) {
    f.evidence.emplace_back("and more of the same");
  }
}

signal_set members(signal_set set, bool (*wanted)(default_action)) {
  signal_set out;
  set.for_each([&](int signo) {
    if (wanted(signal_default_action(signo))) out |= signal_set::of(signo);
  });
  return out;
}

// Those whose default action ends or stops the process.
signal_set deadly(signal_set set) {
  return members(set, [](default_action action) {
    return action == default_action::terminate || action == default_action::core ||
           action == default_action::stop;
  });
}

signal_set left_to_default(const process_view& view) {
  return signal_set::all() - view.main().caught - view.main().ignored;
}

std::string lasting(const doctor_input& in) {
  return "in each of " + count_of(static_cast<std::size_t>(in.looks), "look", "looks") + " over " +
         std::to_string(in.span.count()) + " ms";
}

// ------------------------------------------------------------------------- the process as a whole

void process_state(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  if (main.state == 'Z' && in.view.threads.size() == 1) {
    out.push_back({"already-ended",
                   severity::error,
                   {},
                   {main.tid},
                   "The process has ended, and its parent has not waited for it.",
                   "It is a zombie: signals do nothing to it, SIGKILL neither, and its process id "
                   "stays taken.",
                   {"State: Z; PPid: " + std::to_string(main.ppid)},
                   "Look at the parent: sigrun doctor " + std::to_string(main.ppid) + "."});
  }
  if (main.state == 'T') {
    out.push_back({"stopped",
                   severity::warning,
                   in.view.main().shared_pending,
                   {main.tid},
                   "The process is stopped.",
                   "Until SIGCONT comes, it handles no signal; only SIGKILL acts at once. All "
                   "others stay pending.",
                   {"State: T; ShdPnd: " + hex(main.shared_pending)},
                   "sigrun send CONT " + std::to_string(in.view.pid) + " lets it go on."});
  }
  if (main.tracer_pid != 0) {
    out.push_back(
        {"traced",
         severity::note,
         {},
         {main.tid},
         "A debugger or tracer, process " + std::to_string(main.tracer_pid) + ", is attached.",
         "Each signal stops the thread and goes to the tracer first, which may change or "
         "drop it.",
         {"TracerPid: " + std::to_string(main.tracer_pid)},
         "If signals get lost, detach it and look again."});
  }
}

void sleeps_uninterruptibly(const doctor_input& in, findings& out) {
  finding f{"thread-uninterruptible", severity::warning, {}, {}, "", "", {}, ""};
  for (const thread_view& thread : in.view.threads) {
    if (thread.status.state != 'D') continue;
    f.tids.push_back(thread.status.tid);
    std::string line = thread_word(thread) + ": State: D " + lasting(in);
    if (!thread.wchan.empty()) line += "; in the kernel's " + thread.wchan;
    if (thread.call && thread.call->number >= 0) {
      line += "; system call " + std::to_string(thread.call->number);
    }
    add_evidence(f, line);
  }
  if (f.tids.empty()) return;
  f.text = count_of(f.tids.size(), "thread is", "threads are") + " in uninterruptible sleep.";
  f.why =
      "Such a thread takes no signal, SIGKILL neither, until the kernel has done what it waits "
      "for: mostly a disk, a network file system or a vfork child.";
  f.advice = "Look at what the thread waits for; if it is a file system, whether that answers.";
  out.push_back(std::move(f));
}

void first_in_namespace(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  if (main.ns_pids.empty() || main.ns_pids.back() != 1) return;
  constexpr auto needed = signal_set::of(SIGTERM, SIGINT);
  const signal_set dealt_with =
      (main.caught - in.view.blocked_by_all()) | in.view.taken_synchronously();
  const signal_set missing = needed - dealt_with;
  if (missing.empty()) return;
  std::string ids;
  for (const int id : main.ns_pids) ids += " " + std::to_string(id);
  out.push_back(
      {"pid1-no-handler",
       severity::error,
       missing,
       {main.tid},
       "The process is PID 1 of its namespace and does not handle " + format_set(missing) + ".",
       "For PID 1 the kernel has no default action: a signal without a handler is thrown "
       "away. A container that is told to stop will sit out its whole grace period and "
       "then be killed.",
       {"NSpid:" + ids, "SigCgt: " + hex(main.caught)},
       "Start it under an init, sigrun run -- program, or give it a handler."});
}

void queue_fills_up(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  if (main.queue_limit == 0 || main.queued < main.queue_limit - main.queue_limit / 5) return;
  const bool full = main.queued >= main.queue_limit;
  out.push_back(
      {"queue-near-limit",
       full ? severity::error : severity::warning,
       {},
       {},
       "The signal queue of user " + std::to_string(main.uid) +
           (full ? " is full." : " is nearly full."),
       "At the limit sigqueue() fails with EAGAIN, timers lose expirations, and real-time "
       "signals sent by kill() are merged without any error. The limit counts the "
       "signals of all processes of the user.",
       {"SigQ: " + std::to_string(main.queued) + "/" + std::to_string(main.queue_limit)},
       "Find who does not take its signals (sigrun ps shows what is pending), or raise "
       "RLIMIT_SIGPENDING (ulimit -i)."});
}

void unreaped_children(const doctor_input& in, findings& out) {
  if (in.zombies.empty()) return;
  finding f{"unreaped-children", severity::warning, signal_set::of(SIGCHLD), {}, "", "", {}, ""};
  f.text =
      count_of(in.zombies.size(), "child has", "children have") + " ended and not been waited for.";
  f.why =
      "Each keeps a process id and a place in the process table; when these run out, nothing can "
      "be started any more.";
  for (const procfs::zombie& child : in.zombies) {
    add_evidence(f, "process " + std::to_string(child.pid) + " (" + printable(child.name) +
                        "): State: Z, PPid: " + std::to_string(in.view.pid));
  }
  f.advice =
      in.view.main().caught.has(SIGCHLD)
          ? "It catches SIGCHLD: SIGCHLDs merge, so the handler has to call waitpid(WNOHANG) "
            "until nothing is left, not once for each signal."
          : "Wait for children, or run the program under sigrun run, which waits for those "
            "that are orphaned.";
  out.push_back(std::move(f));
}

// ------------------------------------------------------------------------------ masks of threads

// What the signals do in a thread that should not have got them.
std::string consequence(const process_view& view, signal_set set) {
  const signal_set ends = deadly(set & left_to_default(view));
  const signal_set handled = set & view.main().caught;
  const signal_set lost = set - ends - handled;
  std::string text;
  if (!ends.empty()) {
    text += format_set(ends) + (ends.size() == 1 ? " has its" : " have their") +
            " default action there, which ends or stops the process. ";
  }
  if (!handled.empty()) {
    text += "For " + format_set(handled) + " the handler runs there instead. ";
  }
  if (!lost.empty()) text += format_set(lost) + is_are(lost) + "thrown away there. ";
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

void thread_steals(const doctor_input& in, findings& out) {
  const process_view& view = in.view;
  const signal_set taken = view.taken_synchronously() & ours;
  // Without a taker in sight, the initial thread's block tells that the program means to take the
  // signal somewhere; with the default action in place, an open thread ends the process instead.
  const signal_set held = deadly(view.main().blocked & ours & left_to_default(view)) - taken;
  finding f{"thread-steals", severity::warning, {}, {}, "", "", {}, ""};
  for (const thread_view& thread : view.threads) {
    const signal_set open = (taken | held) - thread.ever_blocked - thread.awaited;
    if (open.empty()) continue;
    f.signals |= open;
    f.tids.push_back(thread.status.tid);
    add_evidence(f, thread_word(thread) + ": SigBlk: " + hex(thread.status.blocked) +
                        ", open: " + format_set(open));
  }
  if (f.tids.empty()) return;
  for (const thread_view& thread : view.threads) {
    if ((thread.awaited & f.signals).empty()) continue;
    add_evidence(f, thread_word(thread) + " waits for " + format_set(thread.awaited & f.signals));
  }
  if (!(view.signalfds & f.signals).empty()) {
    add_evidence(f, "a signalfd reads " + format_set(view.signalfds & f.signals));
  }
  f.text = count_of(f.tids.size(), "thread leaves", "threads leave") + " open what " +
           ((f.signals & taken).empty() ? "the initial thread blocks: "
                                        : "is meant for sigwait or a signalfd: ") +
           format_set(f.signals) + ".";
  f.why = "The kernel may give a signal for the process to any thread that does not block it. " +
          consequence(view, f.signals);
  f.advice =
      "Block these signals before the first thread is started, or in each thread as its first "
      "act; threads made by libraries inherit the mask of the thread that makes them.";
  out.push_back(std::move(f));
}

void pending_stuck(const doctor_input& in, findings& out) {
  const process_view& view = in.view;
  const signal_set all = view.blocked_by_all() & ours;
  const signal_set for_process = view.main().shared_pending & all;
  finding f{"pending-stuck", severity::error, for_process, {}, "", "", {}, ""};
  if (!for_process.empty()) {
    add_evidence(f, "ShdPnd: " + hex(view.main().shared_pending) + ", and " +
                        format_set(for_process) + is_are(for_process) + "blocked by " +
                        (view.threads.size() == 1 ? "the only thread" : "every thread"));
  }
  for (const thread_view& thread : view.threads) {
    const signal_set own = thread.status.pending & thread.status.blocked & ours;
    if (own.empty()) continue;
    f.signals |= own;
    f.tids.push_back(thread.status.tid);
    add_evidence(f, thread_word(thread) + ": SigPnd: " + hex(thread.status.pending) +
                        ", SigBlk: " + hex(thread.status.blocked));
  }
  if (f.signals.empty()) return;
  const bool is_read = (f.signals - view.signalfds).empty();
  if (is_read) f.how_bad = severity::warning;
  f.text = format_set(f.signals) + is_are(f.signals) + "pending and not taken: blocked " +
           (for_process.empty() ? "by the thread it was sent to" : "by every thread") + ", " +
           lasting(in) + ".";
  f.why = std::string{is_read ? "A signalfd is there for it, and nobody reads it. "
                              : "Nobody waits for it either, so it will not be delivered. "} +
          "More standard signals of the same number are merged into this one.";
  f.advice = is_read ? "See what the thread that reads the signalfd is busy with."
                     : "Unblock it in the thread that should get it, or take it with sigwait. If "
                       "the program never blocked it, it was started with a blocked mask.";
  out.push_back(std::move(f));
}

void handler_never_runs(const doctor_input& in, findings& out) {
  const process_view& view = in.view;
  signal_set set = (view.main().caught & view.blocked_by_all() & ours) - faults;
  set -= view.taken_synchronously();
  // To hold SIGCHLD back while waiting for a child is how shells do it.
  const bool waits_for_child =
      std::any_of(view.threads.begin(), view.threads.end(), [](const thread_view& thread) {
        return thread.call &&
               (thread.call->number == SYS_wait4 || thread.call->number == SYS_waitid);
      });
  if (waits_for_child) set -= signal_set::of(SIGCHLD);
  if (set.empty()) return;
  out.push_back(
      {"handler-never-runs",
       severity::warning,
       set,
       {},
       "There " + std::string{set.size() == 1 ? "is a handler for " : "are handlers for "} +
           format_set(set) + ", but every thread blocks " + (set.size() == 1 ? "it" : "them") +
           ", " + lasting(in) + ".",
       "The handler cannot run. Either all threads sit in a handler or a critical section "
       "for longer than that, or the mask was inherited or forgotten.",
       {"SigCgt: " + hex(view.main().caught),
        "blocked by all of " + count_of(view.threads.size(), "thread", "threads") + ": " +
            format_set(view.blocked_by_all())},
       "Unblock the signals in at least one thread after the handlers are installed."});
}

void blocked_since_start(const doctor_input& in, findings& out) {
  const process_view& view = in.view;
  const signal_set idle = view.blocked_by_all() & from_people;
  const signal_set set = idle - view.main().caught - view.taken_synchronously();
  if (set.empty()) return;
  out.push_back(
      {"blocked-since-start",
       severity::warning,
       set,
       {},
       "Every thread blocks " + format_set(set) + ", and the program does nothing to ever take " +
           (set.size() == 1 ? "it." : "them."),
       std::string{set.has(SIGTERM) ? "SIGTERM cannot end this process, only SIGKILL can. "
                                    : "Whoever sends it sees success and no effect. "} +
           "This is typical of a program that was started by a thread with blocked "
           "signals: the mask is inherited through fork and exec.",
       {"blocked by all of " + count_of(view.threads.size(), "thread", "threads") + ": " +
        format_set(view.blocked_by_all())},
       "Start children with a clean mask: posix_spawnattr_setsigmask, Python's "
       "restore_signals, or sigrun::process::spawn."});
}

// ----------------------------------------------------------------------------- dispositions

void fault_signals(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  constexpr auto hard = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL);
  const signal_set caught = main.caught & hard;
  if (!caught.empty()) {
    out.push_back({"catches-faults",
                   severity::note,
                   caught,
                   {},
                   "There " + std::string{caught.size() == 1 ? "is a handler" : "are handlers"} +
                       " for synchronous faults: " + format_set(caught) + ".",
                   "That is usual for crash reporters, sanitizers and language runtimes. A handler "
                   "that returns without repair meets the same fault again at once; one without an "
                   "alternate stack cannot run on a stack overflow.",
                   {"SigCgt: " + hex(main.caught)},
                   "Nothing, if you know whose handler it is."});
  }
  finding f{"blocks-faults", severity::warning, {}, {}, "", "", {}, ""};
  for (const thread_view& thread : in.view.threads) {
    const signal_set blocked = thread.status.blocked & hard;
    if (blocked.empty()) continue;
    f.signals |= blocked;
    f.tids.push_back(thread.status.tid);
    add_evidence(f, thread_word(thread) + ": SigBlk: " + hex(thread.status.blocked));
  }
  if (f.tids.empty()) return;
  f.text =
      count_of(f.tids.size(), "thread blocks ", "threads block ") + format_set(f.signals) + ".";
  f.why =
      "A real fault cannot wait: if it happens while its signal is blocked, the kernel resets the "
      "handler and kills the process, and no crash report is written.";
  f.advice = "Leave fault signals out when you block signals: sigfillset blocks too many.";
  out.push_back(std::move(f));
}

void ignores_pipe(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  if (!main.ignored.has(SIGPIPE)) return;
  out.push_back(
      {"ignores-sigpipe",
       severity::warning,
       signal_set::of(SIGPIPE),
       {},
       "SIGPIPE is ignored, and every program it starts will ignore it too.",
       "For the process itself that is common: writes fail with EPIPE. But SIG_IGN is "
       "kept through exec, and filters started by it go on writing into a closed pipe, or "
       "complain of a broken one, instead of ending.",
       {"SigIgn: " + hex(main.ignored)},
       "Set SIGPIPE back to its default in children, between fork and exec; or catch it "
       "with an empty handler, which exec resets. If it was inherited, look at who "
       "started the process (PPid " +
           std::to_string(main.ppid) + ")."});
}

void ignores_child(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  if (!main.ignored.has(SIGCHLD)) return;
  out.push_back({"ignores-sigchld",
                 severity::warning,
                 signal_set::of(SIGCHLD),
                 {},
                 "SIGCHLD is ignored, and every program it starts will ignore it too.",
                 "Children of such a process vanish without leaving a status: waitpid fails with "
                 "ECHILD, system() and popen() cannot tell how their command ended. A program that "
                 "inherits this seldom expects it.",
                 {"SigIgn: " + hex(main.ignored)},
                 "Use the default action, which ignores the signal but keeps the status, and wait "
                 "for children."});
}

void ignores_others(const doctor_input& in, findings& out) {
  const auto& main = in.view.main();
  const signal_set set = (main.ignored & ours) - signal_set::of(SIGPIPE, SIGCHLD);
  if (set.empty()) return;
  const bool cannot_end = set.has(SIGTERM);
  std::string why = "Ignored signals stay ignored in programs that the process starts.";
  if (set.has(SIGHUP)) why += " An ignored SIGHUP is what nohup does.";
  if (set.has(SIGINT) || set.has(SIGQUIT)) {
    why += " A shell without job control ignores SIGINT and SIGQUIT for what it starts with '&'.";
  }
  if (cannot_end) why += " With SIGTERM ignored, only SIGKILL ends the process.";
  out.push_back({"ignores-signals",
                 cannot_end ? severity::warning : severity::note,
                 set,
                 {},
                 format_set(set) + is_are(set) + "ignored, and will be by every program it starts.",
                 why,
                 {"SigIgn: " + hex(main.ignored)},
                 "Nothing, if it is meant; else see who started it (PPid " +
                     std::to_string(main.ppid) + ")."});
}

void incomplete(const doctor_input& in, findings& out) {
  if (in.view.unreadable.empty()) return;
  finding f{"incomplete", severity::note, {}, {}, "", "", in.view.unreadable, ""};
  f.text = "Some entries could not be read.";
  f.why =
      "So it is not known which threads sit in sigwait for which signals, or what signalfds read; "
      "signals that are taken in that way may be reported as blocked or stuck.";
  f.advice = "Run the doctor as the same user or as root.";
  out.push_back(std::move(f));
}

}  // namespace

std::string_view to_string(severity how_bad) noexcept {
  constexpr std::string_view words[] = {"note", "warning", "error"};
  return words[static_cast<int>(how_bad)];
}

std::vector<finding> diagnose(const doctor_input& input) {
  findings out;
  if (input.view.main().kernel_thread) {
    out.push_back({"kernel-thread",
                   severity::note,
                   {},
                   {input.view.pid},
                   "This is a thread of the kernel, not a program.",
                   "Kernel threads ignore signals unless they ask for them.",
                   {"Kthread: 1"},
                   "Nothing."});
    return out;
  }
  process_state(input, out);
  if (!out.empty() && out.front().id == "already-ended") return out;
  constexpr void (*rules[])(const doctor_input&, findings&) = {
      first_in_namespace, pending_stuck,      queue_fills_up,      sleeps_uninterruptibly,
      thread_steals,      handler_never_runs, blocked_since_start, fault_signals,
      unreaped_children,  ignores_pipe,       ignores_child,       ignores_others,
      incomplete};
  for (const auto rule : rules) rule(input, out);
  std::stable_sort(out.begin(), out.end(), [](const finding& a, const finding& b) {
    return static_cast<int>(a.how_bad) > static_cast<int>(b.how_bad);
  });
  return out;
}

}  // namespace sigrun::cmd
