// SPDX-License-Identifier: Apache-2.0
#include <sigrun/detail/wait_list.hpp>

#include "sys/lock.hpp"

namespace sigrun::detail {

// The public header has sys::short_lock's fast half, this is the slow one.
void short_lock::lock_slowly() noexcept { sys::lock_word_slowly(word_); }

void short_lock::wake_one() noexcept { sys::futex_wake(word_, 1); }

}  // namespace sigrun::detail
