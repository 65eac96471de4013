// SPDX-License-Identifier: Apache-2.0
#include "http/parser.hpp"

#include "http/text.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <algorithm>
#include <cstring>

namespace sigrun::http::detail {
namespace {

namespace beast = boost::beast;
using beast_string = beast::string_view;
using beast_error = beast::error_code;

std::string_view ours(beast_string text) noexcept { return {text.data(), text.size()}; }

/// What one parser fills; the same for requests and responses.
struct sink {
  std::string_view text;  // the head, to see whether a value lies in it
  std::size_t fields_max = 0;
  message_head* head = nullptr;
  bool head_done = false;
  verdict bad;
  int lengths = 0;
  int hosts = 0;
  bool coded = false;
  char* out = nullptr;
  std::size_t room = 0;
  std::size_t produced = 0;
  std::vector<std::pair<std::string, std::string>> trailers;
  std::size_t trailer_bytes = 0;

  void refuse(int status, const char* why, beast_error& error) {
    bad = {status, why};
    error = beast::http::make_error_code(beast::http::error::bad_field);
  }

  void field(beast::http::field name, beast_string name_text, beast_string value_text,
             beast_error& error) {
    using beast::http::field;
    if (head_done) return trailer(ours(name_text), ours(value_text), error);
    const std::string_view value = ours(value_text);
    // An unfolded value is Beast's copy: everything else lies in the text.
    if (!value.empty() &&
        (value.data() < text.data() || value.data() >= text.data() + text.size())) {
      return refuse(400, "a header is folded over lines", error);
    }
    if (head->fields.size() >= fields_max) return refuse(431, "too many headers", error);
    head->fields.push_back({ours(name_text), value});
    switch (name) {
      case field::content_length:
        if (++lengths > 1) return refuse(400, "Content-Length more than once", error);
        if (!parse_number(value)) return refuse(400, "Content-Length is no number", error);
        break;
      case field::transfer_encoding:
        if (coded) return refuse(400, "Transfer-Encoding more than once", error);
        coded = true;
        if (!same_name(value, "chunked")) {
          return refuse(501, "a transfer coding other than chunked", error);
        }
        break;
      case field::host:
        if (++hosts > 1) return refuse(400, "Host more than once", error);
        head->host = value;
        break;
      case field::expect:
        (same_name(value, "100-continue") ? head->expects_continue : head->expects_unknown) = true;
        break;
      default:
        break;
    }
  }

  void trailer(std::string_view name, std::string_view value, beast_error& error) {
    if (trailers.size() >= message_parser::trailers_max) {
      return refuse(431, "too many trailers", error);
    }
    trailer_bytes += name.size() + value.size();
    if (trailer_bytes >= message_parser::line_max) {
      return refuse(400, "a chunk's line is too long", error);
    }
    trailers.emplace_back(name, value);
  }

  std::size_t content(beast_string part) {
    const std::size_t count = std::min(part.size(), room - produced);
    if (count != 0) std::memcpy(out + produced, part.data(), count);
    produced += count;
    return count;
  }
};

template <bool IsRequest>
class beast_parser final : public beast::http::basic_parser<IsRequest> {
 public:
  explicit beast_parser(sink& to) : sink_(to) {
    this->header_limit(UINT32_MAX);  // the head is complete, and was bounded before
    this->body_limit(boost::none);
  }

 private:
  void on_request_impl(beast::http::verb, beast_string method, beast_string target, int version,
                       beast_error&) override {
    sink_.head->method = ours(method);
    sink_.head->target = ours(target);
    sink_.head->version = version;
  }
  void on_response_impl(int code, beast_string, int version, beast_error&) override {
    sink_.head->status = code;
    sink_.head->version = version;
  }
  void on_field_impl(beast::http::field name, beast_string name_text, beast_string value,
                     beast_error& error) override {
    sink_.field(name, name_text, value, error);
  }
  void on_header_impl(beast_error& error) override {
    error = {};
    sink_.head_done = true;
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast_error& error) override {
    error = {};
  }
  std::size_t on_body_impl(beast_string part, beast_error& error) override {
    error = {};
    return sink_.content(part);
  }
  void on_chunk_header_impl(std::uint64_t, beast_string extensions, beast_error& error) override {
    error = {};
    if (extensions.size() >= message_parser::line_max) {
      sink_.refuse(400, "a chunk's line is too long", error);
    }
  }
  std::size_t on_chunk_body_impl(std::uint64_t, beast_string part, beast_error& error) override {
    error = {};
    return sink_.content(part);
  }
  void on_finish_impl(beast_error& error) override { error = {}; }

  sink& sink_;
};

/// Whether a request's line ends with some version of HTTP.
bool has_version(std::string_view text) noexcept {
  text = text.substr(0, text.find('\r'));
  const std::size_t target = text.find(' ');
  const std::size_t space = text.find(' ', target + 1);
  if (space == std::string_view::npos) return false;
  text.remove_prefix(space + 1);
  const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  return text.size() == 8 && text.starts_with("HTTP/") && digit(5) && text[6] == '.' && digit(7);
}

verdict verdict_of(const beast_error& error, const sink& from) {
  using code = beast::http::error;
  if (from.bad) return from.bad;
  if (error == code::bad_version && has_version(from.text)) {
    return {505, "not HTTP/1.0 or HTTP/1.1"};
  }
  if (error == code::bad_method) return {400, "the method is no token"};
  if (error == code::bad_target) return {400, "the target has characters that it must not have"};
  if (error == code::bad_field) return {400, "a header's name is no token before a colon"};
  if (error == code::bad_value) return {400, "a header's value has a control character in it"};
  if (error == code::bad_line_ending) return {400, "a line does not end with CR LF"};
  if (error == code::bad_content_length) return {400, "Content-Length is no number, or conflicts"};
  if (error == code::multiple_content_length) return {400, "Content-Length more than once"};
  if (error == code::bad_transfer_encoding) {
    return {400, "Transfer-Encoding together with Content-Length, or twice"};
  }
  if (error == code::bad_chunk || error == code::bad_chunk_extension) {
    return {400, "a chunk is malformed"};
  }
  if (error == code::bad_obs_fold) return {400, "a header is folded over lines"};
  return {400, "the message is malformed"};
}

}  // namespace

struct message_parser::impl {
  explicit impl(kind which) : is_request(which == kind::request) {}

  template <class F>
  decltype(auto) with(F&& f) {
    return is_request ? f(*request) : f(*response);
  }

  const bool is_request;
  sink into;
  std::optional<beast_parser<true>> request;
  std::optional<beast_parser<false>> response;
  bool finished = false;
};

message_parser::message_parser(kind which) : impl_(std::make_unique<impl>(which)) { reset(); }
message_parser::~message_parser() = default;

void message_parser::reset() noexcept {
  sink& into = impl_->into;
  into.head_done = false;
  into.bad = {};
  into.lengths = into.hosts = 0;
  into.coded = false;
  into.trailers.clear();
  into.trailer_bytes = 0;
  impl_->finished = false;
  if (impl_->is_request) {
    impl_->request.emplace(into);
  } else {
    impl_->response.emplace(into);
  }
}

void message_parser::expect_no_body() noexcept { impl_->response->skip(true); }

verdict message_parser::head(std::string_view text, std::size_t fields_max, message_head& out) {
  sink& into = impl_->into;
  out.fields.clear();
  out.content_length.reset();
  out.expects_continue = out.expects_unknown = false;
  out.host = {};
  into.text = text;
  into.fields_max = fields_max;
  into.head = &out;
  return impl_->with([&](auto& parser) -> verdict {
    beast_error error;
    const std::size_t taken = parser.put({text.data(), text.size()}, error);
    if (error) return verdict_of(error, into);
    // An empty line that is not the last would leave something behind.
    if (!parser.is_header_done() || taken != text.size()) return {400, "the head is malformed"};
    if (impl_->is_request) {
      if (into.coded && out.version < 11) return {400, "Transfer-Encoding in HTTP/1.0"};
      if (into.hosts == 0 && out.version >= 11) return {400, "no Host"};
    }
    if (const auto length = parser.content_length()) out.content_length = *length;
    out.chunked = parser.chunked();
    out.keep_alive = parser.keep_alive();
    out.to_eof = !impl_->is_request && parser.need_eof();
    impl_->finished = parser.is_done();
    out.has_body = !impl_->finished;
    return {};
  });
}

body_step message_parser::body(std::string_view in, mutable_buffer out) {
  body_step step;
  sink& into = impl_->into;
  into.out = static_cast<char*>(out.data());
  into.room = out.size();
  into.produced = 0;
  return impl_->with([&](auto& parser) {
    while (!impl_->finished && into.produced < into.room && step.taken < in.size()) {
      beast_error error;
      const std::string_view rest = in.substr(step.taken);
      step.taken += parser.put({rest.data(), rest.size()}, error);
      if (error == beast::http::error::need_more) {
        step.needs_more = true;
        if (in.size() - step.taken >= line_max) step.bad = {400, "a chunk's line is too long"};
        break;
      }
      if (error) {
        step.bad = verdict_of(error, into);
        break;
      }
      impl_->finished = parser.is_done();
    }
    step.done = impl_->finished;
    step.produced = into.produced;
    return step;
  });
}

bool message_parser::ended_by_eof() {
  return impl_->with([&](auto& parser) {
    if (!impl_->finished && parser.got_some()) {
      beast_error error;
      parser.put_eof(error);
      impl_->finished = !error;
    }
    return impl_->finished;
  });
}

bool message_parser::done() const noexcept { return impl_->finished; }

std::vector<std::pair<std::string, std::string>>& message_parser::trailers() noexcept {
  return impl_->into.trailers;
}

}  // namespace sigrun::http::detail
