// SPDX-License-Identifier: Apache-2.0
//
// Programs that recover, each from its own fault, while a service in them goes on: after each fault
// it has to answer. What was seen is one line of JSON.
#include "zoo.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/fault.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>

#include <csignal>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace zoo {
namespace {

constexpr int rounds = 10;

// Answers with twice what it is asked.
class service {
 public:
  service() : asked_(0), answers_(0) {
    serving_ = sigrun::go({.name = "service"}, [asked = asked_, answers = answers_]() mutable {
      for (const int value : asked) answers.send(2 * value);
    });
  }
  ~service() {
    asked_.close();
    serving_.join();
  }
  service(const service&) = delete;
  service& operator=(const service&) = delete;

  bool answers(int value) {
    asked_.send(value);
    return answers_.recv() == 2 * value;
  }

 private:
  sigrun::chan<int> asked_;
  sigrun::chan<int> answers_;
  sigrun::goroutine serving_;
};

struct seen {
  std::atomic<int> caught{0};
  std::atomic<int> answered{0};
  std::atomic<int> told{0};
  sigrun::fault last;
};

constinit std::atomic<int> observed{0};

void count_observed(const sigrun::fault&) noexcept { observed.fetch_add(1); }

void print(const seen& what) {
  const sigrun::fault_counts counts = sigrun::read_fault_counts();
  std::printf("{\"caught\": %d, \"answered\": %d, \"told\": %d, \"observed\": %d, ",
              what.caught.load(), what.answered.load(), what.told.load(), observed.load());
  std::printf("\"signal\": %d, \"code\": %d, \"address\": %" PRIuPTR ", \"has_address\": %d, ",
              what.last.signal, what.last.code, what.last.address, what.last.has_address ? 1 : 0);
  std::printf("\"frames\": %d, \"goroutine\": %d, \"returned\": %" PRIu64 ", \"thrown\": %" PRIu64
              ", \"poisoned\": %" PRIu64 "}\n",
              what.last.stack_size, what.last.goroutine != 0 ? 1 : 0, counts.returned,
              counts.thrown, counts.poisoned);
  std::fflush(stdout);
}

/// Runs one(what) again and again beside the service.
template <class F>
void serves_through(F one) {
  seen what;
  sigrun::set_fault_observer(&count_observed);
  sigrun::run([&] {
    service still;
    for (int i = 0; i < rounds; ++i) {
      one(what);
      if (still.answers(i)) what.answered.fetch_add(1);
    }
  });
  print(what);
}

template <class F>
void catches(seen& what, F f) {
  try {
    f();
  } catch (const sigrun::fault_error& error) {
    what.last = error.details();
    what.caught.fetch_add(1);
  }
}

template <void (*Fails)()>
void guards() {
  serves_through([](seen& what) { catches(what, [] { sigrun::guarded(Fails); }); });
}

void in_strlen() { hidden(std::strlen(hidden<const char*>(nullptr))); }

void in_a_foreign_call() {
  sigrun::foreign_call([] { null_write(); });
}

void on_a_thread() {
  serves_through([](seen& what) {
    std::thread other([&what] { catches(what, [] { sigrun::guarded(null_write); }); });
    sigrun::foreign_call([&other] { other.join(); });
  });
}

void with_a_mutex() {
  serves_through([](seen& what) {
    sigrun::mutex lock;
    catches(what, [&lock] {
      sigrun::guarded([&lock] {
        const std::lock_guard hold(lock);
        null_write();
      });
    });
    try {
      const std::lock_guard hold(lock);
    } catch (const sigrun::lock_poisoned&) {
      what.told.fetch_add(1);
    }
  });
}

// Through a pointer, because the compiler sees that null_write() throws nothing.
void by_panicking() {
  serves_through([](seen& what) {
    sigrun::set_panic_on_fault(true);
    catches(what, [] { hidden<void (*)()>(null_write)(); });
    sigrun::set_panic_on_fault(false);
  });
}

void by_joining() {
  serves_through([](seen& what) {
    sigrun::goroutine failing = sigrun::go({.name = "failing"}, [] {
      sigrun::set_panic_on_fault(true);
      hidden<void (*)()>(null_write)();
    });
    catches(what, [&failing] { failing.join(); });
  });
}

void in_a_crowd() {
  serves_through([](seen& what) {
    std::vector<sigrun::goroutine> crowd;
    std::atomic<int> caught{0};
    for (int i = 0; i < 20; ++i) {
      crowd.push_back(sigrun::go([&caught] {
        for (int n = 0; n < 5; ++n) {
          try {
            sigrun::guarded([] {
              sigrun::yield();
              null_write();
            });
          } catch (const sigrun::fault_error&) {
            caught.fetch_add(1);
          }
        }
      }));
    }
    for (sigrun::goroutine& each : crowd) each.join();
    what.caught.fetch_add(caught.load());
  });
}

void from_a_sent_one() {
  sigrun::signal_chan events(16);
  sigrun::notify(events, {SIGSEGV}, {.allow_sent_faults = true});
  serves_through([&events](seen& what) {
    catches(what, [] {
      sigrun::guarded([] {
        ::kill(::getpid(), SIGSEGV);
        null_write();
      });
    });
    const auto event = events.recv();
    if (event && event->pid == ::getpid()) what.told.fetch_add(1);
  });
}

void then_dies() {
  guards<null_write>();
  read_only();
}

constexpr animal animals[] = {
    {"recovers_from_null", guards<null_write>, true},
    {"recovers_from_wild", guards<wild_read>, true},
    {"recovers_from_read_only", guards<read_only>, true},
    {"recovers_from_a_truncated_file", guards<truncated_file>, true},
    {"recovers_from_a_division", guards<divide>, true},
    {"recovers_from_a_null_call", guards<calls_null>, true},
    {"recovers_in_libc", guards<in_strlen>, true},
    {"recovers_in_a_foreign_call", guards<in_a_foreign_call>, true},
    {"recovers_on_a_thread", on_a_thread, true},
    {"recovers_with_a_mutex", with_a_mutex, true},
    {"recovers_by_panicking", by_panicking, true},
    {"recovers_by_joining", by_joining, true},
    {"recovers_in_a_crowd", in_a_crowd, true},
    {"recovers_from_a_sent_one_too", from_a_sent_one, true},
    {"recovers_and_dies", then_dies, true},
};

}  // namespace

std::span<const animal> recovering() { return animals; }

}  // namespace zoo
