// SPDX-License-Identifier: Apache-2.0
#include "run_tty.hpp"

#include "run_sys.hpp"

#include <sys/stat.h>

namespace sigrun::cmd {

bool run_tty::wanted(const run_options& options) noexcept {
  if (options.style == run_style::dumb_init || options.own_session) return false;
  if (options.style == run_style::tini || options.tty == tty_choice::always) return true;
  if (options.tty == tty_choice::never || foreground_group(0) != group_of(0)) return false;
  // In `sigrun run a | pager` the pager reads the terminal from our group. The program gets the
  // terminal when it asks for it: see runner::main_stopped().
  struct stat out {};
  return sys::failed(sys::call(SYS_newfstatat, 1, "", &out, AT_EMPTY_PATH)) ||
         !S_ISFIFO(out.st_mode);
}

void run_tty::given() noexcept { given_ = foreground_group(0) >= 0; }

bool run_tty::give(int group) noexcept {
  const int own = group_of(0);
  int foreground = foreground_group(fd_);
  if (foreground < 0 && fd_ == 0) {
    const long fd = open_file("/dev/tty", O_RDWR | O_NOCTTY);
    if (sys::failed(fd)) return false;
    fd_ = static_cast<int>(fd);
    foreground = foreground_group(fd_);
  }
  if (foreground != own) return false;
  given_ = !sys::failed(set_foreground_group(fd_, group));
  return given_;
}

void run_tty::take_back(int group) noexcept {
  if (given_ && foreground_group(fd_) == group) set_foreground_group(fd_, group_of(0));
}

bool is_orphaned(int self) noexcept {
  const int parent = parent_pid();
  return parent == 0 || session_of(parent) != session_of(self);
}

}  // namespace sigrun::cmd
