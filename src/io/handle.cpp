// SPDX-License-Identifier: Apache-2.0
#include <sigrun/detail/io_handle.hpp>

#include "io/transfer.hpp"

#include <sigrun/context.hpp>

#include <cerrno>

namespace sigrun {
namespace {

class stream_errors final : public std::error_category {
 public:
  const char* name() const noexcept override { return "sigrun.stream"; }
  std::string message(int value) const override {
    return value == static_cast<int>(stream_errc::end_of_stream) ? "end of stream"
                                                                 : "unknown stream error";
  }
};
constinit const stream_errors the_stream_errors;

}  // namespace

const std::error_category& stream_category() noexcept { return the_stream_errors; }

std::error_code make_error_code(stream_errc error) noexcept {
  return {static_cast<int>(error), stream_category()};
}

namespace detail {
namespace {

std::size_t told(const io_result& result, std::error_code& error,
                 const context* ctx = nullptr) noexcept {
  error = to_error_code(result.error, ctx);
  return result.count;
}

constexpr io_result not_open{0, EBADF};

}  // namespace

std::error_code to_error_code(int error, const context* ctx) noexcept {
  if (error == 0) return {};
  if (error == context_ended) return ctx->err();
  if (error == io_result::end_of_stream) return make_error_code(stream_errc::end_of_stream);
  return {error, std::system_category()};
}

void refuse(const std::error_code& error, const char* what) {
  throw std::system_error{error, what};
}

bool io_handle::is_open() const noexcept { return state_ != nullptr && !state_->is_closed(); }

int io_handle::fd() const noexcept { return is_open() ? state_->fd() : -1; }

void io_handle::close(std::error_code& error) noexcept {
  error = to_error_code(state_ == nullptr ? EBADF : static_cast<int>(-state_->close()));
}

void io_handle::drop() noexcept {
  if (state_ != nullptr) std::exchange(state_, nullptr)->drop_handle();
}

std::size_t io_handle::do_read(std::span<const mutable_buffer> into, std::error_code& error,
                               const context* ctx) noexcept {
  return told(state_ == nullptr ? not_open : detail::read_some(*state_, into, ctx), error, ctx);
}

std::size_t io_handle::do_read_full(mutable_buffer into, std::error_code& error,
                                    const context* ctx) noexcept {
  return told(state_ == nullptr ? not_open : detail::read_full(*state_, into, ctx), error, ctx);
}

std::size_t io_handle::do_write(std::span<const const_buffer> from, std::error_code& error,
                                const context* ctx) noexcept {
  return told(state_ == nullptr ? not_open : detail::write_some(*state_, from, ctx), error, ctx);
}

std::size_t io_handle::do_write_all(std::span<const const_buffer> from, std::error_code& error,
                                    const context* ctx) noexcept {
  return told(state_ == nullptr ? not_open : detail::write_all(*state_, from, ctx), error, ctx);
}

void io_handle::do_set_deadline(bool read, bool write, std::int64_t at_ns,
                                std::error_code& error) noexcept {
  const long result = state_ == nullptr ? -EBADF : state_->set_deadline(read, write, at_ns);
  error = to_error_code(static_cast<int>(-result));
}

}  // namespace detail
}  // namespace sigrun
