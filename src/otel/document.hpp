// SPDX-License-Identifier: Apache-2.0
//
// One OTLP document: a resource, and spans of which each is one fault. Times are nanoseconds since
// 1970. Texts that are no UTF-8 are put right.
#pragma once

#include <sigrun/fault.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sigrun::otel {

struct attribute {
  std::string key;
  std::string text = {};
  std::int64_t number = 0;
  bool is_number = false;
};

/// An `exception` event, and the span around it.
struct span_note {
  std::string name;
  std::string trace_id;  // 32 digits
  std::string span_id;   // 16 digits
  std::int64_t time_ns = 0;
  std::string type;
  std::string message;
  std::string stack;
  bool escaped = false;
  std::vector<attribute> attributes;
};

using resource = std::vector<attribute>;

std::string document_of(const resource& about, const std::vector<span_note>& spans);

/// A fault that was caught. Names come from symbol tables.
span_note note_of(const fault& what, std::int64_t time_ns);

/// A crash report: the resource is the process that died. False: it is none that can be read.
bool note_of_report(std::string_view text, std::string_view file_name, resource& about,
                    span_note& out);

}  // namespace sigrun::otel
