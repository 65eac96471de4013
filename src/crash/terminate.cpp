// SPDX-License-Identifier: Apache-2.0
#include "crash/terminate.hpp"

#include "report/crash.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string_view>
#include <typeinfo>

namespace sigrun::crash {
namespace {

template <std::size_t N>
void keep_text(char (&to)[N], std::string_view from) noexcept {
  const std::size_t size = from.size() < N ? from.size() : N - 1;
  std::memcpy(to, from.data(), size);
  to[size] = '\0';
}

void keep_type(report::exception_note& note, const std::type_info& type) noexcept {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> words(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  keep_text(note.type, words != nullptr ? words.get() : type.name());
}

// Without rethrowing, which allocates: how the catch clause of a std::exception would find it.
const char* message_of(const std::type_info& type, void* object) noexcept {
  if (!typeid(std::exception).__do_catch(&type, &object, 1)) return nullptr;
  return static_cast<const std::exception*>(object)->what();
}

[[noreturn]] void on_terminate() noexcept {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  report::exception_note* const note = type != nullptr ? report::claim_exception_note() : nullptr;
  report::abort_is_coming();
  if (note != nullptr) {
    // The type's name first: should the rest fail, a second fault still finds it.
    keep_text(note->type, type->name());
    const std::exception_ptr current = std::current_exception();
    void* object = nullptr;
    std::memcpy(&object, static_cast<const void*>(&current), sizeof object);
    find_throw_site(object, note->thrown);
    report::publish_exception_note();
    keep_type(*note, *type);
    if (const char* const text = message_of(*type, object)) keep_text(note->message, text);
  }
  std::abort();
}

}  // namespace

void report_uncaught_exceptions(bool throw_sites) noexcept {
  note_throw_sites(throw_sites);
  std::set_terminate(&on_terminate);
}

}  // namespace sigrun::crash
