// SPDX-License-Identifier: Apache-2.0
#include <sigrun/http_files.hpp>

#include "http/conditions.hpp"
#include "http/date.hpp"
#include "http/text.hpp"
#include "sys/syscall.hpp"

#include <sigrun/go.hpp>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace sigrun::http {
namespace {

/// An open file or folder.
class opened {
 public:
  opened() noexcept = default;
  explicit opened(long result) noexcept : fd_(static_cast<int>(result)) {}
  opened(opened&& other) noexcept : fd_(std::exchange(other.fd_, -ENOENT)) {}
  opened& operator=(opened&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~opened() {
    if (fd_ >= 0) sys::call(SYS_close, fd_);
  }
  int fd() const noexcept { return fd_; }
  bool good() const noexcept { return fd_ >= 0; }
  int problem() const noexcept { return good() ? 0 : -fd_; }

 private:
  int fd_ = -ENOENT;  // or a negative errno
};

constexpr int read_flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

/// Segment by segment, no links: for kernels and filters without openat2.
opened open_by_segments(int folder, const std::string& path) {
  opened at;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t slash = path.find('/', begin);
    const std::string segment = path.substr(begin, slash - begin);
    const int from = at.good() ? at.fd() : folder;
    at = opened(sys::call(SYS_openat, from, segment.c_str(), read_flags | O_NOFOLLOW, 0));
    if (!at.good() || slash == std::string::npos) return at;
    begin = slash + 1;
  }
}

opened open_beneath(int folder, const std::string& path) {
  open_how how{};
  how.flags = static_cast<__u64>(read_flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long result = 0;
  do {
    result = sys::call(SYS_openat2, folder, path.c_str(), &how, sizeof how);
  } while (result == -EAGAIN || result == -EINTR);  // a rename happened meanwhile
  if (result == -ENOSYS || result == -EPERM) return open_by_segments(folder, path);
  return opened(result);
}

struct found {
  opened file;
  struct stat about {};
  bool packed = false;  // it is the ".gz" beside what was asked for
  bool folder = false;
};

void look_into(found& f) {
  if (!f.file.good()) return;
  if (const long result = sys::call(SYS_fstat, f.file.fd(), &f.about); result < 0) {
    f.file = opened(result);
    return;
  }
  f.folder = S_ISDIR(f.about.st_mode);
  if (!f.folder && !S_ISREG(f.about.st_mode)) f.file = opened(-ENOENT);
}

bool wants_packed(const request& q, const file_options& options) {
  return options.precompressed && detail::accepts_coding(q.header_value("Accept-Encoding"), "gzip");
}

/// All that may wait for a disk, in one foreign call. `open` opens a path.
template <class Open>
found find(const std::string& path, bool packed, const std::string& index, Open open) {
  return foreign_call([&] {
    found plain;
    std::string name = path;
    plain.file = open(name);
    look_into(plain);
    if (plain.folder && !index.empty() && (name.empty() || name == "." || name.ends_with('/'))) {
      name = name == "." ? index : name + index;
      plain = {};
      plain.file = open(name);
      look_into(plain);
      if (plain.folder) plain.file = opened(-ENOENT);
    }
    if (!plain.file.good() || plain.folder || !packed) return plain;
    found small;
    small.file = open(name + ".gz");
    look_into(small);
    if (!small.file.good() || small.folder) return plain;
    small.packed = true;
    return small;
  });
}

[[noreturn]] void answer_problem(int problem) {
  switch (problem) {
    case EACCES:
      throw error(403, "it may not be read");
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      throw error(503, "there is no descriptor for it now");
    default:
      throw error(404, "there is nothing here");
  }
}

void send_ranges(response& p, const found& f, const std::vector<detail::byte_range>& ranges,
                 std::string_view type) {
  const auto size = static_cast<std::uint64_t>(f.about.st_size);
  const auto range_text = [&](const detail::byte_range& r) {
    return "bytes " + std::to_string(r.first) + "-" + std::to_string(r.last) + "/" +
           std::to_string(size);
  };
  p.status(206);
  if (ranges.size() == 1) {
    const detail::byte_range& r = ranges[0];
    if (!type.empty()) p.set("Content-Type", type);
    p.set("Content-Range", range_text(r));
    p.set("Content-Length", std::to_string(r.size()));
    return p.send_file(f.file.fd(), r.first, r.size());
  }
  // Parts of one body, each with a head of its own. (RFC 9110, 14.6)
  const std::string boundary = detail::make_boundary();
  std::vector<std::string> heads;
  const std::string end = "\r\n--" + boundary + "--\r\n";
  std::uint64_t length = end.size();
  for (const detail::byte_range& r : ranges) {
    std::string head = "\r\n--" + boundary + "\r\n";
    if (!type.empty()) head += "Content-Type: " + std::string(type) + "\r\n";
    head += "Content-Range: " + range_text(r) + "\r\n\r\n";
    length += head.size() + r.size();
    heads.push_back(std::move(head));
  }
  p.set("Content-Type", "multipart/byteranges; boundary=" + boundary);
  p.set("Content-Length", std::to_string(length));
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    p.write(heads[i]);
    p.send_file(f.file.fd(), ranges[i].first, ranges[i].size());
  }
  p.write(end);
}

void answer(request& q, response& p, const found& f, std::string_view name,
            const file_options& options) {
  const std::string_view type = content_type_of(name);
  const auto size = static_cast<std::uint64_t>(f.about.st_size);
  detail::validators now;
  now.modified = f.about.st_mtim.tv_sec;
  now.etag = detail::make_etag(f.about.st_mtim, size, f.packed);
  p.set("ETag", now.etag);
  if (now.modified >= 0) p.set("Last-Modified", detail::http_date(now.modified));
  if (!options.cache_control.empty()) p.set("Cache-Control", options.cache_control);
  if (options.precompressed) p.set("Vary", "Accept-Encoding");
  switch (detail::check_conditions(q, now)) {
    case detail::condition::go_on:
      break;
    case detail::condition::not_modified:
      return p.status(304).send({});
    case detail::condition::failed:
      return p.status(412).send({});
  }
  p.set("Accept-Ranges", "bytes");
  if (f.packed) p.set("Content-Encoding", "gzip");
  std::vector<detail::byte_range> ranges;
  switch (detail::wanted_ranges(q, now, size, ranges)) {
    case detail::range_answer::whole:
      break;
    case detail::range_answer::parts:
      return send_ranges(p, f, ranges, type);
    case detail::range_answer::none:
      p.headers().remove("Content-Encoding");
      p.set("Content-Range", "bytes */" + std::to_string(size));
      return p.status(416).send({});
  }
  p.set("Content-Type", type);
  p.set("Content-Length", std::to_string(size));
  p.send_file(f.file.fd(), 0, size);
}

bool is_get(request& q, response& p) {
  if (q.method() == "GET" || q.method() == "HEAD") return true;
  p.set("Allow", "GET, HEAD");
  p.status(405).text("the method is not allowed here\n");
  return false;
}

/// Without empty segments, which mean nothing to a file system; nothing for a path that is not to
/// be served.
std::string clean(std::string_view path, bool hidden) {
  if (path.find('\0') != std::string_view::npos) throw error(404, "there is nothing here");
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (segment.empty()) continue;
    if (segment == "." || segment == ".." || (segment[0] == '.' && !hidden)) {
      throw error(404, "there is nothing here");
    }
    out.append(segment);
    if (slash != std::string_view::npos) out.push_back('/');
  }
  return out.empty() ? "." : out;
}

/// To the folder with a slash: relative, so that nothing of the path can be taken for a host.
void redirect_to_folder(request& q, response& p) {
  const std::string_view target = q.target().substr(0, q.target().find('?'));
  std::string to = "./" + std::string(target.substr(target.rfind('/') + 1)) + "/";
  if (!q.query().empty()) to.append("?").append(q.query());
  p.redirect(to, 301);
}

}  // namespace

handler files(const std::string& folder, file_options options) {
  opened root(foreign_call([&] {
    return sys::call(SYS_openat, AT_FDCWD, folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  }));
  if (!root.good()) {
    throw std::system_error(root.problem(), std::system_category(),
                            "sigrun::http::files: " + folder);
  }
  auto shared = std::make_shared<opened>(std::move(root));
  return [root = std::move(shared), options = std::move(options)](request& q, response& p) {
    if (!is_get(q, p)) return;
    const bool routed = q.has_param("path");
    std::string_view asked = routed ? q.param("path") : q.path();
    const std::string path = clean(asked, options.hidden);
    // O_NONBLOCK does not refuse "file/": the kernel does.
    found f = find(path, wants_packed(q, options), options.index,
                   [&](const std::string& name) { return open_beneath(root->fd(), name); });
    if (!f.file.good()) answer_problem(f.file.problem());
    if (f.folder) {
      if (options.index.empty() || path == "." || path.ends_with('/')) answer_problem(ENOENT);
      return redirect_to_folder(q, p);
    }
    const bool is_index = path == "." || path.ends_with('/');
    answer(q, p, f, is_index ? std::string_view(options.index) : path, options);
  };
}

void send_file(request& q, response& p, const std::string& path, const file_options& options) {
  if (!is_get(q, p)) return;
  found f = find(path, wants_packed(q, options), {}, [](const std::string& name) {
    return opened(sys::call(SYS_openat, AT_FDCWD, name.c_str(), read_flags, 0));
  });
  if (f.folder) answer_problem(ENOENT);
  if (!f.file.good()) answer_problem(f.file.problem());
  answer(q, p, f, path, options);
}

std::string_view content_type_of(std::string_view name) noexcept {
  struct entry {
    std::string_view end;
    std::string_view type;
  };
  static constexpr entry table[] = {
      {".html", "text/html; charset=utf-8"},
      {".htm", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".mjs", "text/javascript; charset=utf-8"},
      {".json", "application/json"},
      {".map", "application/json"},
      {".txt", "text/plain; charset=utf-8"},
      {".md", "text/markdown; charset=utf-8"},
      {".csv", "text/csv; charset=utf-8"},
      {".xml", "application/xml"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"},
      {".gif", "image/gif"},
      {".webp", "image/webp"},
      {".avif", "image/avif"},
      {".ico", "image/x-icon"},
      {".woff", "font/woff"},
      {".woff2", "font/woff2"},
      {".ttf", "font/ttf"},
      {".pdf", "application/pdf"},
      {".wasm", "application/wasm"},
      {".mp3", "audio/mpeg"},
      {".mp4", "video/mp4"},
      {".webm", "video/webm"},
      {".zip", "application/zip"},
      {".gz", "application/gzip"},
  };
  const std::size_t dot = name.rfind('.');
  if (dot != std::string_view::npos) {
    for (const entry& e : table) {
      if (same_name(e.end, name.substr(dot))) return e.type;
    }
  }
  return "application/octet-stream";
}

}  // namespace sigrun::http
