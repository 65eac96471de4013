// SPDX-License-Identifier: Apache-2.0
//
// Park against ready, on goroutines: src/sched/park.hpp invariants (1) to (4), src/sched/g.hpp
// invariants (1) and (2): park_goroutine(), unpark() and expire() in park.cpp, leave(), land() and
// ready() in switch.cpp, timer_stop() in timers.cpp.
//
// One G parks ROUNDS times, each time with a new parker on its stack, a waker that finds it in a
// list under a lock, and a deadline. It leaves its M first; whoever runs next on that M, here the M
// itself, commits the parker in land() once the registers are saved, and readies the G at once when
// a wake came before. A deadline pokes. A G that saw its deadline takes its parker out of the list;
// if the waker was faster, it parks on without a deadline. Or it sleeps, and there is no waker.
// Two Ms run whatever is in the run queue.
//
// Checked: the G is on one M or in the run queue once, never both; it is resumed only with saved
// registers; nobody touches a parker that is gone; when nothing can move any more, the G is through
// all its rounds.

#define ROUNDS 2

mtype = { running, sleeping, notified, poked }
mtype state;                  // the parker's word
bool alive;                   // the parker is on the G's stack

byte queued = 1, on_m;        // times in the run queue, Ms that run it
bool saved = true;            // its registers are in the G, not on an M
bool parked;                  // where it goes on: within park(), or at the start of a round
byte round;
bool g_done;

bool listed;                  // the waker can find it
bool alone;                   // there is none
bool armed, firing;           // its timer

inline ready() {
  atomic {
    assert(on_m == 0 && queued == 0);
    queued++
  }
}

// What the G does when its park() returns; `stays` if it parks again in the same round.
inline after_park() {
  stays = false;
  if
  :: state == notified -> skip
  :: else ->
     // Poked. (1) holds: a wake between is seen by the exchange.
     if
     :: atomic { state == poked -> state = running }
     :: atomic { state != poked -> skip }
     fi;
     if
     :: alone || state == notified -> skip
     :: atomic { state != notified && listed -> listed = false }   // under the list's lock
     :: atomic { state != notified && !listed && !alone -> stays = true }    // the waker has it: (3)
     fi
  fi
}

proctype machine() {
  bool stays, failed;
  do
  :: g_done -> break
  :: atomic { queued > 0 -> queued--; on_m++; assert(on_m == 1) };
     assert(saved);
     saved = false;
     if
     :: parked -> parked = false; after_park()
     :: else -> stays = false
     fi;
     if
     :: stays -> skip
     :: else ->
        if
        :: round > 0 ->
           // timer_stop(): a timer that fires is waited for, since it touches the parker.
           atomic { failed = armed; armed = false };
#ifndef BUG_LEAVE_TIMER
           if :: failed -> skip :: !failed -> !firing fi;
#endif
           failed = false;
           alive = false
        :: else -> skip
        fi;
        if
        :: round == ROUNDS ->
           atomic { on_m--; g_done = true };
           break
        :: else ->
           round++;
           atomic { state = running; alive = true };
           armed = true;
           if :: alone = true :: alone = false; listed = true fi
        fi
     fi;
     // park(): nothing to wait for, or leave.
     parked = true;
#ifdef BUG_COMMIT_FIRST
     failed = false;
     if
     :: atomic { state == running -> state = sleeping }
     :: atomic { state != running -> failed = true }
     fi;
     saved = true;
     on_m--;
     if :: failed -> ready() :: else -> skip fi
#else
     saved = true;
     atomic { on_m--; failed = false };
     // land(), on the stack of whoever runs next.
#ifdef BUG_BLIND_COMMIT
     if :: state == running -> state = sleeping
        :: state != running -> failed = true
     fi;
#else
     atomic {
       assert(alive);
       if :: state == running -> state = sleeping
          :: else -> failed = true
       fi
     };
#endif
#ifdef BUG_LAND_FORGETS
     skip
#else
     if :: failed -> ready() :: else -> skip fi
#endif
#endif
  od
}

active proctype waker() {
  mtype was;
  end: do
  :: atomic { listed -> listed = false };
#ifdef BUG_ASK_THEN_WAKE
     was = state;
     state = notified;
#else
     atomic { assert(alive); was = state; state = notified };
#endif
#ifdef BUG_TOUCH_AFTER
     assert(alive);
#endif
#ifdef BUG_READY_ALWAYS
     ready()
#else
     if :: was == sleeping -> ready() :: else -> skip fi
#endif
  od
}

active proctype timers() {
  mtype was;
  end: do
  :: atomic { armed -> armed = false; firing = true };
#ifdef BUG_POKE_STORES
     was = state;
     if
     :: was == sleeping -> state = running
     :: was == running -> state = poked
     :: else -> skip
     fi;
#else
     // poke_state(): each exchange is a step, and what it has seen decides on the next.
     was = sleeping;
     do
     :: atomic { state == was && was == sleeping -> assert(alive); state = running }; break
     :: atomic { state == was && was == running -> assert(alive); state = poked }; break
#ifdef BUG_POKE_ONCE
     :: atomic { state != was -> if :: was == running -> was = notified :: else -> was = state fi };
#else
     :: atomic { state != was -> was = state };
#endif
        if :: was == notified || was == poked -> break :: else -> skip fi
     od;
#endif
     if
     :: was == sleeping -> ready()
     :: else -> skip
     fi;
     firing = false
  od
}

init {
  atomic { run machine(); run machine() };
  timeout -> assert(g_done && on_m == 0 && queued == 0)
}
