// SPDX-License-Identifier: Apache-2.0
//
// A client's connection: how it is made, and one exchange on it.
#pragma once

#include "http/input.hpp"
#include "http/parser.hpp"
#include "http/transport.hpp"

#include <sigrun/http_client.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace sigrun::http::detail {

/// Throws std::system_error, tls_error.
std::unique_ptr<transport> dial(const url& to, const client_options& options,
                                std::chrono::steady_clock::time_point deadline);

/// A connection and what was read from it.
struct client_connection {
  std::unique_ptr<transport> under;
  input_buffer input;
  message_parser parser{message_parser::kind::response};
  bool used = false;      // for an exchange before this one
  bool answered = false;  // some of the present answer has come
  bool reusable = false;

  void send(std::string_view head, std::string_view body);
  /// The head of the next answer that is not 1xx but 101, its text pinned. Throws protocol_error,
  /// std::system_error.
  void read_head(message_head& head, std::size_t bytes_max, bool no_body);
  std::string read_body(const message_head& head, std::uint64_t bytes_max);
};

/// The head of a request, all but its last, empty line. Throws std::invalid_argument.
std::string request_head(std::string_view method, const url& to, const header_list& fields);

}  // namespace sigrun::http::detail
