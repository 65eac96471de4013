// SPDX-License-Identifier: Apache-2.0
//
// Everything but the adapters (asio.hpp, beast.hpp, libuv.hpp, coro.hpp), which need what not every
// program has.
#pragma once

#include <sigrun/address.hpp>
#include <sigrun/atomic_value.hpp>
#include <sigrun/buffer.hpp>
#include <sigrun/chan.hpp>
#include <sigrun/context.hpp>
#include <sigrun/crash.hpp>
#include <sigrun/dump.hpp>
#include <sigrun/fault.hpp>
#include <sigrun/file.hpp>
#include <sigrun/go.hpp>
#include <sigrun/net.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/pipe.hpp>
#include <sigrun/preempt.hpp>
#include <sigrun/process.hpp>
#include <sigrun/raise.hpp>
#include <sigrun/select.hpp>
#include <sigrun/signal.hpp>
#include <sigrun/signal_event.hpp>
#include <sigrun/signal_names.hpp>
#include <sigrun/signal_set.hpp>
#include <sigrun/sync.hpp>
#include <sigrun/time.hpp>
