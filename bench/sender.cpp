// SPDX-License-Identifier: Apache-2.0
//
// bench_sender latency|latency-at-once|flood SIGNO COUNT PROGRAM [HOW]
//
// Starts PROGRAM latency|flood SIGNO [HOW], sends it COUNT signals from this process, and prints
// one line of JSON. Neither process is pinned: that is how programs run. Between two signals of
// the latency modes the sender sleeps 60 to 120 microseconds, so the receiver is asleep again.
//
// The kernel wakes the receiver on the sender's processor, and whether it runs there at once or
// only when the sender sleeps is decided by what both have used before. In latency-at-once the
// receiver has half the time slice, which lets its wake preempt the sender (sched_setattr(2),
// sched_runtime, Linux 6.12): what is left is the receiver's own way.
#include "page.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

using bench::now;

// A receiver that has not moved for this long has nothing left to receive.
constexpr std::int64_t quiet_ns = 150'000'000;
// Give-up bounds: one signal of the latency mode, and the whole program.
constexpr std::int64_t lost_ns = 50'000'000;
constexpr unsigned whole_seconds = 60;
// The first samples pay for page faults and cold caches.
constexpr std::int64_t warm_up = 100;

pid_t child = 0;

void nap(std::int64_t ns) {
  const timespec t{ns / 1'000'000'000, ns % 1'000'000'000};
  nanosleep(&t, nullptr);
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "bench_sender: %s: %s\n", what, std::strerror(errno));
  if (child > 0) kill(child, SIGKILL);
  std::exit(1);
}

void on_alarm(int) {
  kill(child, SIGKILL);
  static const char text[] = "bench_sender: gave up after 60 seconds\n";
  static_cast<void>(!write(2, text, sizeof text - 1));
  _exit(1);
}

bench::shared_page& make_page() {
  const int fd = memfd_create("bench", 0);
  if (fd < 0 || ftruncate(fd, sizeof(bench::shared_page)) != 0) fail("memfd");
  if (fd != bench::page_fd) {
    if (dup2(fd, bench::page_fd) < 0) fail("dup2");
    close(fd);
  }
  void* memory = mmap(nullptr, sizeof(bench::shared_page), PROT_READ | PROT_WRITE, MAP_SHARED,
                      bench::page_fd, 0);
  if (memory == MAP_FAILED) fail("mmap");
  auto* page = static_cast<bench::shared_page*>(memory);
  page->taken = page->merged = page->dropped = -1;
  return *page;
}

// linux/sched/types.h, which cannot be included beside sched.h.
struct scheduling {
  std::uint32_t size, policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime_ns, deadline_ns, period_ns;
};

void halve_time_slice() {
  scheduling s{};
  if (syscall(SYS_sched_getattr, 0, &s, sizeof s, 0) != 0) fail("sched_getattr");
  s.runtime_ns /= 2;
  if (s.runtime_ns == 0 || syscall(SYS_sched_setattr, 0, &s, 0) != 0) fail("sched_setattr");
}

void start(char** argv, bool at_once, bench::shared_page& page) {
  child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    if (at_once) halve_time_slice();
    execl(argv[4], argv[4], at_once ? "latency" : argv[1], argv[2], argv[5], nullptr);
    std::perror(argv[4]);
    _exit(127);
  }
  while (page.ready.load() == 0) {
    if (waitpid(child, nullptr, WNOHANG) != 0) fail("the receiver ended before it was ready");
    nap(500'000);
  }
  nap(50'000'000);  // let it fall asleep
}

// Returns how many signals nobody answered.
std::int64_t send_one_by_one(int signo, std::int64_t count, bench::shared_page& page) {
  std::int64_t lost = 0;
  std::uint32_t random = 12345;
  for (std::int64_t i = 0; i < count; ++i) {
    random = random * 1103515245U + 12345U;
    nap(60'000 + (random >> 16) % 60'000);
    const std::int64_t before = page.received.load();
    page.sent_at.store(now());
    if (kill(child, signo) != 0) fail("kill");
    const std::int64_t limit = now() + lost_ns;
    while (page.received.load() == before && now() < limit) nap(20'000);
    if (page.received.load() == before) ++lost;
  }
  return lost;
}

// Returns how often the kernel's queue was full (sigqueue(3), EAGAIN).
std::int64_t send_flood(int signo, std::int64_t count) {
  std::int64_t full = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (signo < 32) {
      if (kill(child, signo) != 0) fail("kill");
      continue;
    }
    sigval value{};
    value.sival_int = static_cast<int>(i);
    while (sigqueue(child, signo, value) != 0) {
      if (errno != EAGAIN) fail("sigqueue");
      ++full;
      sched_yield();
    }
  }
  return full;
}

void wait_until_quiet(const bench::shared_page& page) {
  std::int64_t seen = -1;
  std::int64_t moved_at = now();
  while (now() - moved_at < quiet_ns) {
    const std::int64_t received = page.received.load();
    if (received != seen) {
      seen = received;
      moved_at = now();
    }
    nap(5'000'000);
  }
}

// Asked again only after a second: one that has stopped listening would die of it.
void end_receiver() {
  int status = 0;
  pid_t ended = 0;
  for (int i = 0; ended == 0; ++i, ended = waitpid(child, &status, WNOHANG)) {
    if (i % 200 == 0) kill(child, bench::end_signal);
    nap(5'000'000);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("the receiver did not end well");
}

void report_latency(const bench::shared_page& page, std::int64_t lost) {
  const std::int64_t n =
      std::min(page.received.load(), static_cast<std::int64_t>(bench::max_samples));
  std::vector<std::int64_t> v(page.samples + std::min(n, warm_up), page.samples + n);
  if (v.empty()) fail("no samples");
  std::sort(v.begin(), v.end());
  const auto at = [&v](std::size_t percent) { return v[(v.size() - 1) * percent / 100]; };
  std::printf(
      "{\"n\": %zu, \"p50_ns\": %lld, \"p99_ns\": %lld, \"min_ns\": %lld, \"lost\": %lld}\n",
      v.size(), static_cast<long long>(at(50)), static_cast<long long>(at(99)),
      static_cast<long long>(v.front()), static_cast<long long>(lost));
}

void report_flood(const bench::shared_page& page, std::int64_t count, std::int64_t begin,
                  std::int64_t sent, std::int64_t full) {
  const auto per_second = [](std::int64_t n, std::int64_t ns) {
    return ns > 0 ? static_cast<double>(n) * 1e9 / static_cast<double>(ns) : 0.0;
  };
  const std::int64_t received = page.received.load();
  std::printf(
      "{\"sent\": %lld, \"received\": %lld, \"share\": %.5f, \"rate\": %.0f, \"send_rate\": %.0f, "
      "\"payloads\": %lld, \"out_of_order\": %lld, \"queue_full\": %lld, \"taken\": %lld, "
      "\"merged\": %lld, \"dropped\": %lld}\n",
      static_cast<long long>(count), static_cast<long long>(received),
      static_cast<double>(received) / static_cast<double>(count),
      per_second(received, page.last_at - begin), per_second(count, sent - begin),
      static_cast<long long>(page.payloads), static_cast<long long>(page.out_of_order),
      static_cast<long long>(full), static_cast<long long>(page.taken),
      static_cast<long long>(page.merged), static_cast<long long>(page.dropped));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s latency|latency-at-once|flood SIGNO COUNT PROGRAM [HOW]\n",
                 argv[0]);
    return 2;
  }
  const bool at_once = std::strcmp(argv[1], "latency-at-once") == 0;
  const bool latency = at_once || std::strcmp(argv[1], "latency") == 0;
  const int signo = std::atoi(argv[2]);
  const std::int64_t count = std::atoll(argv[3]);

  bench::shared_page& page = make_page();
  signal(SIGALRM, on_alarm);
  alarm(whole_seconds);
  start(argv, at_once, page);
  if (latency) {
    const std::int64_t lost = send_one_by_one(signo, count, page);
    end_receiver();
    report_latency(page, lost);
    return 0;
  }
  const std::int64_t begin = now();
  const std::int64_t full = send_flood(signo, count);
  const std::int64_t sent = now();
  wait_until_quiet(page);
  end_receiver();
  report_flood(page, count, begin, sent, full);
  return 0;
}
