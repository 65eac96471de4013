// SPDX-License-Identifier: Apache-2.0
#include "api.hpp"

#include <sigrun/dump.hpp>
#include <sigrun/fault.hpp>
#include <sigrun/http_files.hpp>
#include <sigrun/http_service.hpp>

#include <unistd.h>

#include <nlohmann/json.hpp>

namespace gateway {
namespace {

namespace http = sigrun::http;
using nlohmann::json;

constexpr std::size_t page_of_notes = 100;

std::int64_t id_of(const http::request& q) { return number_of("id", std::string(q.param("id"))); }

note found(std::optional<note> one) {
  if (!one) throw http::error(404, "there is no such note\n");
  return std::move(*one);
}

// The body as a note's text: bounded by the configuration of this moment, and UTF-8, since it will
// be JSON.
std::string text_of(http::request& q, const settings& now) {
  q.limit_body(now.note_bytes);
  std::string text = q.body();
  try {
    json(text).dump();
  } catch (const json::type_error&) {
    throw http::error(400, "the text is not UTF-8\n");
  }
  return text;
}

void notes(http::router& r, parts& of) {
  r.get("/notes", [&of](http::request& q, http::response& p) {
    const auto after = q.query_value("after");
    std::string all;
    for (const note& one : of.notes.list(after ? number_of("after", *after) : 0, page_of_notes)) {
      all += (all.empty() ? "" : ",") + to_json(one);
    }
    p.json("[" + all + "]\n");
  });
  r.post("/notes", [&of](http::request& q, http::response& p) {
    const auto now = of.config.load();
    const auto made = of.notes.create(text_of(q, *now), now->notes_max);
    if (!made) throw http::error(507, "there are " + std::to_string(now->notes_max) + " notes\n");
    p.status(201).set("Location", "/notes/" + std::to_string(made->id));
    p.json(to_json(*made) + "\n");
  });
  r.get("/notes/{id}", [&of](http::request& q, http::response& p) {
    p.json(to_json(found(of.notes.find(id_of(q)))) + "\n");
  });
  r.put("/notes/{id}", [&of](http::request& q, http::response& p) {
    const std::int64_t id = id_of(q);
    p.json(to_json(found(of.notes.replace(id, text_of(q, *of.config.load())))) + "\n");
  });
  r.del("/notes/{id}", [&of](http::request& q, http::response& p) {
    found(of.notes.remove(id_of(q)));
    p.status(204);
  });
  r.get("/notes/{id}/summary", [&of](http::request& q, http::response& p) {
    const note one = found(of.notes.find(id_of(q)));
    p.json(of.child.summary(one.text, of.config.load()->worker_timeout) + "\n");
  });
}

json of_config(parts& of) {
  const auto now = of.config.load();
  json out = {{"version", now.version()}, {"title", now->title}};
  const auto history = of.config.history();
  if (!history.empty()) {
    out["last"] = {{"outcome", sigrun::to_string(history.back().outcome)},
                   {"asked_by", history.back().asked_by},
                   {"failure", history.back().failure}};
  }
  return out;
}

json status(parts& of) {
  const auto stored = of.notes.now();
  const auto child = of.child.info();
  const auto beat = of.monitor.now();
  const auto signals = sigrun::stats();
  json out = {{"pid", getpid()},
              {"phase", sigrun::to_string(of.life.phase())},
              {"ready", of.life.is_ready()},
              {"config", of_config(of)},
              {"notes", {{"count", stored.notes}, {"revision", stored.revision}}},
              {"watchers", of.changes.watchers()},
              {"worker", {{"pid", child.pid}, {"starts", child.starts}}},
              {"beats",
               {{"received", beat.received},
                {"sum", beat.sum},
                {"overtaken", beat.overtaken},
                {"last_pid", beat.last_pid},
                {"way_us_max", beat.taken_ns_max / 1000},
                {"handled_us_max", beat.handled_ns_max / 1000}}},
              {"signals",
               {{"received", signals.received},
                {"dispatched", signals.dispatched},
                {"merged", signals.merged},
                {"dropped", signals.dropped},
                {"unclaimed", signals.unclaimed}}},
              {"dead_letters", of.signals.dead_letter_count()},
              {"goroutines", sigrun::goroutine_count()}};
  for (const auto& route : of.signals.table()) {
    out["handlers"][route.name] = {{"handled", route.handled}, {"failed", route.failed}};
  }
  if (of.log != nullptr) {
    const auto lines = of.log->statistics();
    out["log"] = {{"written", lines.written}, {"dropped", lines.dropped + lines.failed}};
  }
  return out;
}

// A null pointer that no compiler knows of.
[[gnu::noinline]] int* nowhere(const http::request& q) {
  return q.has_header("X-Somewhere") ? reinterpret_cast<int*>(getpid()) : nullptr;
}

// What goes wrong in real services. A fault that was guarded is an answer like another; one that
// was not ends the process, and leaves a report.
void debug(http::router& r, parts& of) {
  const auto only_if_on = [&of] {
    if (!of.config.load()->debug) throw http::error(404, "debug is off\n");
  };
  r.get("/debug/goroutines", [only_if_on](http::request&, http::response& p) {
    only_if_on();
    p.text(sigrun::goroutine_stacks());
  });
  r.post("/debug/fault", [only_if_on](http::request& q, http::response& p) {
    only_if_on();
    int* const at = nowhere(q);
    try {
      sigrun::guarded([at] { *at = 1; });
      p.text("no fault\n");
    } catch (const sigrun::fault_error& error) {
      p.status(500).text("caught: " + std::string(error.what()) + "\n");
    }
  });
  const auto stall = [&of, only_if_on](bool on) {
    return [&of, only_if_on, on](http::request&, http::response& p) {
      only_if_on();
      of.notes.stall(on);
      p.status(204);
    };
  };
  r.post("/debug/stall", stall(true));
  r.del("/debug/stall", stall(false));
  r.post("/debug/crash", [only_if_on](http::request& q, http::response&) {
    only_if_on();
    *nowhere(q) = 1;
  });
}

}  // namespace

http::router routes(parts& of) {
  http::router r;
  r.use([&of](http::handler next) -> http::handler {
    return [&of, next](http::request& q, http::response& p) {
      p.set("X-Gateway",
            std::to_string(getpid()) + " v" + std::to_string(of.config.load().version()));
      next(q, p);
    };
  });
  r.get("/readyz", http::readiness(of.life));
  r.get("/healthz", http::liveness());
  r.get("/status", [&of](http::request&, http::response& p) { p.json(status(of).dump(2) + "\n"); });
  r.get("/feed", [&of](http::request& q, http::response& p) { of.changes.serve(q, p); });
  notes(r, of);
  debug(r, of);
  const std::string page = of.config.load()->page;
  if (!page.empty()) r.get("/{path...}", http::files(page));
  return r;
}

}  // namespace gateway
