// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"

#include "http/core.hpp"
#include "http/text.hpp"

#include <sigrun/go.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace sigrun::http::detail {
namespace {

using namespace std::chrono_literals;

/// What is read and thrown away of a body that the handler did not want, to keep the connection.
constexpr std::uint64_t unread_max = 256 << 10;

}  // namespace

connection::connection(std::shared_ptr<server_core> core, std::unique_ptr<transport> under,
                       net::ip_address client, bool counted)
    : core_(std::move(core)),
      transport_(std::move(under)),
      client_(client),
      counted_(counted),
      born_(clock::now()) {
  since_ns_.store(born_.time_since_epoch().count());
  core_->add(*this);
}

connection::~connection() {
  std::error_code gone;
  transport_->stream().close(gone);  // (2)
  core_->remove(*this, client_, counted_);
}

void connection::run() {
  try {
    if (transport_->secure()) {
      std::error_code error;
      read_until(born_ + core_->options.timeouts.header);
      arm_write(0);
      transport_->handshake(error);
      if (error) return counters::count(core_->count.handshake_failures);
    }
    while (serve_one()) {
    }
    if (stage_.load() == stage::hijacked) return;
    set_stage(stage::ending);
    if (broken_) return;
    if (linger_due_ || !input_.empty() || transport_->holds_bytes() ||
        look_at(transport_->stream()) == pending::bytes) {
      linger();
    } else if (transport_->secure()) {
      arm_write(0);
      transport_->shutdown_write();
    }
  } catch (const std::exception& failure) {
    counters::count(core_->count.handler_failures);  // no memory
    report(failure.what());
  }
}

bool connection::serve_one() {
  switch (await_head()) {
    case got::end:
      broken_ = true;  // there is nobody to linger for
      return false;
    case got::answered:
      return false;
    case got::head:
      break;
  }
  call_handler();
  response_state& response = exchange_.response_data;
  if (response.at == response_state::stage::taken) return false;
  if (!broken_ && !response.finish()) {
    counters::count(core_->count.handler_failures);
    report("the body is shorter than its Content-Length");
    broken_ = true;
  }
  if (core_->options.access_log) log_access();
  if (broken_) {
    // A reset, so that nobody takes a part for the whole.
    const linger_option off{};
    setsockopt(transport_->stream().fd(), SOL_SOCKET, SO_LINGER, &off, sizeof off);
    return false;
  }
  return settle_body();
}

bool connection::settle_body() {
  // What the head has said holds, also when refusing began meanwhile: the client may be about to
  // send its next request, and is answered, or closed as idle ones are.
  bool keep = !exchange_.response_data.wants_close && !body_failed_;
  if (keep && !parser_.done()) {
    // What the handler did not read would be taken for the next request.
    const std::uint64_t read_before = body_bytes_;
    char room[4096];
    try {
      while (!parser_.done() && body_bytes_ - read_before <= unread_max) read_body(room);
    } catch (const std::exception&) {
      // Then it ends here.
    }
    keep = parser_.done();
  }
  if (!keep) {
    linger_due_ = !parser_.done();
    return false;
  }
  if (served_++ == 0) served_any_.store(true, std::memory_order_relaxed);  // for nudge() only
  exchange_.request_data.head.fields.clear();
  input_.unpin();
  return true;
}

// ---------------------------------------------------------------------------------- the head

connection::got connection::await_first_byte() {
  const auto& times = core_->options.timeouts;
  const auto now = clock::now();
  const auto wait = served_ == 0 ? times.header : times.idle;
  arm_read(now, wait, served_ == 0 ? 0ms : wait / 4);
  since_ns_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  stage_.store(stage::idle, std::memory_order_relaxed);  // shown only
  phase_.store(phase::idle);                             // (3)
  if (core_->refusing()) nudge(core_->idle_grace());
  std::error_code error;
  const mutable_buffer room = input_.prepare(1);
  std::size_t count = transport_->read(room, error);
  const bool nudged = phase_.exchange(phase::busy) == phase::nudged;
  if (nudged) read_deadline_ = clock::time_point::min();
  if (nudged && error == std::errc::timed_out) {
    if (!transport_->secure() && core_->pass_on(transport_->stream().fd())) return got::end;
    // Somebody may have sent something just now: it is answered.
    if (look_at(transport_->stream()) != pending::bytes) return got::end;
    read_until(clock::now() + 1s);
    count = transport_->read(room, error);
  }
  if (error || count == 0) return got::end;
  input_.commit(count);
  return got::head;
}

/// Lines are counted off as they come, so that a line that ends otherwise than with CR LF is
/// refused at once, and not when the time is up. `end` is 0 until the head is complete.
verdict connection::look_for_head(std::size_t& scanned, std::size_t& end) const {
  const std::string_view text = input_.view();
  if (!text.empty() && !is_token(text.substr(0, 1)) && text[0] != '\r') {
    return {400, "this is no request"};
  }
  for (;;) {
    const bool at_line = scanned != 0 && scanned < text.size() && text[scanned - 1] == '\n';
    if (at_line && (text[scanned] == ' ' || text[scanned] == '\t')) {
      return {400, "a header is folded over lines"};
    }
    const void* const found = std::memchr(text.data() + scanned, '\n', text.size() - scanned);
    if (found == nullptr) break;
    const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    if (at == 0 || text[at - 1] != '\r') return {400, "a line does not end with CR LF"};
    scanned = at + 1;
    if (at >= 3 && text[at - 2] == '\n') {
      end = at + 1;
      break;
    }
  }
  if (end == 0) end = text.size() + 1;  // too long already?
  if (end > core_->options.limits.header_bytes) {
    return text.find('\n') == std::string_view::npos ? verdict{414, "the target is too long"}
                                                     : verdict{431, "the headers are too long"};
  }
  if (end > text.size()) {
    scanned = text.size();
    end = 0;
  }
  return {};
}

connection::got connection::await_head() {
  if (input_.empty()) {
    const got first = await_first_byte();
    if (first != got::head) return first;
  }
  stage_.store(stage::head, std::memory_order_relaxed);
  request_began_ = clock::now();
  parser_.reset();
  continue_due_ = body_failed_ = keep_ = false;
  exchange_.request_data.begin();
  exchange_.response_data.begin();
  std::size_t scanned = 0;
  std::size_t end = 0;
  // An empty line or two may come before a request. (RFC 9112, 2.2)
  int empty_lines = 0;
  bool timed = false;
  for (;;) {
    while (scanned == 0 && empty_lines < 2 && input_.view().starts_with("\r\n")) {
      input_.take(2);
      ++empty_lines;
    }
    if (!input_.empty()) {
      if (const verdict bad = look_for_head(scanned, end)) {
        answer(bad);
        return got::answered;
      }
      if (end != 0) break;
    }
    if (!timed) read_until(clock::now() + core_->options.timeouts.header);
    timed = true;
    std::error_code error;
    if (receive(1, error)) continue;
    if (!error && !input_.empty()) {  // half-closed: it may still read
      answer({400, "the head ended too early"});
      return got::answered;
    }
    if (error != std::errc::timed_out) return got::end;
    counters::count(core_->count.timed_out);
    answer({408, "the request's head took too long"});
    return got::answered;
  }
  if (const verdict bad = begin_request(end)) {
    answer(bad);
    return got::answered;
  }
  return got::head;
}

verdict connection::begin_request(std::size_t head_bytes) {
  request_state& request = exchange_.request_data;
  request_began_ = clock::now();
  body_bytes_ = 0;
  const std::string_view text = input_.view().substr(0, head_bytes);
  const verdict bad = parser_.head(text, core_->options.limits.header_count, request.head);
  if (bad) return bad;
  input_.take(head_bytes);
  input_.pin();
  if (const verdict wrong = check_target()) return wrong;
  counters::count(core_->count.requests);
  since_ns_.store(request_began_.time_since_epoch().count(), std::memory_order_relaxed);
  note_request();
  stage_.store(stage::handler, std::memory_order_relaxed);
  keep_ = request.head.keep_alive;
  continue_due_ = request.head.expects_continue && request.head.version >= 11 && !parser_.done();
  body_budget_ = core_->options.timeouts.body;
  if (core_->refusing() && !core_->serves_on()) {
    counters::count(core_->count.unavailable);
    return {503, "the server is about to end"};
  }
  if (request.head.expects_unknown) return {417, "an expectation other than 100-continue"};
  return {};
}

verdict connection::check_target() {
  request_state& request = exchange_.request_data;
  std::string_view target = request.head.target;
  if (request.head.method == "CONNECT") return {501, "CONNECT is for proxies"};
  const auto is_scheme = [&](std::string_view scheme) {
    return target.size() > scheme.size() && same_name(target.substr(0, scheme.size()), scheme);
  };
  if (is_scheme("http://") || is_scheme("https://")) {
    // The absolute form's authority goes before the Host field. (RFC 9112, 3.2.2)
    target.remove_prefix(target.find("//") + 2);
    const std::size_t slash = target.find_first_of("/?");
    request.head.host = target.substr(0, slash);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target.find('#') != std::string_view::npos) return {400, "a fragment in the target"};
  const std::size_t mark = target.find('?');
  request.target = target;
  request.raw_path = target.substr(0, mark);
  request.query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  if (request.raw_path.empty()) request.raw_path = "/";
  if (target == "*" && request.head.method == "OPTIONS") return {};
  if (request.raw_path[0] != '/') return {400, "the target does not begin with a slash"};
  if (request.raw_path.find('%') != std::string_view::npos) {
    request.decoded_path = percent_decoded(request.raw_path, false);
    if (!request.decoded_path) return {400, "a bad escape in the target"};
  }
  return {};
}

// ------------------------------------------------------------------------------- the handler

void connection::call_handler() {
  int status = 0;
  std::string text;
  header_list fields;
  try {
    core_->handle(exchange_.request(), exchange_.response());
    return;
  } catch (const http::error& said) {
    status = said.status();
    text = said.what();
    fields = said.fields();
  } catch (const std::exception& failure) {
    status = 500;
    text = failure.what();
  } catch (const sigrun::detail::goexit_unwind&) {
    throw;
  } catch (...) {
    status = 500;
    text = "an exception that is no std::exception";
  }
  if (broken_) return;  // by the client, and that is why it threw
  if (exchange_.response_data.at == response_state::stage::taken) {
    counters::count(core_->count.handler_failures);
    return report(text.c_str());
  }
  answer_failure(status, text, fields);
}

void connection::answer_failure(int status, const std::string& text, header_list& fields) {
  response_state& response = exchange_.response_data;
  const bool ours = status == 500;
  const bool started = exchange_.response().started();
  if (ours || started) {
    counters::count(core_->count.handler_failures);
    report(text.c_str());
  }
  if (started) {
    broken_ = true;
    return;
  }
  const bool closing = response.wants_close || body_failed_;
  response.begin();
  response.wants_close = closing;
  response.status = status >= 200 && status <= 599 ? status : 500;
  try {
    response.fields = std::move(fields);
    response.fields.set("Content-Type", "text/plain; charset=utf-8");
    // What our own failures say is not for strangers.
    response.send((ours ? std::string(status_text(500)) : text) + "\n");
  } catch (const std::exception&) {
    broken_ = true;
  }
}

// What it throws is nobody's answer, and must not leave the goroutine.
template <class F>
void connection::call_hook_of_program(F f) {
  try {
    f();
  } catch (const sigrun::detail::goexit_unwind&) {
    throw;
  } catch (...) {
    counters::count(core_->count.handler_failures);
  }
}

void connection::report(const char* what) {
  if (!core_->options.on_failure) return;
  const request_state& request = exchange_.request_data;
  call_hook_of_program([&] {
    core_->options.on_failure(
        {request.head.method, request.target, what, exchange_.response().started()});
  });
}

void connection::answer(const verdict& v) {
  if (v.status != 503 && v.status != 408) counters::count(core_->count.malformed);
  keep_ = false;
  linger_due_ = !parser_.done();
  response_state& response = exchange_.response_data;
  response.begin();
  response.wants_close = true;
  response.status = v.status;
  try {
    response.fields.set("Content-Type", "text/plain; charset=utf-8");
    if (v.status == 503) response.fields.set("Retry-After", "1");
    response.send(std::string(v.why) + "\n");
  } catch (const std::exception&) {
    broken_ = true;
  }
  if (core_->options.access_log) log_access();
}

void connection::log_access() {
  const request_state& request = exchange_.request_data;
  const response_state& response = exchange_.response_data;
  access_record record;
  record.took = clock::now() - request_began_;
  record.at = std::chrono::system_clock::now() -
              std::chrono::duration_cast<std::chrono::system_clock::duration>(record.took);
  record.remote = remote();
  record.method = request.head.method;
  record.target = request.head.target;
  record.host = request.head.host;
  record.user_agent = request.head.find("User-Agent");
  record.referer = request.head.find("Referer");
  record.version = request.head.version;
  record.status = response.status;
  record.bytes_sent = response.sent;
  record.secure = transport_->secure();
  call_hook_of_program([&] { core_->options.access_log(record); });
}

void connection::linger() noexcept {
  arm_write(0);
  transport_->shutdown_write();
  read_until(clock::now() + core_->options.timeouts.linger);
  input_ = {};
  std::error_code error;
  char room[4096];
  // Bounded by time; who sends faster than that for a second may be reset.
  while (transport_->read(room, error) != 0 && !error) {
  }
}

// --------------------------------------------------------------------------------- the bytes

bool connection::receive(std::size_t wanted, std::error_code& error) {
  const mutable_buffer room = input_.prepare(wanted);
  std::size_t count = transport_->read(room, error);
  while (error == std::errc::timed_out && clock::now() < read_deadline_) {  // (4)
    read_until(read_deadline_);
    count = transport_->read(room, error);
  }
  if (error || count == 0) return false;
  input_.commit(count);
  return true;
}

void connection::read_until(clock::time_point at) noexcept {
  std::error_code gone;
  read_deadline_ = at;
  transport_->stream().set_read_deadline(at, gone);
}

void connection::arm_read(clock::time_point now, clock::duration wait,
                          clock::duration more) noexcept {
  // Set anew only when it would come too early or far too late: not every read moves a timer.
  if (read_deadline_ >= now + wait && read_deadline_ <= now + wait + wait / 4) return;
  read_until(now + wait + more);
}

void connection::arm_write(std::size_t bytes) noexcept {
  const auto wait =
      core_->options.timeouts.write +
      std::chrono::seconds(bytes / std::max<std::size_t>(1, core_->options.limits.body_rate));
  const auto now = clock::now();
  if (write_deadline_ >= now + wait && write_deadline_ <= now + wait + wait / 4) return;
  write_deadline_ = now + wait + wait / 4;
  std::error_code gone;
  transport_->stream().set_write_deadline(write_deadline_, gone);
}

bool connection::try_write(std::span<const const_buffer> from, std::size_t bytes) noexcept {
  if (broken_) return false;
  arm_write(bytes);
  std::error_code error;
  transport_->write(from, error);
  if (!error) return true;
  if (error == std::errc::timed_out) counters::count(core_->count.timed_out);
  broken_ = true;
  return false;
}

void connection::write(std::span<const const_buffer> from, std::size_t bytes) {
  if (!try_write(from, bytes)) {
    throw std::system_error(std::make_error_code(std::errc::broken_pipe),
                            "sigrun::http: the client is gone");
  }
}

bool connection::receive_body(std::error_code& error) {
  const auto began = clock::now();
  arm_read(began, body_budget_, {});
  const std::size_t had = input_.size();
  if (!receive(input_buffer::body_size, error)) return false;
  const std::size_t rate = std::max<std::size_t>(1, core_->options.limits.body_rate);
  const auto won = std::chrono::nanoseconds(1s) * (input_.size() - had) / rate;
  body_budget_ = std::min<clock::duration>(core_->options.timeouts.body,
                                           body_budget_ - (clock::now() - began) + won);
  return true;
}

std::size_t connection::read_body(mutable_buffer into) {
  if (body_failed_) throw http::error(400, "the body could not be read");
  const request_state& request = exchange_.request_data;
  const auto fail = [this](int status, const char* why) {
    body_failed_ = true;
    if (status != 408) counters::count(core_->count.malformed);
    throw http::error(status, why);
  };
  if (request.head.content_length.value_or(0) > request.body_limit) {
    fail(413, "the body is too large");
  }
  if (continue_due_ && exchange_.response_data.at == response_state::stage::open) {
    const const_buffer go_on("HTTP/1.1 100 Continue\r\n\r\n");
    write({&go_on, 1}, go_on.size());
  }
  continue_due_ = false;
  for (;;) {
    if (parser_.done() || into.size() == 0) return 0;
    const body_step step = parser_.body(input_.view(), into);
    input_.take(step.taken);
    body_bytes_ += step.produced;
    if (step.bad) fail(step.bad.status, step.bad.why);
    if (body_bytes_ > request.body_limit) fail(413, "the body is too large");
    if (step.produced != 0) return step.produced;
    if (step.done) continue;
    std::error_code error;
    if (receive_body(error)) continue;
    if (!error) fail(400, "the body ended too early");  // half-closed: it may still read
    if (error == std::errc::timed_out) {
      counters::count(core_->count.timed_out);
      fail(408, "the body took too long");
    }
    broken_ = body_failed_ = true;
    throw std::system_error(error, "sigrun::http: read");
  }
}

std::size_t connection::send_file(int fd, std::uint64_t offset, std::size_t count) {
  arm_write(count);
  std::error_code error;
  const std::size_t sent = transport_->stream().sendfile(fd, offset, count, error);
  if (error) {
    if (error == std::errc::timed_out) counters::count(core_->count.timed_out);
    broken_ = true;
    throw std::system_error(error, "sigrun::http: sendfile");
  }
  return sent;
}

bool connection::may_keep() const noexcept {
  if (!keep_ || broken_ || body_failed_ || continue_due_) return false;
  if (!core_->keeps_alive() || core_->refusing() || exchange_.response_data.wants_close) {
    return false;
  }
  // More than is worth reading?
  const auto& length = exchange_.request_data.head.content_length;
  return parser_.done() || !length || *length - body_bytes_ <= unread_max;
}

const std::string& connection::remote() const {
  if (remote_.empty()) remote_ = transport_->remote();
  return remote_;
}

}  // namespace sigrun::http::detail
