// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sched/g.hpp"

namespace sigrun::go_detail {

/// At a goroutine's end; what its last handlers threw counts as what has left the goroutine.
void end_raised(sched::g* gp) noexcept;

}  // namespace sigrun::go_detail
