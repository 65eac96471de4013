// SPDX-License-Identifier: Apache-2.0
#include "store.hpp"

#include <sigrun/go.hpp>

#include <sqlite3.h>

#include <chrono>
#include <mutex>
#include <stdexcept>

namespace gateway {
namespace {

using namespace std::chrono_literals;

// A note that was removed stays for a while without its text, for readers of the feed that were
// away; `live` and `gone` keep counting and pruning from reading everything.
constexpr const char* schema = R"(
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    revision INTEGER NOT NULL UNIQUE,
    text TEXT);
  CREATE INDEX IF NOT EXISTS live ON notes(id) WHERE text IS NOT NULL;
  CREATE INDEX IF NOT EXISTS gone ON notes(revision) WHERE text IS NULL;)";

#define NEXT_REVISION "(SELECT ifnull(max(revision), 0) + 1 FROM notes)"
#define LIVE "text IS NOT NULL"

[[noreturn]] void fail(sqlite3* db, const char* what) {
  throw std::runtime_error(std::string("database: ") + what + ": " + sqlite3_errmsg(db));
}

class statement {
 public:
  statement(sqlite3* db, const char* text) : db_(db) {
    if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &of_, nullptr) != SQLITE_OK) {
      fail(db, text);
    }
  }
  ~statement() { sqlite3_finalize(of_); }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;

  statement& with(int position, std::int64_t number) {
    sqlite3_bind_int64(of_, position, number);
    return *this;
  }
  // The text must outlive the run.
  statement& with(int position, std::string_view text) {
    sqlite3_bind_text64(of_, position, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    return *this;
  }
  template <class F>
  void each_row(F f) {
    int result = 0;
    while ((result = sqlite3_step(of_)) == SQLITE_ROW) f(of_);
    sqlite3_reset(of_);
    if (result != SQLITE_DONE) fail(db_, "step");
  }
  std::vector<note> rows() {
    std::vector<note> all;
    each_row([&](sqlite3_stmt* row) {
      note one{sqlite3_column_int64(row, 0),
               sqlite3_column_int64(row, 1),
               sqlite3_column_type(row, 2) == SQLITE_NULL,
               {}};
      if (const auto* text = sqlite3_column_text(row, 2)) {
        one.text.assign(reinterpret_cast<const char*>(text),
                        static_cast<std::size_t>(sqlite3_column_bytes(row, 2)));
      }
      all.push_back(std::move(one));
    });
    return all;
  }
  std::optional<note> row() {
    auto all = rows();
    if (all.empty()) return std::nullopt;
    return std::move(all.front());
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* of_ = nullptr;
};

struct connection {
  explicit connection(const std::string& path) {
    const int how = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path.c_str(), &of, how, nullptr) != SQLITE_OK) {
      const std::string what = "database " + path + ": " + sqlite3_errmsg(of);
      sqlite3_close(of);
      throw std::runtime_error(what);
    }
    // The other process of an upgrade writes too; its turns are short.
    sqlite3_busy_timeout(of, 5'000);
    if (sqlite3_exec(of, schema, nullptr, nullptr, nullptr) != SQLITE_OK) {
      const std::string what = "database " + path + ": " + sqlite3_errmsg(of);
      sqlite3_close(of);
      throw std::runtime_error(what);
    }
  }
  ~connection() { sqlite3_close(of); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  sqlite3* of = nullptr;
};

}  // namespace

struct store::database {
  explicit database(const std::string& path) : opened(path) {}

  connection opened;
  sqlite3* const of = opened.of;
  statement find{of, "SELECT id, revision, text FROM notes WHERE id = ?1 AND " LIVE};
  statement list{
      of, "SELECT id, revision, text FROM notes WHERE id > ?1 AND " LIVE " ORDER BY id LIMIT ?2"};
  statement create{of, "INSERT INTO notes(revision, text) SELECT " NEXT_REVISION
                       ", ?1 WHERE (SELECT count(*) FROM notes WHERE " LIVE
                       ") < ?2 RETURNING id, revision, text"};
  statement replace{of, "UPDATE notes SET text = ?2, revision = " NEXT_REVISION
                        " WHERE id = ?1 AND " LIVE " RETURNING id, revision, text"};
  statement remove{of, "UPDATE notes SET text = NULL, revision = " NEXT_REVISION
                       " WHERE id = ?1 AND " LIVE " RETURNING id, revision, text"};
  statement prune{of,
                  "DELETE FROM notes WHERE text IS NULL AND revision < "
                  "(SELECT max(revision) FROM notes) - 10000"};
  statement changes{of,
                    "SELECT id, revision, text FROM notes WHERE revision > ?1 "
                    "ORDER BY revision LIMIT ?2"};
  statement count{of, "SELECT count(*), " NEXT_REVISION " - 1 FROM notes WHERE " LIVE};
  statement version{of, "PRAGMA data_version"};
  std::int64_t version_seen = 0;
};

store::store(const std::string& path)
    : db_(sigrun::foreign_call([&] { return std::make_unique<database>(path); })) {}

store::~store() = default;

template <class F>
auto store::use(F f) {
  std::unique_lock hold(lock_);
  goes_on_.wait(hold, [this] { return !stalled_; });
  return sigrun::foreign_call([&] { return f(*db_); });
}

std::optional<note> store::find(std::int64_t id) {
  return use([&](database& db) { return db.find.with(1, id).row(); });
}

std::vector<note> store::list(std::int64_t after, std::size_t most) {
  return use([&](database& db) {
    return db.list.with(1, after).with(2, static_cast<std::int64_t>(most)).rows();
  });
}

std::optional<note> store::create(std::string_view text, std::uint64_t notes_max) {
  auto made = use([&](database& db) {
    return db.create.with(1, text).with(2, static_cast<std::int64_t>(notes_max)).row();
  });
  if (made) changed();
  return made;
}

std::optional<note> store::replace(std::int64_t id, std::string_view text) {
  auto made = use([&](database& db) { return db.replace.with(1, id).with(2, text).row(); });
  if (made) changed();
  return made;
}

std::optional<note> store::remove(std::int64_t id) {
  auto made = use([&](database& db) {
    auto gone = db.remove.with(1, id).row();
    db.prune.rows();
    return gone;
  });
  if (made) changed();
  return made;
}

std::vector<note> store::changes(std::int64_t revision, std::size_t most) {
  return use([&](database& db) {
    return db.changes.with(1, revision).with(2, static_cast<std::int64_t>(most)).rows();
  });
}

store::figures store::now() {
  return use([](database& db) {
    figures all;
    db.count.each_row([&](sqlite3_stmt* row) {
      all = {sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1)};
    });
    return all;
  });
}

void store::await_turn() {
  use([](database&) {});
}

void store::stall(bool on) {
  const std::lock_guard hold(lock_);
  stalled_ = on;
  goes_on_.notify_all();
}

// ---------------------------------------------------------------------------------------- changes

void store::changed() {
  const std::lock_guard hold(change_lock_);
  ++generation_;
  change_.notify_all();
}

std::uint64_t store::generation() {
  const std::lock_guard hold(change_lock_);
  return generation_;
}

void store::wait_for_change(std::uint64_t seen, const bool& over) {
  const auto due = [&] { return generation_ != seen || over; };
  for (;;) {
    {
      std::unique_lock hold(change_lock_);
      if (change_.wait_for(hold, 250ms, due)) return;
    }
    // SQLite's number for what others have committed; the first to see it tells all.
    const bool elsewhere = use([](database& db) {
      std::int64_t version = 0;
      db.version.each_row([&](sqlite3_stmt* row) { version = sqlite3_column_int64(row, 0); });
      const bool differs = db.version_seen != version;
      db.version_seen = version;
      return differs;
    });
    if (elsewhere) changed();
  }
}

void store::wake(bool& over) {
  const std::lock_guard hold(change_lock_);
  over = true;
  change_.notify_all();
}

}  // namespace gateway
