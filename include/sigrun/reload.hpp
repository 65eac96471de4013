// SPDX-License-Identifier: Apache-2.0
//
// A configuration that is loaded again while the program runs: on SIGHUP, on a call, or when its
// file changes. What is wrong is refused, and the old one stays.
//
//   sigrun::reloader<settings> config("gateway.toml");   // throws when it cannot start with this
//   …
//   const auto now = config.load();                      // anywhere, at any time: some nanoseconds
//   serve(now->port);
//
// An attempt goes through these steps, and none of them stops readers:
//   load     the file is read, parsed and checked (<sigrun/config.hpp>)
//   prepare  the program's own check: open the certificates, connect to the store
//   publish  readers get the new version from here on; whoever still reads the old one keeps it
//   changed  the program adapts what it has; if that fails, the old version is published again
// One attempt runs at a time. What is asked for meanwhile is answered by one more attempt, which
// begins after all of it: so whoever changes the file and then asks gets what he has written.
//
// Threads: load(), reload(), rollback() and the figures may be called from any goroutine and any
// thread; nothing in a signal handler. prepare and changed run in a goroutine, one at a time.
#pragma once

#include <sigrun/atomic_value.hpp>
#include <sigrun/config.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sigrun {

enum class reload_outcome : std::uint8_t {
  published,    ///< there is a new version
  refused,      ///< load or prepare failed: the old version stays
  rolled_back,  ///< changed failed, or rollback(): the older one is published as a new version
};
std::string_view to_string(reload_outcome outcome) noexcept;

struct reload_options {
  /// What asks for a reload: SIGHUP. Empty: none. An inherited SIG_IGN of SIGHUP is honoured.
  std::vector<int> signals{1};
  /// Whether a change of the file asks too. Its directory is watched (inotify(7)), so a file that
  /// is replaced is noticed, also by the symbolic links of a Kubernetes volume.
  bool watch = false;
  /// A change counts when nothing has changed for that long, at most 20 times that.
  std::chrono::nanoseconds settle = std::chrono::milliseconds(50);
  /// For load and prepare together, and for changed. What takes longer is left behind and counts as
  /// failed; until it has returned, further attempts are refused.
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);
  /// Older versions that are kept, for rollback().
  std::size_t keep = 1;
  /// RELOADING=1 before and READY=1 after each attempt, when the supervisor was told READY=1.
  bool tell_supervisor = true;
  /// Answers senders that ask for it; see "Answers" in docs/reload.md.
  bool reply = true;
  /// A line for each attempt; stderr by default. As graceful_options::log.
  std::function<void(std::string_view)> log{};
};

/// One attempt.
struct reload_record {
  std::uint64_t attempt = 0;  ///< from 1, the one that the constructor makes
  std::uint64_t version = 0;  ///< that is in force after it; from 1
  reload_outcome outcome = reload_outcome::published;
  std::string asked_by{};  ///< "start", "call", "change", "rollback", "SIGHUP from pid 7 (uid 0)"
  std::uint64_t requests = 0;  ///< how many it answers
  std::string failure{};       ///< all that was wrong; empty when nothing was
  std::chrono::system_clock::time_point at{};
  std::chrono::nanoseconds took{0};
};

/// All only grow.
struct reload_stats {
  std::uint64_t requests = 0;
  std::uint64_t attempts = 0;
  std::uint64_t published = 0;
  std::uint64_t unchanged = 0;  ///< looks of the watch at the bytes of the last attempt
  std::uint64_t refused = 0;
  std::uint64_t rolled_back = 0;
  std::uint64_t replies_sent = 0;
  std::uint64_t replies_failed = 0;  ///< the sender is gone, or more than 64 wait for an answer
};

namespace service {

class reload_core;

/// What the typed side does for the core.
struct reload_plan {
  std::string name;
  std::string file;  // to be watched; may be empty
  std::function<std::shared_ptr<const void>()> load;
  std::function<void(const void* next, const void* now)> prepare;
  std::function<void(const void* now, const void* before)> changed;
  std::function<void(std::shared_ptr<const void>, std::uint64_t)> publish;
};
std::shared_ptr<reload_core> start_reload(reload_plan plan, reload_options options);
void stop_reload(reload_core& core) noexcept;
reload_record ask_reload(reload_core& core);
reload_record ask_rollback(reload_core& core);
std::vector<reload_record> history_of(const reload_core& core);
reload_stats stats_of(const reload_core& core);

}  // namespace service

/// One configuration of type T, read by read_config(config::section&, T&) beside T.
template <class T>
class reloader {
  struct published {
    std::shared_ptr<const T> value;
    std::uint64_t version;
  };

 public:
  /// The program's own part. What they throw is the attempt's failure.
  struct hooks {
    /// Looks at what is about to be published; `now` is in force, nullptr at the start.
    std::function<void(const T& next, const T* now)> prepare{};
    /// Adapts the program to `now`. When it throws, `before` is published again and it is called
    /// once more, the other way round; what it throws then is only logged.
    std::function<void(const T& now, const T& before)> changed{};
  };

  /// One version, held: it stays as it is while this lives.
  class snapshot {
   public:
    snapshot() noexcept = default;
    const T& operator*() const noexcept { return *held_->value; }
    const T* operator->() const noexcept { return held_->value.get(); }
    std::uint64_t version() const noexcept { return held_->version; }
    explicit operator bool() const noexcept { return static_cast<bool>(held_); }

   private:
    friend class reloader;
    explicit snapshot(typename atomic_value<published>::snapshot held) noexcept
        : held_(std::move(held)) {}
    typename atomic_value<published>::snapshot held_;
  };

  /// Loads the first version: throws what is wrong with it (config::invalid, std::system_error,
  /// what prepare throws), and what notify() throws. changed is not called for it.
  /// std::invalid_argument, naming the member, for a negative time and for a watch without a file.
  explicit reloader(std::string file, reload_options options = {}, hooks own = {})
      : reloader(
            file, file, [file] { return config::load<T>(file); }, std::move(options),
            std::move(own)) {}
  /// The same from whatever `source` reads; `name` is for people.
  reloader(std::string name, std::function<T()> source, reload_options options = {}, hooks own = {})
      : reloader(std::move(name), std::string(), std::move(source), std::move(options),
                 std::move(own)) {}
  /// Waits for the attempt that is under way.
  ~reloader() { service::stop_reload(*core_); }
  reloader(const reloader&) = delete;
  reloader& operator=(const reloader&) = delete;

  /// The version that is in force. No lock, no wait; throws as atomic_value::load.
  [[nodiscard]] snapshot load() const { return snapshot(current_.load()); }

  /// Asks for an attempt, and waits for one that has begun after this call. Must not be called by
  /// the hooks. Throws std::logic_error when the reloader is being destroyed.
  reload_record reload() { return service::ask_reload(*core_); }
  /// Publishes the newest of the versions that are kept, as a new version; what was in force is not
  /// kept. Refused when there is none. The next reload loads the file as ever.
  reload_record rollback() { return service::ask_rollback(*core_); }

  /// The last attempts, at most 32, oldest first.
  std::vector<reload_record> history() const { return service::history_of(*core_); }
  reload_stats stats() const { return service::stats_of(*core_); }

 private:
  reloader(std::string name, std::string file, std::function<T()> source, reload_options options,
           hooks own) {
    service::reload_plan plan;
    plan.name = std::move(name);
    plan.file = std::move(file);
    plan.load = [source = std::move(source)]() -> std::shared_ptr<const void> {
      return std::make_shared<const T>(source());
    };
    if (own.prepare) {
      plan.prepare = [call = std::move(own.prepare)](const void* next, const void* now) {
        call(*static_cast<const T*>(next), static_cast<const T*>(now));
      };
    }
    if (own.changed) {
      plan.changed = [call = std::move(own.changed)](const void* now, const void* before) {
        call(*static_cast<const T*>(now), *static_cast<const T*>(before));
      };
    }
    plan.publish = [this](std::shared_ptr<const void> value, std::uint64_t version) {
      current_.store({std::static_pointer_cast<const T>(std::move(value)), version});
    };
    core_ = service::start_reload(std::move(plan), std::move(options));
  }

  atomic_value<published> current_;
  std::shared_ptr<service::reload_core> core_;
};

}  // namespace sigrun
