// SPDX-License-Identifier: Apache-2.0
//
// A pool of workers that can be cancelled. Four of them look for the number whose hash begins with
// the zeros asked for; who finds one cancels the others, and so does Ctrl-C, or a time limit. Each
// looks at its context now and then: a worker is asked to end, never killed.
//
//   example_workers [ZEROS] [SECONDS]      20 zero bits and 10 seconds if not given
//
// Ends with 0 when one was found, with 1 when it was cancelled.
#include <sigrun/chan.hpp>
#include <sigrun/context.hpp>
#include <sigrun/go.hpp>
#include <sigrun/notify_context.hpp>
#include <sigrun/select.hpp>
#include <sigrun/sync.hpp>

#include <bit>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t hash(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// A piece of the numbers to look through: `size` of them from `first` on.
struct piece {
  std::uint64_t first;
  std::uint64_t size;
};

void hand_out(const sigrun::context& ctx, sigrun::chan<piece> pieces) {
  constexpr std::uint64_t size = 1 << 14;
  for (std::uint64_t first = 1;; first += size) {
    const int won = sigrun::select(sigrun::send_case(pieces, piece{first, size}),
                                   sigrun::recv_case(ctx.done()));
    if (won == 1) break;
  }
  pieces.close();
}

void look_through(const sigrun::context& ctx, sigrun::chan<piece> pieces,
                  sigrun::chan<std::uint64_t> found, int zeros) {
  for (const piece& part : pieces) {
    for (std::uint64_t x = part.first; x < part.first + part.size; ++x) {
      if (std::countl_zero(hash(x)) < zeros) continue;
      sigrun::select(sigrun::send_case(found, x), sigrun::recv_case(ctx.done()));
      return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int zeros = argc > 1 ? std::atoi(argv[1]) : 20;
  const std::chrono::seconds limit(argc > 2 ? std::atoi(argv[2]) : 10);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return sigrun::run([=] {
    auto [asked, stop] = sigrun::notify_context(sigrun::context(), {SIGINT, SIGTERM});
    auto [ctx, cancel] = sigrun::with_timeout(asked, limit);
    sigrun::chan<piece> pieces(4);
    sigrun::chan<std::uint64_t> found(0);
    std::printf("looking\n");

    sigrun::go({.name = "hand out"}, hand_out, ctx, pieces);
    constexpr int workers = 4;
    sigrun::wait_group working;
    working.add(workers);
    for (int i = 0; i < workers; ++i) {
      sigrun::go({.name = "worker"}, [=, &working, ctx = ctx] {
        look_through(ctx, pieces, found, zeros);
        working.done();
      });
    }

    std::uint64_t x = 0;
    const int won = sigrun::select(sigrun::recv_case(found, x), sigrun::recv_case(ctx.done()));
    const std::string why = ctx.reason();  // "SIGTERM from pid 4711 (uid 1000)", for one
    cancel();
    working.wait();  // none is left behind, whoever ended it
    if (won == 0) {
      std::printf("hash(%llu) begins with %d zero bits\n", static_cast<unsigned long long>(x),
                  zeros);
      return 0;
    }
    std::printf("ended: %s\n", why.c_str());
    return 1;
  });
}
