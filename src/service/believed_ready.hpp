// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::systemd {

/// Whether ready() was said, and not stopping() since: a reload at another time must not end in
/// READY=1.
bool believed_ready() noexcept;

}  // namespace sigrun::systemd
