// SPDX-License-Identifier: Apache-2.0
//
// A request is the text's length in a line, and the text; its answer is a line. Answers come in the
// order of the requests, so who waits stands in a queue.
#include "worker.hpp"

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/http.hpp>

#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <cstdio>
#include <mutex>

namespace gateway {
namespace {

constexpr std::size_t text_max = 16 << 20;
constexpr std::size_t answer_max = 4096;

}  // namespace

using namespace std::chrono_literals;

// -------------------------------------------------------------------------------------- the child

int work() {
  std::size_t size = 0;
  std::string text;
  while (std::scanf("%zu", &size) == 1 && std::getchar() == '\n' && size <= text_max) {
    text.resize(size);
    if (std::fread(text.data(), 1, size, stdin) != size) break;
    std::size_t words = 0;
    std::uint32_t hash = 2166136261u;  // FNV-1a
    bool inside = false;
    for (const char c : text) {
      const bool is_space = std::isspace(static_cast<unsigned char>(c)) != 0;
      words += !is_space && !inside;
      inside = !is_space;
      hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    }
    std::printf("{\"bytes\":%zu,\"words\":%zu,\"fnv1a\":\"%08x\",\"worker\":%d}\n", size, words,
                hash, getpid());
    std::fflush(stdout);
  }
  return 0;
}

// --------------------------------------------------------------------------------- the other side

struct worker::session {
  explicit session(sigrun::process::job& child)
      : in(std::move(child.in)), out(std::move(child.out)) {}

  // Gives each line to who has waited longest. Its end is the child's, or that of its output.
  void read_answers() {
    std::string kept;
    char some[4096];
    std::error_code error;
    while (const std::size_t got = out.read(some, error)) {
      kept.append(some, got);
      for (std::size_t end = 0; (end = kept.find('\n')) != std::string::npos;) {
        const std::lock_guard hold(lock);
        if (!waiting.empty()) {
          waiting.front().try_send(kept.substr(0, end));
          waiting.pop_front();
        }
        kept.erase(0, end + 1);
      }
      if (kept.size() > answer_max) break;
    }
    close();
  }
  // Nobody waits for an answer of this child any more.
  void close() {
    const std::lock_guard hold(lock);
    open = false;
    for (const auto& one : waiting) one.close();
    waiting.clear();
  }
  // Nothing: there will be no answer.
  sigrun::chan<std::string> ask(std::string_view text) {
    const sigrun::chan<std::string> answer(1);
    const std::lock_guard in_order(writing);
    {
      const std::lock_guard hold(lock);
      if (!open) return {};
      waiting.push_back(answer);
    }
    std::error_code error;
    in.set_write_deadline_in(5s);
    in.write_all(std::to_string(text.size()) + "\n" + std::string(text), error);
    if (error) {
      // Half a request: what follows would be misunderstood. The child sees the end, and ends.
      in.close();
      close();
    }
    return answer;
  }

  sigrun::pipe_writer in;
  sigrun::pipe_reader out;
  sigrun::mutex writing;
  sigrun::mutex lock;
  bool open = true;
  std::deque<sigrun::chan<std::string>> waiting;
  sigrun::goroutine reader;
};

worker::worker(std::vector<std::string> command) {
  child_.add({.name = "worker",
              .arguments = std::move(command),
              .options = {.pipe_in = true, .pipe_out = true},
              .when = sigrun::process::restart::always,
              .backoff_min = 20ms,
              .started = [this](sigrun::process::job& child) { begin(child); },
              .ended = [this](const sigrun::process::exit_status&) { end(); }});
}

worker::~worker() { stop(); }

void worker::begin(sigrun::process::job& child) {
  auto fresh = std::make_shared<session>(child);
  fresh->reader =
      sigrun::go({.name = "answers of the worker"}, [of = fresh.get()] { of->read_answers(); });
  const std::lock_guard hold(lock_);
  session_ = std::move(fresh);
  changed_.notify_all();
}

void worker::end() {
  std::shared_ptr<session> old;
  {
    const std::lock_guard hold(lock_);
    old.swap(session_);
    changed_.notify_all();
  }
  if (old == nullptr) return;
  old->out.close();  // also when a grandchild has the other end
  old->reader.join();
}

std::string worker::summary(std::string_view text, std::chrono::milliseconds wait) {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (;;) {
    std::shared_ptr<session> now;
    {
      std::unique_lock hold(lock_);
      if (!changed_.wait_until(hold, deadline, [&] { return session_ != nullptr; })) break;
      now = session_;
    }
    std::string found;
    if (const auto answer = now->ask(text)) {
      const auto how = answer.recv_until(deadline, found);
      if (how == sigrun::chan_status::ok) return found;
      if (how == sigrun::chan_status::timeout) break;
    }
    // The child has ended; the next one comes as soon as its end was seen.
    std::unique_lock hold(lock_);
    if (!changed_.wait_until(hold, deadline, [&] { return session_ != now; })) break;
  }
  throw sigrun::http::error(503, "the worker has not answered in time\n");
}

sigrun::process::child_info worker::info() const {
  const auto all = child_.children();
  return all.empty() ? sigrun::process::child_info{} : all.front();
}

}  // namespace gateway
