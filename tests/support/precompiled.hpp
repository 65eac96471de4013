// SPDX-License-Identifier: Apache-2.0
//
// What most tests include and seldom changes, parsed once for all of them where no ccache is: a
// third of their time. Each test still includes what it uses, and is built without this elsewhere.
#pragma once

#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>
#include <sigrun/signal.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>
