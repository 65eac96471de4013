// SPDX-License-Identifier: Apache-2.0
//
// A listener and its connections.
//
//   accepting ──▶ draining ──▶ closed
//
// refuse() moves the first edge: it ends the wait in accept() by a deadline that has passed, which
// loses nothing. Draining takes what the kernel has completed already without waiting, at most a
// backlog of it, so that a peer that has sent its request is not reset by the close.
//   (1) A slot is taken before accept(), so that what cannot be served waits in the kernel. What
//       draining takes has none: it is bounded by the backlog.
//   (2) A connection is in the list while it may be closed from outside; it leaves it, under the
//       lock, before its stream is destroyed.
#include "io/socket.hpp"
#include "service/lifecycle.hpp"
#include "service/text.hpp"

#include <sigrun/go.hpp>
#include <sigrun/select.hpp>

namespace sigrun {
namespace service {
namespace {

using namespace std::chrono_literals;

std::string peer_of(const net::tcp_stream& stream) {
  std::error_code error;
  const net::endpoint at = stream.remote_endpoint(error);
  return error ? "?" : at.to_string();
}
std::string peer_of(const net::unix_stream&) { return "unix"; }

}  // namespace

template <class Listener, class Stream>
class acceptor_of final : public acceptor,
                          public std::enable_shared_from_this<acceptor_of<Listener, Stream>> {
 public:
  using handler_function = std::function<void(Stream&, const context&)>;

  acceptor_of(std::shared_ptr<graceful_state> state, std::string name, Listener listener,
              handler_function handler, const accept_options& how)
      : state_(std::move(state)),
        name_(std::move(name)),
        listener_(std::move(listener)),
        handler_(std::move(handler)),
        how_(how),
        slots_(how.connections_max) {}

  void run() {
    while (accept_next()) {
    }
    // A successor serves what is queued.
    if (state_->successor.load() == 0) drain_queue();
    std::error_code ignored;
    listener_.close(ignored);
  }

  void refuse() noexcept override {
    std::error_code ignored;
    listener_.set_deadline(clock::now(), ignored);
    if (!how_.end_reads) return;
    const std::lock_guard hold(lock_);
    for (Stream* stream : open_) stream->shutdown_read(ignored);
  }

  void cut_off() noexcept override {
    const std::lock_guard hold(lock_);
    for (Stream* stream : open_) {
      std::error_code ignored;
      stream->close(ignored);
    }
  }

 private:
  // False: no more.
  bool accept_next() {
    const done_chan stopping = state_->stopping.ctx.done();
    char token = 0;
    if (select(send_case(slots_, token), recv_case(stopping)) == 1) return false;
    std::error_code error;
    Stream stream = listener_.accept(error);
    if (error) {
      slots_.try_recv(token);
      if (state_->stopping.ctx.ended() || error == std::errc::operation_canceled ||
          error == std::errc::bad_file_descriptor) {
        return false;
      }
      report(error.message());
      return true;  // accept() itself stands back when there are no descriptors
    }
    start(std::move(stream), true);
    return true;
  }

  void drain_queue() {
    for (int i = 0; i < net::backlog_default; ++i) {
      const long fd =
          sys::call(SYS_accept4, listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      std::error_code error;
      Stream stream = Stream::adopt(static_cast<int>(fd), error);
      if (!error) start(std::move(stream), false);
    }
  }

  void start(Stream stream, bool has_slot) {
    void* entry = nullptr;
    try {
      entry = state_->add_work(name_ + " " + peer_of(stream), true);
      state_->goroutines.add();
      go({.name = name_}, [self = this->shared_from_this(), stream = std::move(stream), entry,
                           has_slot]() mutable { self->serve(stream, entry, has_slot); });
    } catch (const std::exception& failure) {
      // No memory for a goroutine: this connection ends, the others go on.
      if (entry != nullptr) {
        state_->remove_work(entry);
        state_->goroutines.done();
      }
      free_slot(has_slot);
      ++state_->failed_connections;
      report(failure.what());
    }
  }

  void serve(Stream& stream, void* entry, bool has_slot) {
    const at_end leave([&] {
      {
        const std::lock_guard hold(lock_);
        std::erase(open_, &stream);
      }
      std::error_code ignored;
      stream.close(ignored);
      free_slot(has_slot);
      state_->remove_work(entry);
      state_->goroutines.done();
    });
    {
      const std::lock_guard hold(lock_);
      open_.push_back(&stream);
    }
    std::error_code ignored;
    if (state_->cut.ctx.ended()) stream.close(ignored);
    if (how_.end_reads && state_->stopping.ctx.ended()) stream.shutdown_read(ignored);
    try {
      handler_(stream, state_->cut.ctx);
    } catch (const std::exception& failure) {
      ++state_->failed_connections;
      report(failure.what());
    }
  }

  void free_slot(bool had) {
    char token;
    if (had) slots_.try_recv(token);
  }

  // Once a second at most: a flood of bad connections must not be one of lines.
  void report(const std::string& what) {
    std::uint64_t more = 0;
    {
      const std::lock_guard hold(lock_);
      const clock::time_point now = clock::now();
      if (now < next_report_) {
        ++unreported_;
        return;
      }
      next_report_ = now + 1s;
      more = std::exchange(unreported_, 0);
    }
    state_->say(name_ + ": " + what + (more != 0 ? " (" + std::to_string(more) + " more)" : ""));
  }

  const std::shared_ptr<graceful_state> state_;
  const std::string name_;
  Listener listener_;
  const handler_function handler_;
  const accept_options how_;
  const chan<char> slots_;  // what is in it is taken
  mutex lock_;
  std::vector<Stream*> open_;
  clock::time_point next_report_{};
  std::uint64_t unreported_ = 0;
};

template <class Listener, class Stream>
void start_accepting(const std::shared_ptr<graceful_state>& state, std::string name,
                     Listener listener, std::function<void(Stream&, const context&)> handler,
                     const accept_options& how) {
  if (how.connections_max == 0) {
    throw std::invalid_argument("sigrun::graceful::accept: \"" + name + "\": connections_max is 0");
  }
  if (!listener.is_open()) {
    throw std::invalid_argument("sigrun::graceful::accept: \"" + name +
                                "\": the listener is not open");
  }
  auto one = std::make_shared<acceptor_of<Listener, Stream>>(state, name, std::move(listener),
                                                             std::move(handler), how);
  {
    const std::lock_guard hold(state->lock);
    if (state->phase.load() >= stop_phase::refuse) {
      throw std::logic_error("sigrun::graceful::accept: \"" + name + "\" comes too late");
    }
    state->acceptors.push_back(one);
    state->open_listeners.add();
    state->goroutines.add();
  }
  const auto leave = [state] {
    state->open_listeners.done();
    state->goroutines.done();
  };
  try {
    go({.name = name}, [one, leave] {
      const at_end at_last(leave);
      one->run();
    });
  } catch (...) {
    leave();
    throw;
  }
}

}  // namespace service

void graceful::start_acceptor(std::string name, net::tcp_listener listener,
                              std::function<void(net::tcp_stream&, const context&)> handler,
                              const accept_options& how) {
  service::start_accepting(state_, std::move(name), std::move(listener), std::move(handler), how);
}

void graceful::start_acceptor(std::string name, net::unix_listener listener,
                              std::function<void(net::unix_stream&, const context&)> handler,
                              const accept_options& how) {
  service::start_accepting(state_, std::move(name), std::move(listener), std::move(handler), how);
}

}  // namespace sigrun
