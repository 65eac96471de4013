// SPDX-License-Identifier: Apache-2.0
//
// What the gateway answers.
//
//   GET    /notes?after=ID       POST /notes           the body is the note's text
//   GET    /notes/ID             PUT, DELETE
//   GET    /notes/ID/summary     by the worker, a process of its own
//   GET    /feed?after=REVISION  WebSocket: each change
//   GET    /status               figures       GET /readyz, /healthz    probes
//   GET    /…                    the page
// With `debug = true`:
//   GET    /debug/goroutines     POST /debug/fault     POST /debug/crash
#pragma once

#include <sigrun/graceful.hpp>
#include <sigrun/http_log.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/mux.hpp>
#include <sigrun/reload.hpp>

#include "beats.hpp"
#include "feed.hpp"
#include "settings.hpp"
#include "store.hpp"
#include "worker.hpp"

namespace gateway {

/// What the handlers work with. All of it outlives the server.
struct parts {
  sigrun::graceful& life;
  const sigrun::reloader<settings>& config;
  const sigrun::signal_mux& signals;
  sigrun::http::access_log* log;  // may be nullptr
  store& notes;
  feed& changes;
  worker& child;
  beats& monitor;
};

sigrun::http::router routes(parts& of);

}  // namespace gateway
