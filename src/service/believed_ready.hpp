// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sigrun::systemd {

/// Whether ready() was said, and not stopping() since: a reload at another time must not end in
/// READY=1.
bool believed_ready() noexcept;
/// Somebody else has said it for this process, resp. says from here on what there is to say.
void believe_ready(bool is) noexcept;

}  // namespace sigrun::systemd
