// SPDX-License-Identifier: Apache-2.0
//
// Attempts to load a configuration, one at a time: single_flight.hpp has the requests.
//
// Invariants:
//  (1) The batch is taken before the file is looked at. So an attempt answers only requests that
//      were there before it, and each of them sees at least what the file held when it was made.
//  (2) Only the runner publishes, and rollback() with the runner kept out by flight_.
//  (3) The runner waits for what others wrote only in run_limited(); what is late is left behind in
//      hung_, and nothing else is started before that has returned. So there is at most one.
//  (4) Readers see a version only after load and prepare have returned for it.
// tests/models/reload.pml checks (1), (2) and (4).
#pragma once

#include "service/file_watch.hpp"
#include "service/line_log.hpp"
#include "service/single_flight.hpp"

#include <sigrun/go.hpp>
#include <sigrun/reload.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/sync.hpp>

#include <deque>
#include <memory>
#include <optional>

namespace sigrun::service {

/// Somebody who gets an answer by signal.
struct reload_sender {
  int pidfd = -1;
  int signo = 0;
  std::uint32_t token = 0;
};

class reload_core {
 public:
  reload_core(reload_plan plan, reload_options options);
  ~reload_core();
  reload_core(const reload_core&) = delete;
  reload_core& operator=(const reload_core&) = delete;

  /// Load the first version; throws what is wrong with it.
  void begin();
  void start_goroutines();
  void stop() noexcept;

  reload_record ask();
  reload_record roll_back();
  std::vector<reload_record> history() const;
  reload_stats stats() const;

 private:
  struct version {
    std::uint64_t number = 0;
    std::shared_ptr<const void> value;
  };
  /// What the next attempt answers.
  struct batch : flight_batch {
    bool only_watch = true;
    std::vector<reload_sender> senders;
  };
  struct step;

  std::uint64_t request(std::string asked_by, bool from_watch, const reload_sender* sender);
  void receive_signals();
  void watch_file();
  void run();
  reload_record attempt(const batch& now);
  reload_outcome try_new_version(reload_record& record);
  void pass_over(const batch& now);
  bool is_unchanged();
  bool run_limited(std::function<void()> what, std::string& failure);
  void publish(std::shared_ptr<const void> value);
  void keep(version old);
  reload_record note(reload_record record, std::uint64_t upto);
  void reply(const std::vector<reload_sender>& senders, reload_outcome outcome);
  void tell(const std::function<void()>& what) noexcept;

  reload_plan plan_;
  reload_options options_;
  line_log log_;
  signal_chan signals_{64};
  std::optional<file_watch> watch_;
  std::vector<goroutine> goroutines_;

  single_flight<reload_record, batch> requests_;
  mutable mutex lock_;
  reload_stats stats_;

  // Under flight_: of whoever makes an attempt.
  mutex flight_;
  version current_;
  std::deque<version> older_;  // oldest first
  std::uint64_t attempts_ = 0;
  std::uint64_t last_number_ = 0;
  std::optional<std::uint64_t> last_hash_;
  std::shared_ptr<step> hung_;
};

}  // namespace sigrun::service
