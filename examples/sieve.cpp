// SPDX-License-Identifier: Apache-2.0
//
// A prime sieve: a chain of goroutines, one for each prime found, each of which lets through what
// its prime does not divide. With n primes a number passes up to n channels, so this is mostly
// switches between goroutines.
//
//   example_sieve [N]      the first N primes, 25 if not given
#include <sigrun/chan.hpp>
#include <sigrun/go.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

void count_from_two(sigrun::chan<int> out) {
  for (int i = 2;; ++i) out.send(i);
}

void filter(sigrun::chan<int> in, sigrun::chan<int> out, int prime) {
  for (const int n : in) {
    if (n % prime != 0) out.send(n);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int wanted = argc > 1 ? std::atoi(argv[1]) : 25;
  return sigrun::run([wanted] {
    sigrun::chan<int> numbers(0);
    sigrun::go(count_from_two, numbers);
    for (int i = 0; i < wanted; ++i) {
      const int prime = *numbers.recv();
      std::printf("%d\n", prime);
      sigrun::chan<int> rest(0);
      sigrun::go(filter, numbers, rest, prime);
      numbers = rest;
    }
    // The chain is left as it is: goroutines end with the program, as threads do.
  });
}
