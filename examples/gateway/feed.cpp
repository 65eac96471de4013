// SPDX-License-Identifier: Apache-2.0
#include "feed.hpp"

#include <sigrun/go.hpp>
#include <sigrun/websocket.hpp>

#include <charconv>
#include <nlohmann/json.hpp>

namespace gateway {
namespace {

namespace http = sigrun::http;

constexpr std::size_t at_once = 100;

// Sends what is new until it is told that it is over, or the watcher is gone.
void send_changes(http::websocket& to, store& from, std::int64_t after, const bool& over) {
  try {
    while (to.is_open()) {
      const std::uint64_t seen = from.generation();
      const auto fresh = from.changes(after, at_once);
      for (const note& one : fresh) {
        to.write(to_json(one));
        after = one.revision;
      }
      if (fresh.empty()) {
        from.wait_for_change(seen, over);
        if (over) return;
      }
    }
  } catch (const std::system_error&) {
    // It is gone, or was told to go. What it has not seen is still there.
  } catch (const std::exception&) {
    to.close(1011, "the database cannot be read");
  }
}

}  // namespace

std::string to_json(const note& one) {
  nlohmann::json out = {{"id", one.id}, {"revision", one.revision}};
  if (one.removed) {
    out["removed"] = true;
  } else {
    out["text"] = one.text;
  }
  return out.dump();
}

std::int64_t number_of(const std::string& name, const std::string& text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && at == end && number >= 0) return number;
  throw http::error(400, name + ": \"" + text + "\" is not a whole number from 0\n");
}

void feed::serve(http::request& q, http::response& p) {
  const auto wanted = q.query_value("after");
  const std::int64_t after = wanted ? number_of("after", *wanted) : from_.now().revision;
  http::websocket watcher = http::websocket::accept(q, p);
  ++watchers_;
  bool over = false;
  auto sender = sigrun::go({.name = "feed"}, [&] { send_changes(watcher, from_, after, over); });
  try {
    // Watchers have nothing to say; reading answers pings, and sees the end.
    while (watcher.read()) {
    }
  } catch (const std::system_error&) {
    // Without a goodbye.
  }
  from_.wake(over);
  sender.join();
  --watchers_;
}

}  // namespace gateway
