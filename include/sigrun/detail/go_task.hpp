// SPDX-License-Identifier: Apache-2.0
//
// What go() and foreign_call() are made of. Users include <sigrun/go.hpp>; nothing here is for
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace sigrun::detail {

/// Thrown by goexit().
struct goexit_unwind {};

/// A goroutine that was made and not started; its end without start() gives it back.
class new_goroutine {
 public:
  new_goroutine(std::size_t stack_size, std::size_t size, std::size_t align, std::string_view name);
  new_goroutine(const new_goroutine&) = delete;
  new_goroutine& operator=(const new_goroutine&) = delete;
  ~new_goroutine() {
    if (g_ != nullptr) abandon();
  }
  void* place() const noexcept { return place_; }
  void* start(void (*run)(void*) noexcept) noexcept;

 private:
  void abandon() noexcept;
  void* g_ = nullptr;
  void* place_ = nullptr;
};

void drop(void* g) noexcept;
void join(void* g);
bool done(const void* g) noexcept;
std::uint64_t id(const void* g) noexcept;
void run_main(void (*f)(void*), void* arg);
/// Keeps the exception being handled for join(), or ends the process by it.
void keep_exception() noexcept;
/// With its last instructions: what was raised for it and not handled is counted as dropped, and
/// its labels go.
void end_of_goroutine() noexcept;
void run_foreign_erased(void (*f)(void*), void* arg);

/// The largest closure that lies on the goroutine's own stack; others are on the heap.
inline constexpr std::size_t closure_on_stack = 1024;

template <class F, class... A>
class go_task {
  using closure = std::tuple<F, A...>;
  static constexpr bool boxed = sizeof(closure) > closure_on_stack || alignof(closure) > 64;
  using stored = std::conditional_t<boxed, std::unique_ptr<closure>, closure>;

  static void call(closure& c) {
    std::apply([](F& f, A&... args) { std::invoke(std::move(f), std::move(args)...); }, c);
  }

 public:
  static constexpr std::size_t size = sizeof(stored);
  static constexpr std::size_t align = alignof(stored);

  template <class G, class... B>
  static void make(void* place, G&& f, B&&... args) {
    if constexpr (boxed) {
      new (place) stored(std::make_unique<closure>(std::forward<G>(f), std::forward<B>(args)...));
    } else {
      new (place) stored(std::forward<G>(f), std::forward<B>(args)...);
    }
  }

  /// First code of the goroutine; the closure is destroyed before it ends.
  static void run(void* place) noexcept {
    auto& self = *static_cast<stored*>(place);
    try {
      if constexpr (boxed) {
        call(*self);
      } else {
        call(self);
      }
    } catch (const goexit_unwind&) {
      // The end it asked for.
    } catch (...) {
      keep_exception();
    }
    std::destroy_at(&self);
    end_of_goroutine();
  }
};

template <class F>
decltype(auto) run_foreign(F&& f) {
  using result = std::invoke_result_t<F&>;
  if constexpr (std::is_void_v<result>) {
    auto body = [&f] { std::invoke(f); };  // f may be a function, which no void* points to
    run_foreign_erased([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body);
  } else if constexpr (std::is_reference_v<result>) {
    std::remove_reference_t<result>* out = nullptr;
    auto body = [&] { out = std::addressof(std::invoke(f)); };
    run_foreign_erased([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body);
    return static_cast<result>(*out);
  } else {
    std::optional<result> out;
    auto body = [&] { out.emplace(std::invoke(f)); };
    run_foreign_erased([](void* arg) { (*static_cast<decltype(body)*>(arg))(); }, &body);
    return result(std::move(*out));
  }
}

}  // namespace sigrun::detail
