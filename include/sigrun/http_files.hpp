// SPDX-License-Identifier: Apache-2.0
//
// Files over HTTP: conditional requests, ranges, and nothing outside of a folder.
//
//   routes.get("/static/{path...}", sigrun::http::files("/srv/www"));
//
// Sources: RFC 9110, chapters 13 (conditional requests) and 14 (ranges).
#pragma once

#include <sigrun/http.hpp>

#include <string>
#include <string_view>

namespace sigrun::http {

struct file_options {
  std::string index = "index.html";  ///< what a folder shows; empty: folders are 404
  std::string cache_control = {};    ///< such as "max-age=3600"; empty: none is sent
  bool hidden = false;               ///< names that begin with "." are served too
  /// For who accepts gzip, "name.gz" is sent when it is there beside "name".
  bool precompressed = true;
};

/// Serves what lies in a folder and below. Which file: the parameter `path` of the route's
/// `{path...}`, or the request's path where there is none. GET and HEAD, others 405; a folder
/// without a slash at its end is redirected to the one with it. Nothing that leads out of the
/// folder is served, symbolic links included (openat2(2), RESOLVE_BENEATH; where the kernel or a
/// filter has no openat2, no symbolic links at all); neither is what is no regular file. The folder
/// is opened once: std::system_error. Its files may change at any time; one that is cut short while
/// it is sent breaks the connection off.
handler files(const std::string& folder, file_options options = {});

/// Answers with one file: 404 when it is not there, 403 when it may not be read. As files() has it,
/// but the path is the program's own and not restricted.
void send_file(request& q, response& p, const std::string& path, const file_options& options = {});

/// "text/html; charset=utf-8" for "a.html"; "application/octet-stream" for what is not known.
std::string_view content_type_of(std::string_view name) noexcept;

}  // namespace sigrun::http
