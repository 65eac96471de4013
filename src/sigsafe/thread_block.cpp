// SPDX-License-Identifier: Apache-2.0
#include "sigsafe/thread_block.hpp"

// Read by name in current_machine() and current_thread_faults().
extern "C" {
[[gnu::visibility("hidden"), gnu::used]] constinit thread_local void* sigrun_machine_here = nullptr;
[[gnu::visibility("hidden"),
  gnu::used]] constinit thread_local sigrun::sigsafe::thread_faults sigrun_faults_here{};
}

namespace sigrun::sigsafe {
namespace {

// Initial-exec (a flag of this target), so that no handler ever enters the dynamic linker.
constinit thread_local thread_block* here = nullptr;
constinit thread_local chain_call under_way{};

}  // namespace

[[gnu::noinline]] thread_block* current_thread() noexcept { return here; }
[[gnu::noinline]] void set_current_thread(thread_block* block) noexcept { here = block; }
[[gnu::noinline]] void set_current_machine(void* machine) noexcept {
  sigrun_machine_here = machine;
}
[[gnu::noinline]] chain_call& current_chain_call() noexcept { return under_way; }

}  // namespace sigrun::sigsafe
