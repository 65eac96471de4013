// SPDX-License-Identifier: Apache-2.0
//
// The inside of a run: what its actors share.
#pragma once

#include "lab_storm.hpp"

#include <sigrun/go.hpp>
#include <sigrun/signal_names.hpp>

#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sigrun::cmd::lab {

/// The copies of a visitor: it must have got all of `signals` with a sequence in between.
struct visit {
  signal_set signals;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t events = 0;
};

/// What an observer has seen of one signal. `count` has what events stand for.
struct seen_line {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::int64_t last_taken_ns = 0;
};

struct policy_book {
  book_id id;
  signal_chan events;
  std::atomic<std::uint64_t> read{0};      // events
  std::atomic<std::uint64_t> read_for{0};  // signals that they stand for
};

class storm;

/// One who makes traffic. Its functions are for its own thread or goroutine.
class actor {
 public:
  actor(storm& in, unsigned id, std::uint64_t seed) noexcept : in_(in), id_(id), dice_(seed) {}

  storm& in() const noexcept { return in_; }
  unsigned id() const noexcept { return id_; }
  dice& roll() noexcept { return dice_; }
  /// Counts a round and says whether to go on: while the storm lasts.
  bool more() noexcept;
  /// Waits until the window has room. False: calming has begun.
  bool room() noexcept;
  /// Gives others the processor, now and then for up to a millisecond.
  void breathe() noexcept;

  /// Each sends one signal with this actor's next value, and enters it when it was sent.
  void queue(int signo) noexcept;
  void aim(int tid) noexcept;
  void inject() noexcept;
  /// The next value, for somebody who sends in this actor's name; then entered().
  std::uint64_t next() noexcept { return value_of(id_, ++sent_); }
  void entered(int signo, std::uint64_t value) noexcept;

 private:
  storm& in_;
  unsigned id_;
  dice dice_;
  std::uint64_t sent_ = 0;
};

using actor_body = void (*)(actor& self);

class storm {
 public:
  storm(const storm_options& options, storm_page& page);

  const storm_options& options() const noexcept { return options_; }
  storm_page& page() noexcept { return page_; }
  bool storming() const noexcept { return page_.stage.load() == storm_stage::storming; }
  bool calming() const noexcept { return page_.stage.load() == storm_stage::calming; }

  void start_thread(const char* name, actor_body body, bool sends = true);
  void start_goroutine(const char* name, actor_body body, bool sends = true);
  /// Waits for the senders, resp. for all others.
  void join_senders();
  void join_rest();

  void wait_for_observers() noexcept;

  /// A line of the report; the run has failed.
  void fail(const std::string& what);
  bool failed() const noexcept { return failed_.load(); }

  // Threads that may be aimed at; 0 where there is none.
  std::array<std::atomic<int>, 4> targets{};
  // What the observers say.
  std::array<seen_line, signal_max + 1> seen{};
  std::array<seen_line, signal_max + 1> seen_by_second{};
  std::vector<std::uint8_t> order;  // by sequence: the signal number
  std::mutex visits_lock;
  std::vector<visit> visits;
  std::deque<policy_book> policies;
  std::atomic<std::uint64_t> first_looked{0};  // events that the first observer has seen
  std::atomic<std::uint64_t> second_looked{0};
  std::atomic<std::uint64_t> window_seen{0};  // of the first one's, those sent within the window
  std::atomic<unsigned> observers{0};
  std::atomic<std::uint64_t> flips_received{0};
  std::atomic<std::uint64_t> paced_received{0};
  std::atomic<std::uint64_t> children_made{0};
  std::atomic<std::uint64_t> children_well{0};
  /// What a child must find: the mask and dispositions from before the runtime.
  signal_set start_mask;

 private:
  struct employed {
    actor self;
    bool sends;
    std::thread thread{};
    goroutine go{};
  };
  employed& employ(const char* name, bool sends);
  void run(employed& who, actor_body body) noexcept;
  void join(bool sends);

  storm_options options_;
  storm_page& page_;
  std::deque<employed> employed_;
  std::mutex failing_;
  std::atomic<bool> failed_{false};
};

/// How many signals may be under way at once.
inline constexpr std::int64_t window = 400;
/// A step that takes so long does not come, however busy the machine is.
inline constexpr auto storm_patience = std::chrono::seconds{30};

// Who there is. Senders first.
void queue_in_bursts(actor& self);
void queue_one_at_a_time(actor& self);
void inject_some(actor& self);
void aim_at_targets(actor& self);
void send_standard_bursts(actor& self);
void pace_user1(actor& self);
void pace_winch(actor& self);
void pace_urgent(actor& self);
void send_flipped(actor& self);
void fork_children(actor& self);
void spawn_children(actor& self);
void churn_threads(actor& self);
// Those who take, or get in the way.
void flip_on_a_thread(actor& self);
void flip_on_a_goroutine(actor& self);
void visit_now_and_then(actor& self);
void read_policies(actor& self);
void block_in_calls(actor& self);
void block_in_foreign_calls(actor& self);
void compute(actor& self);
void ask_the_doctor(actor& self);
void close_and_open_targets(actor& self);

/// Takes what was sent to the calling thread alone, before it ends.
void take_own(const signal_chan& subscribed) noexcept;

/// A process from before the runtime that queues signals to its parent until calming begins.
int stranger(storm_page& page, int to, std::uint64_t seed);

/// The body of an observer: `recv_for` until the run is over.
void observe_first(storm& in, const signal_chan& events);
void observe_second(storm& in, const signal_chan& events);

/// When all actors have ended: waits until nothing is under way, closes the books, checks them.
void close_books(storm& in);

/// What lies under the flipped signals: a handler of the program's own. How often it ran.
void install_base() noexcept;
std::uint64_t handed_back_to_program() noexcept;

}  // namespace sigrun::cmd::lab
