// SPDX-License-Identifier: Apache-2.0
//
// Goal: the recorder keeps the last signals whole, in any interleaving of its writer and readers,
// and a late receiver writes into no other signal's record.

#include "sigsafe/flight_recorder.hpp"

#include <gtest/gtest.h>

#include <csignal>

#include <atomic>
#include <memory>
#include <thread>

namespace sigrun::sigsafe {
namespace {

signal_event event_of(std::uint64_t sequence) {
  signal_event event;
  event.sequence = sequence;
  event.signo = static_cast<std::int32_t>(sequence % 64) + 1;
  event.code = -static_cast<std::int32_t>(sequence % 7);
  event.cause = signal_cause::queue;
  event.origin = signal_origin::user;
  event.count = static_cast<std::uint32_t>(sequence % 5) + 1;
  event.pid = static_cast<std::int32_t>(sequence);
  event.uid = static_cast<std::uint32_t>(sequence) + 1;
  event.tid = static_cast<std::int32_t>(sequence) + 2;
  event.at.taken = static_cast<std::int64_t>(sequence * 10);
  event.at.queued = event.at.taken + 1;
  event.at.dispatched = event.at.taken + 2;
  return event;
}

void expect_record_of(const flight_record& got, std::uint64_t sequence) {
  const signal_event want = event_of(sequence);
  EXPECT_EQ(got.sequence, sequence);
  EXPECT_EQ(got.signo, want.signo);
  EXPECT_EQ(got.code, want.code);
  EXPECT_EQ(got.cause, want.cause);
  EXPECT_EQ(got.origin, want.origin);
  EXPECT_EQ(got.count, want.count);
  EXPECT_EQ(got.pid, want.pid);
  EXPECT_EQ(got.uid, want.uid);
  EXPECT_EQ(got.tid, want.tid);
  EXPECT_EQ(got.at.taken, want.at.taken);
  EXPECT_EQ(got.at.queued, want.at.queued);
  EXPECT_EQ(got.at.dispatched, want.at.dispatched);
}

TEST(FlightRecorderTest, KeepsTheLastOnesAndNoOthers) {
  auto recorder = std::make_unique<flight_recorder>();
  EXPECT_EQ(recorder->newest(), 0U);
  flight_record got;
  EXPECT_FALSE(recorder->read(1, got));
  const std::uint64_t last = 3 * flight_slots + 5;
  for (std::uint64_t s = 1; s <= last; ++s) recorder->record(event_of(s), 3);
  EXPECT_EQ(recorder->newest(), last);
  for (std::uint64_t s = 1; s <= last + 1; ++s) {
    const bool there = s > last - flight_slots && s <= last;
    ASSERT_EQ(recorder->read(s, got), there) << s;
    if (!there) continue;
    expect_record_of(got, s);
    EXPECT_EQ(got.subscribers, 3U);
    EXPECT_EQ(got.at.received, 0);
  }
}

TEST(FlightRecorderTest, TheFirstReceiverIsKept) {
  auto recorder = std::make_unique<flight_recorder>();
  const signal_event event = event_of(9);
  recorder->record(event, 2);
  recorder->received(9, event.at.dispatched, event.at.dispatched + 1234);
  recorder->received(9, event.at.dispatched, event.at.dispatched + 5678);
  flight_record got;
  ASSERT_TRUE(recorder->read(9, got));
  EXPECT_EQ(got.at.received, event.at.dispatched + 1234);
}

TEST(FlightRecorderTest, AnEventThatWasNeverDispatchedChangesNothing) {
  auto recorder = std::make_unique<flight_recorder>();
  recorder->received(0, 1, 2);
  recorder->received(77, 1, 2);
  flight_record got;
  EXPECT_FALSE(recorder->read(77, got));
}

TEST(FlightRecorderTest, AReceiverThatComesLateIsInNobodysRecord) {
  auto recorder = std::make_unique<flight_recorder>();
  recorder->record(event_of(3), 1);
  recorder->record(event_of(3 + flight_slots), 1);
  recorder->received(3, event_of(3).at.dispatched, event_of(3).at.dispatched + 50);
  flight_record got;
  ASSERT_TRUE(recorder->read(3 + flight_slots, got));
  EXPECT_EQ(got.at.received, 0);
}

TEST(FlightRecorderTest, ReadersBesideTheWriterSeeWholeRecordsOrNone) {
  auto recorder = std::make_unique<flight_recorder>();
  constexpr std::uint64_t last = 300'000;
  std::atomic<std::uint64_t> seen{0};
  std::atomic<bool> done{false};
  std::thread reader([&] {
    flight_record got;
    while (!done.load()) {
      const std::uint64_t newest = recorder->newest();
      if (!recorder->read(newest, got)) continue;
      expect_record_of(got, newest);
      if (got.at.received != 0) {
        EXPECT_EQ(got.at.received, got.at.dispatched + 7);
      }
      seen.fetch_add(1);
    }
  });
  std::thread receiver([&] {
    while (!done.load()) {
      const std::uint64_t s = recorder->newest();
      if (s == 0) continue;
      const std::int64_t dispatched = event_of(s).at.dispatched;
      recorder->received(s, dispatched, dispatched + 7);
    }
  });
  for (std::uint64_t s = 1; s <= last; ++s) recorder->record(event_of(s), 1);
  while (seen.load() == 0) std::this_thread::yield();
  done.store(true);
  reader.join();
  receiver.join();
}

}  // namespace
}  // namespace sigrun::sigsafe
