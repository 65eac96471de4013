// SPDX-License-Identifier: Apache-2.0
//
// Signals for one goroutine against its waits, its deferrals and its exit: src/sched/raise.hpp
// invariants (2) to (7): raise(), take(), begin_wait(), end_wait() and end() of class inbox,
// inbox_of(), raise_to() and forget_inbox() in raise.cpp, wait_attentively() in park.cpp,
// run_raised_here() and end_raised() in src/go/raise.cpp.
//
// One goroutine either makes a handler and waits twice, the first time in a deferral, or does
// nothing at all; then it ends. One process has its handle, raises, and lets the handle go, with
// which the G is used anew. Another has a share of the inbox. What the second wait waits for comes
// at any time, or only when everything raised is handled: then a goroutine that sleeps on something
// due sleeps for ever. What is done under the inbox's lock is one step.
//
// Checked: no raised signal is lost uncounted, or counted twice; none is handled in a deferral, in
// another handler, or after the exit; nobody touches a parker, an inbox or a G that is gone; the
// goroutine is made ready once for each time it sleeps; it comes to its end.

#define RAISES 2

mtype = { running, sleeping, notified, poked }
mtype word;                    // the parker's
bool parker_alive, parked;     // on the G's stack; in the inbox
bool asleep, runnable;         // the G has left its M; somebody has made it ready

bool made, freed;              // the inbox: there is one; its memory is gone
bool owner;                    // it has one
bool handles;                  // there is a handler
byte waiting, deferrals;
byte raised, handled, by_exit, refused;
bool in_handler, exited, over, reused, waited_once, can_wake, done;
byte shares;                   // of the inbox, the G's own included
byte raisers = 2;

inline drop_share() {
  atomic {
    shares--;
    if :: shares == 0 -> freed = true :: else -> skip fi
  }
}

inline ready() {
  atomic {
    assert(asleep && !runnable);
    runnable = true
  }
}

inline expire() {
  assert(parker_alive);
  if
  :: word == sleeping -> word = running; wake = true
  :: word == running -> word = poked
  :: else -> skip
  fi
}

// The whole of inbox::raise(), with `wake` for what comes after the lock.
inline raise() {
  atomic {
    assert(!freed);
    wake = false;
    if
    :: !owner -> refused++
    :: owner && over ->
       assert(!reused);
       by_exit = by_exit + waiting; waiting = 0; owner = false;
       refused++
    :: else ->
       assert(!reused);        // (3)
       raised++;
       waiting++;
#ifndef BUG_POKE_OUTSIDE
       if
       :: handles && parked && deferrals == 0 -> expire()
       :: else -> skip
       fi
#else
       wake = handles && parked && deferrals == 0
#endif
    fi
  };
#ifdef BUG_POKE_OUTSIDE
  if :: wake -> atomic { wake = false; expire() } :: else -> skip fi;
#endif
  if :: wake -> ready() :: else -> skip fi
}

// (3), under the lock; the second time it does nothing.
inline end_inbox() {
#ifdef BUG_END_UNLOCKED
  atomic { assert(!freed); if :: owner -> by_exit = by_exit + waiting; waiting = 0 :: else -> skip fi };
  owner = false
#else
  atomic {
    assert(!freed);
    if :: owner -> by_exit = by_exit + waiting; waiting = 0; owner = false :: else -> skip fi
  }
#endif
}

proctype by_handle() {
  byte i = 0;
  bool wake;
  do
  :: i == RAISES -> break
  :: i < RAISES ->
     i++;
     // inbox_of(): the handle keeps the G, and that keeps its inbox.
     atomic { if :: !made -> made = true; owner = true; shares = 1 :: else -> skip fi };
     raise()
  od;
  raisers--;
  over;
  // The handle goes: forget_inbox().
#ifndef BUG_NO_END_AT_REUSE
  if :: made -> end_inbox() :: else -> skip fi;
#endif
  if :: made && !freed -> drop_share() :: else -> skip fi;
  reused = true
}

proctype by_share() {
  byte i = 0;
  bool wake, mine;
  // Somebody has given it one, or the goroutine ended before.
  if
  :: atomic { made && !freed && !reused -> shares++; mine = true }
  :: over -> skip
  fi;
  do
  :: i == RAISES || !mine -> break
  :: else -> i++; raise()
  od;
  raisers--;
  if :: mine -> drop_share() :: else -> skip fi
}

// run_raised_here(): a point of the goroutine, which handlers reach as well.
inline point() {
  if
  :: deferrals > 0 -> skip
  :: else ->
     deferrals++;
     do
     :: atomic {
          waiting > 0 ->
          assert(!exited && owner && !in_handler && deferrals == 1);
          waiting--; handled++;
          in_handler = true
        };
#ifdef BUG_NEST
        deferrals--;
#endif
        // A point in the handler.
        if
        :: deferrals > 0 -> skip
        :: else -> assert(waiting == 0)
        fi;
#ifdef BUG_NEST
        deferrals++;
#endif
        in_handler = false
     :: waiting == 0 -> break
     od;
     deferrals--
  fi
}

// wait_attentively(), and park_goroutine() with the commit by whoever runs next on the M.
inline wait() {
  atomic { word = running; parker_alive = true };
  can_wake = true;
  do
  :: word == notified -> break
  :: else ->
     // begin_wait()
     atomic {
#ifdef BUG_PARK_BLIND
       stays = true;
#else
       stays = (waiting == 0 || deferrals > 0);
#endif
       if :: stays -> parked = true :: else -> skip fi
     };
     if
     :: !stays -> point()
     :: stays ->
        asleep = true;
        atomic { if :: word == running -> word = sleeping :: else -> runnable = true fi };
        atomic { runnable -> runnable = false; asleep = false };
        atomic { if :: word == poked -> word = running :: else -> skip fi };
#ifndef BUG_KEEP_PARKED
        parked = false
#endif
     fi
  od;
  parker_alive = false
}

active proctype goroutine() {
  bool stays;
  if
  :: // It makes a handler.
     atomic { if :: !made -> made = true; owner = true; shares = 1 :: else -> skip fi };
     handles = true;
     deferrals++;
     wait();
     waited_once = true;
     deferrals--;
     point();
     wait()
  :: skip
  fi;
  // end_raised(): it looks for an inbox for the last time.
  if :: made -> end_inbox() :: else -> skip fi;
#ifdef BUG_FREE_AT_EXIT
  if :: made -> freed = true :: else -> skip fi;
#endif
  exited = true;
  over = true;
  done = true
}

// What the goroutine waits for: see above; in the deferral it comes at any time.
active proctype waker() {
  mtype was;
  bool wake, eager;
  if :: eager = true :: skip fi;
  end: do
  :: atomic {
       can_wake && (eager || !waited_once || (raisers == 0 && waiting == 0)) ->
       can_wake = false
     };
     atomic { assert(parker_alive); was = word; word = notified };
     if :: was == sleeping -> ready() :: else -> skip fi
  od
}

init {
  atomic { run by_handle(); run by_share() };
  timeout ->
  assert(done && reused && raisers == 0);
  assert(raised == handled + by_exit && waiting == 0);
  assert(raised + refused <= 2 * RAISES)
}
