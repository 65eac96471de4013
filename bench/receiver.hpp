// SPDX-License-Identifier: Apache-2.0
//
// What every C++ program under test has in common: its arguments and its accounting. A program
// sets its library up, calls ready(), and calls on_signal() for each signal as the first thing its
// own code does.
#pragma once

#include "page.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

class receiver {
 public:
  /// Arguments: latency|flood SIGNO [HOW].
  receiver(int argc, char** argv) {
    if (argc < 3) {
      std::fprintf(stderr, "usage: %s latency|flood SIGNO [HOW]; run by bench_sender\n", argv[0]);
      std::exit(2);
    }
    latency_ = std::strcmp(argv[1], "latency") == 0;
    signo_ = std::atoi(argv[2]);
    how_ = argc > 3 ? argv[3] : "";
    void* memory =
        mmap(nullptr, sizeof(shared_page), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
    if (memory == MAP_FAILED) {
      std::perror("bench: mmap of fd 3");
      std::exit(2);
    }
    page_ = static_cast<shared_page*>(memory);
  }

  int signo() const { return signo_; }
  bool latency() const { return latency_; }
  bool how(const char* name) const { return std::strcmp(how_, name) == 0; }
  shared_page& page() { return *page_; }

  /// Signals are handled from now on.
  void ready() { page_->ready.store(1); }

  /// Accounts for `count` signals of which the program has just learnt; false: it shall end.
  bool on_signal(int signo, int count = 1) {
    const std::int64_t at = now();
    if (signo == end_signal) {
      page_->last_at = last_at_;
      return false;
    }
    if (latency_ && received_ < static_cast<std::int64_t>(max_samples)) {
      page_->samples[received_] = at - page_->sent_at.load();
    }
    last_at_ = at;
    received_ += count;
    page_->received.store(received_);
    return true;
  }

  /// The same for a signal that came with its payload, which the sender numbers from 0.
  bool on_signal_with(int signo, int payload) {
    if (signo != end_signal) {
      ++page_->payloads;
      if (payload != received_) ++page_->out_of_order;
    }
    return on_signal(signo);
  }

 private:
  bool latency_;
  int signo_;
  const char* how_;
  shared_page* page_;
  std::int64_t received_ = 0;
  std::int64_t last_at_ = 0;
};

}  // namespace bench
