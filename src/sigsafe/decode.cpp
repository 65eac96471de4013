// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/decode.hpp"

namespace sigrun::sigsafe {

signal_cause cause_of(int signo, int code) noexcept {
  constexpr auto faults = signal_set::of(SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP);
  // Codes above zero and below SI_KERNEL come from the kernel and mean what the signal says.
  if (code > SI_USER && code < SI_KERNEL) {
    if (faults.has(signo)) return signal_cause::fault;
    if (signo == SIGCHLD) return signal_cause::child;
    if (signo == SIGSYS) return signal_cause::system_call;
    // SIGIO's codes are used with any signal that F_SETSIG chose.
    return code <= POLL_HUP ? signal_cause::poll : signal_cause::kernel;
  }
  if (code == SI_KERNEL) return faults.has(signo) ? signal_cause::fault : signal_cause::kernel;
  if (code == SI_USER) return signal_cause::kill;
  if (code == SI_TKILL) return signal_cause::tkill;
  if (code == SI_TIMER) return signal_cause::timer;
  if (code == SI_MESGQ) return signal_cause::message_queue;
  if (code == SI_SIGIO) return signal_cause::poll;
  return code < 0 ? signal_cause::queue : signal_cause::kernel;
}

void decode(const siginfo_t& info, signal_event& event) noexcept {
  event.signo = info.si_signo;
  event.code = info.si_code;
  event.cause = cause_of(info.si_signo, info.si_code);
  event.origin = signal_origin::kernel;
  switch (event.cause) {
    case signal_cause::kill:
    case signal_cause::tkill:
      event.origin = signal_origin::user;
      event.pid = info.si_pid;
      event.uid = info.si_uid;
      break;
    case signal_cause::queue:
      event.origin = signal_origin::user;
      [[fallthrough]];
    case signal_cause::message_queue:
      event.pid = info.si_pid;
      event.uid = info.si_uid;
      event.value_bits = reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr);
      break;
    case signal_cause::timer:
      event.details.timer = {info.si_timerid, info.si_overrun};
      event.value_bits = reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr);
      break;
    case signal_cause::child:
      event.pid = info.si_pid;
      event.uid = info.si_uid;
      event.details.child = {info.si_pid, info.si_status, info.si_utime, info.si_stime};
      break;
    case signal_cause::fault:
      event.details.fault = {reinterpret_cast<std::uint64_t>(info.si_addr), info.si_addr_lsb};
      break;
    case signal_cause::poll:
      event.details.poll = {info.si_band, info.si_fd};
      break;
    case signal_cause::system_call:
      event.details.system_call = {reinterpret_cast<std::uint64_t>(info.si_call_addr),
                                   info.si_syscall, info.si_arch};
      break;
    case signal_cause::kernel:
    case signal_cause::raise:  // no kernel's
      break;
  }
}

void encode(const signal_event& event, siginfo_t& info) noexcept {
  info = siginfo_t{};
  info.si_signo = event.signo;
  info.si_code = event.code;
  switch (event.cause) {
    case signal_cause::timer:
      info.si_timerid = event.details.timer.id;
      info.si_overrun = event.details.timer.overrun;
      info.si_value.sival_ptr = event.value_ptr();
      break;
    case signal_cause::child:
      info.si_pid = event.pid;
      info.si_uid = event.uid;
      info.si_status = event.details.child.status;
      info.si_utime = event.details.child.user_ticks;
      info.si_stime = event.details.child.system_ticks;
      break;
    case signal_cause::fault:
      info.si_addr = reinterpret_cast<void*>(event.details.fault.address);
      info.si_addr_lsb = event.details.fault.address_lsb;
      break;
    case signal_cause::poll:
      info.si_band = event.details.poll.band;
      info.si_fd = event.details.poll.fd;
      break;
    case signal_cause::system_call:
      info.si_call_addr = reinterpret_cast<void*>(event.details.system_call.address);
      info.si_syscall = event.details.system_call.number;
      info.si_arch = event.details.system_call.architecture;
      break;
    default:
      info.si_pid = event.pid;
      info.si_uid = event.uid;
      info.si_value.sival_ptr = event.value_ptr();
      break;
  }
}

}  // namespace sigrun::sigsafe
