// SPDX-License-Identifier: Apache-2.0
//
// A park that leaves with a lock held: src/sched/park.hpp invariant (5): park_holding(), let_go()
// and unpark() in park.cpp and park.hpp, land() in switch.cpp, wait_and_unlock() in
// src/sync/chan_core.cpp.
//
// One G parks ROUNDS times on a channel, each time with a new parker on its stack. It leaves its M
// with the channel's lock held; whoever runs next there, here the M itself, gives the lock up in
// two steps, the store and a look whether somebody sleeps for it, and then says so in the parker.
// A waker takes the lock, takes the G out of the list, unlocks and makes it ready. After its last
// round the G drops the channel, which is freed. Two Ms run whatever is in the run queue.
//
// Checked: the G is on one M or in the run queue once, never both; it is resumed only with saved
// registers; the channel is not touched when it is gone, nor is a parker; in the end, the G is
// through all its rounds.

#define ROUNDS 2

bool locked;                  // the channel's lock
bool freed;                   // the channel is gone
bool listed;                  // the waker can find it
bool alive;                   // the parker is on the G's stack
bool let_go;                  // in the parker

byte queued = 1, on_m;        // times in the run queue, Ms that run it
bool saved = true;            // its registers are in the G, not on an M
bool parked;                  // where it goes on: within park_holding(), or at the start of a round
byte round;
bool g_done;

inline unlock() {
  assert(!freed);
  locked = false;
  assert(!freed)              // the look at the sleepers
}

inline land() {
  unlock();
  assert(alive);
  let_go = true
}

proctype machine() {
  do
  :: g_done -> break
  :: atomic { queued > 0 -> queued--; on_m++; assert(on_m == 1) };
     assert(saved);
     saved = false;
     if
     :: parked ->
        parked = false;
#ifndef BUG_GO_ON_BEFORE_THE_UNLOCK
        let_go;
#endif
        alive = false
     :: else -> skip
     fi;
     if
     :: round == ROUNDS ->
        freed = true;
        atomic { on_m--; g_done = true };
        break
     :: else -> round++
     fi;
     // receive(): there is nothing
     atomic { !locked -> locked = true };
     atomic { alive = true; let_go = false };
     listed = true;
     parked = true;
#ifdef BUG_UNLOCK_BEFORE_THE_SAVE
     land();
     saved = true;
     on_m--
#else
     saved = true;
     on_m--;
     land()
#endif
  od
}

active proctype waker() {
  bool found;
  end: do
  :: listed ->
#ifndef BUG_LOOK_WITHOUT_THE_LOCK
     atomic { !locked -> locked = true };
#endif
     found = listed;
     listed = false;
#ifndef BUG_LOOK_WITHOUT_THE_LOCK
     locked = false;
#endif
     if
     :: found ->
        assert(alive);
        atomic { assert(on_m == 0 && queued == 0); queued++ }
     :: else -> skip
     fi
  od
}

init {
  atomic { run machine(); run machine() };
  timeout -> assert(g_done && on_m == 0 && queued == 0)
}
