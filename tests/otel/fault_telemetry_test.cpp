// SPDX-License-Identifier: Apache-2.0
//
// What a collector is sent of faults that were caught and of crashes, once, and what becomes of it
// when there is no collector, or a bad one.
#include "support/child_process.hpp"
#include "unit/fault/faulty.hpp"

#include <sigrun/crash.hpp>
#include <sigrun/fault.hpp>
#include <sigrun/fault_telemetry.hpp>
#include <sigrun/go.hpp>
#include <sigrun/http_server.hpp>
#include <sigrun/net.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace sigrun::test {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;
using namespace std::chrono_literals;

// Takes what is posted to /v1/traces, and answers with the statuses it was given, then with 200.
class collector {
 public:
  explicit collector(std::vector<int> statuses = {}) : statuses_(std::move(statuses)) {
    http::router routes;
    routes.post("/v1/traces", [this](auto& request, auto& response) { take(request, response); });
    server_ = std::make_unique<http::server>(std::move(routes));
    at_ = server_->listen({net::ip_address::loopback_v4(), 0});
  }

  std::string url() const { return "http://" + at_.to_string() + "/v1/traces"; }
  std::vector<json> documents() const {
    const std::lock_guard hold(lock_);
    return documents_;
  }
  int asked() const {
    const std::lock_guard hold(lock_);
    return asked_;
  }

 private:
  void take(http::request& request, http::response& response) {
    const std::string body = request.body();
    const std::lock_guard hold(lock_);
    const auto turn = static_cast<std::size_t>(asked_++);
    const int status = turn < statuses_.size() ? statuses_[turn] : 200;
    EXPECT_EQ(request.header_value("content-type"), "application/json");
    if (status == 200) documents_.push_back(json::parse(body));
    response.status(status).text("{}");
  }

  mutable std::mutex lock_;
  std::vector<int> statuses_;
  std::vector<json> documents_;
  int asked_ = 0;
  net::endpoint at_;
  std::unique_ptr<http::server> server_;
};

class fault_telemetry_test : public ::testing::Test {
 protected:
  fault_telemetry_test() {
    std::string pattern = (fs::temp_directory_path() / "sigrun-otel-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    crashes_ = folder_ / "crashes";
    ::alarm(100);
  }
  ~fault_telemetry_test() override {
    ::alarm(0);
    fs::remove_all(folder_);
  }

  fault_telemetry_options options_to(const collector& one) const {
    return {.endpoint = one.url(), .service_name = "under test"};
  }

  // A process that leaves a report.
  template <class F>
  void crash(F how) {
    const child_result died = run_child([&] {
      install_crash_reports({.directory = crashes_.string(),
                             .text_file = (folder_ / "text").string(),
                             .symbolize = false,
                             .version = "4.5.6"});
      how();
      return 0;
    });
    ASSERT_FALSE(died.exited_with(0)) << died.describe();
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(crashes_)) {
      all.push_back(entry.path().filename().string());
    }
    return all;
  }

  fs::path folder_;
  fs::path crashes_;
};

void throws_beyond() { throw std::out_of_range("beyond"); }

bool faults_once() {
  try {
    guarded([] { load(near_null); });
  } catch (const fault_error&) {
    return true;
  }
  return false;
}

const json& spans_of(const json& document) {
  return document.at("resourceSpans").at(0).at("scopeSpans").at(0).at("spans");
}

json value_in(const json& attributes, const std::string& key) {
  for (const json& one : attributes) {
    if (one.at("key") == key) return one.at("value").begin().value();
  }
  return nullptr;
}

json about(const json& document, const std::string& key) {
  return value_in(document.at("resourceSpans").at(0).at("resource").at("attributes"), key);
}

json event_value(const json& span, const std::string& key) {
  const json& event = span.at("events").at(0);
  EXPECT_EQ(event.at("name"), "exception");
  return value_in(event.at("attributes"), "exception." + key);
}

bool has(const json& text, std::string_view piece) {
  return text.is_string() && text.get<std::string>().find(piece) != std::string::npos;
}

using fault_telemetry_DeathTest = fault_telemetry_test;

TEST_F(fault_telemetry_DeathTest, a_crash_of_an_earlier_run_is_exported_once) {
  crash([] { load(near_null); });
  collector one;
  fault_telemetry_options options = options_to(one);
  options.crash_directory = crashes_.string();
  for (int start = 0; start < 3; ++start) {
    fault_telemetry telemetry(options);
    ASSERT_TRUE(telemetry.flush(60s));
    EXPECT_EQ(telemetry.counts().reports, start == 0 ? 1u : 0u);
    EXPECT_EQ(telemetry.counts().reports_failed, 0u);
  }
  ASSERT_EQ(one.documents().size(), 1u);
  const json document = one.documents().front();
  EXPECT_EQ(about(document, "service.name"), "under test");
  EXPECT_EQ(about(document, "service.version"), "4.5.6");
  EXPECT_NE(about(document, "process.pid"), std::to_string(::getpid()));
  const json span = spans_of(document).at(0);
  EXPECT_EQ(span.at("name"), "crash");
  EXPECT_EQ(span.at("status").at("code"), 2);
  EXPECT_EQ(span.at("traceId").get<std::string>().size(), 32u);
  EXPECT_EQ(span.at("spanId").get<std::string>().size(), 16u);
  EXPECT_EQ(event_value(span, "type"), "SIGSEGV");
  EXPECT_EQ(event_value(span, "message"), "SIGSEGV (SEGV_MAPERR) at 0x18");
  EXPECT_EQ(event_value(span, "escaped"), true);
  EXPECT_TRUE(has(event_value(span, "stacktrace"), "sigrun::test::load")) << span;
  ASSERT_EQ(names().size(), 1u);
  EXPECT_TRUE(names().front().ends_with(".sent.json")) << names().front();
}

TEST_F(fault_telemetry_DeathTest, an_exception_that_nobody_caught_has_its_own_type) {
  // On no thread of its own: TSan starts none in a forked child.
  crash([]() noexcept { throws_beyond(); });
  collector one;
  fault_telemetry_options options = options_to(one);
  options.crash_directory = crashes_.string();
  fault_telemetry telemetry(options);
  ASSERT_TRUE(telemetry.flush(60s));
  ASSERT_EQ(one.documents().size(), 1u);
  const json document = one.documents().front();
  const json& span = spans_of(document).at(0);
  EXPECT_EQ(event_value(span, "type"), "std::out_of_range");
  EXPECT_EQ(event_value(span, "message"), "beyond");
}

TEST_F(fault_telemetry_DeathTest, what_nobody_took_is_exported_at_the_next_start_with_the_same_id) {
  crash([] { load(near_null); });
  collector one({400});
  fault_telemetry_options options = options_to(one);
  options.crash_directory = crashes_.string();
  {
    fault_telemetry telemetry(options);
    ASSERT_TRUE(telemetry.flush(60s));
    EXPECT_EQ(telemetry.counts().reports_failed, 1u);
  }
  EXPECT_FALSE(names().front().ends_with(".sent.json"));
  options.file = (folder_ / "lines").string();
  fault_telemetry telemetry(options);
  ASSERT_TRUE(telemetry.flush(60s));
  EXPECT_EQ(telemetry.counts().reports, 1u);
  std::ifstream file(options.file);
  const json line = json::parse(file);
  EXPECT_EQ(spans_of(line).at(0).at("spanId"), spans_of(one.documents().at(0)).at(0).at("spanId"));
}

TEST_F(fault_telemetry_test, a_fault_that_was_caught_is_an_event_of_a_span) {
  collector one;
  fault_telemetry telemetry(options_to(one));
  go([] { EXPECT_TRUE(faults_once()); }).join();
  ASSERT_TRUE(telemetry.flush(60s));
  EXPECT_EQ(telemetry.counts().faults, 1u);
  ASSERT_EQ(one.documents().size(), 1u);
  const json document = one.documents().front();
  EXPECT_EQ(about(document, "process.pid"), std::to_string(::getpid()));
  const json& span = spans_of(document).at(0);
  EXPECT_EQ(span.at("name"), "fault");
  EXPECT_EQ(event_value(span, "type"), "sigrun::fault_error");
  EXPECT_TRUE(has(event_value(span, "message"), "SIGSEGV (SEGV_MAPERR) at 0x18, pc 0x"));
  EXPECT_EQ(event_value(span, "escaped"), false);
  EXPECT_TRUE(has(event_value(span, "stacktrace"), "sigrun::test::load")) << span;
  EXPECT_NE(value_in(span.at("attributes"), "sigrun.goroutine.id"), "0");
}

TEST_F(fault_telemetry_test, a_collector_that_is_busy_is_asked_again) {
  collector one({503, 429});
  fault_telemetry telemetry(options_to(one));
  EXPECT_TRUE(faults_once());
  ASSERT_TRUE(telemetry.flush(60s));
  EXPECT_EQ(one.asked(), 3);
  EXPECT_EQ(telemetry.counts().faults, 1u);
  EXPECT_EQ(telemetry.counts().faults_failed, 0u);
}

TEST_F(fault_telemetry_test, one_that_refuses_is_not_and_that_is_counted) {
  collector one({404});
  fault_telemetry telemetry(options_to(one));
  EXPECT_TRUE(faults_once());
  ASSERT_TRUE(telemetry.flush(60s));
  EXPECT_EQ(one.asked(), 1);
  EXPECT_EQ(telemetry.counts().faults_failed, 1u);
}

TEST_F(fault_telemetry_test, what_the_queue_has_no_room_for_is_counted) {
  collector one;
  fault_telemetry_options options = options_to(one);
  options.queue_max = 2;
  std::uint64_t sum = 0;
  constexpr int faults = 200;
  {
    fault_telemetry telemetry(options);
    for (int i = 0; i < faults; ++i) EXPECT_TRUE(faults_once());
    ASSERT_TRUE(telemetry.flush(60s));
    const fault_telemetry_counts counts = telemetry.counts();
    sum = counts.faults + counts.faults_dropped + counts.faults_failed;
    EXPECT_GT(counts.faults, 0u);
  }
  EXPECT_EQ(sum, static_cast<std::uint64_t>(faults));
}

TEST_F(fault_telemetry_test, a_file_gets_a_line_for_each_document_up_to_its_limit) {
  const std::string path = (folder_ / "lines").string();
  {
    fault_telemetry telemetry({.file = path, .service_name = "lines"});
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(faults_once());
      ASSERT_TRUE(telemetry.flush(60s));
    }
  }
  struct stat about_it {};
  ASSERT_EQ(::stat(path.c_str(), &about_it), 0);
  EXPECT_EQ(about_it.st_mode & 0777, 0600u);
  std::ifstream file(path);
  std::string line;
  int lines = 0;
  for (; std::getline(file, line); ++lines)
    EXPECT_EQ(about(json::parse(line), "service.name"), "lines");
  EXPECT_EQ(lines, 3);
  fault_telemetry full({.file = path, .file_max = static_cast<std::uint64_t>(about_it.st_size)});
  EXPECT_TRUE(faults_once());
  ASSERT_TRUE(full.flush(60s));
  EXPECT_EQ(full.counts().faults_failed, 1u);
}

TEST_F(fault_telemetry_test, files_that_are_no_reports_are_counted_and_stay) {
  fs::create_directory(crashes_);
  std::ofstream(crashes_ / "crash-1000000000-1.json") << "{\"kind\": \"sigrun-crash\"}";
  std::ofstream(crashes_ / "crash-1000000001-1.json") << "rubbish";
  std::ofstream(crashes_ / "notes.txt") << "a user's own";
  fault_telemetry telemetry(
      {.file = (folder_ / "lines").string(), .crash_directory = crashes_.string()});
  ASSERT_TRUE(telemetry.flush(60s));
  EXPECT_EQ(telemetry.counts().reports_unread, 2u);
  EXPECT_EQ(names().size(), 3u);
}

TEST_F(fault_telemetry_test, what_is_left_at_the_end_is_exported) {
  collector one;
  {
    fault_telemetry telemetry(options_to(one));
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(faults_once());
  }
  std::size_t spans = 0;
  for (const json& document : one.documents()) spans += spans_of(document).size();
  EXPECT_EQ(spans, 5u);
}

// Of two documents the first is on its way when the end comes, and the second would begin just
// before the time is up.
TEST_F(fault_telemetry_test, the_end_takes_the_timeout_once_although_nobody_answers) {
  net::tcp_listener silent = net::tcp_listener::listen({net::ip_address::loopback_v4(), 0});
  constexpr auto timeout = 3s;
  std::chrono::steady_clock::time_point begun;
  {
    fault_telemetry telemetry(
        {.endpoint = "http://" + silent.local_endpoint().to_string() + "/", .timeout = timeout});
    EXPECT_TRUE(faults_once());
    const net::tcp_stream first = silent.accept();
    EXPECT_TRUE(faults_once());
    begun = std::chrono::steady_clock::now();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, timeout * 9 / 5);
}

TEST_F(fault_telemetry_test, bad_options_are_named) {
  ::unsetenv("OTEL_EXPORTER_OTLP_ENDPOINT");
  ::unsetenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const auto said = [](const fault_telemetry_options& options) {
    try {
      fault_telemetry telemetry(options);
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_TRUE(has(said({}), "neither endpoint nor file"));
  EXPECT_TRUE(has(said({.endpoint = "ftp://x/"}), "ftp://x/"));
  EXPECT_TRUE(has(said({.file = "/nonexistent/x"}), "/nonexistent/x"));
  EXPECT_TRUE(has(said({.file = "/dev/null", .queue_max = 0}), "queue_max is 0"));
  EXPECT_TRUE(has(said({.file = "/dev/null", .tries = 0}), "tries is 0"));
  EXPECT_TRUE(has(said({.file = "/dev/null", .timeout = 0ms}), "timeout is 0"));
  fault_telemetry only({.file = "/dev/null"});
  EXPECT_TRUE(has(said({.file = "/dev/null"}), "there is one already"));
}

TEST_F(fault_telemetry_test, an_observer_that_was_there_is_called_too_and_is_back_afterwards) {
  static std::atomic<int> told;
  told = 0;
  const fault_observer mine = [](const fault&) noexcept { told.fetch_add(1); };
  set_fault_observer(mine);
  {
    fault_telemetry telemetry({.file = "/dev/null"});
    EXPECT_TRUE(faults_once());
    EXPECT_EQ(told.load(), 1);
  }
  EXPECT_EQ(set_fault_observer(nullptr), mine);
}

}  // namespace
}  // namespace sigrun::test
