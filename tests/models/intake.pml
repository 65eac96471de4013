// SPDX-License-Identifier: Apache-2.0
//
// The consumer word and the control signal: src/sigsafe/intake.hpp invariants (1) to (3), nudge() in
// intake.cpp, control_arrived() in sighandler.cpp, lead() and wait_in_kernel() in duty.cpp.
//
// Two handlers on other threads each queue events; `leader` dispatches and sleeps in
// rt_sigtimedwait; `on_leader` is the handler of SIGURG that interrupts it anywhere but there. A
// user's SIGURG may be pending already, and then swallows the control signal: standard signals merge.
//
// Checked: when nothing can move any more, nothing is queued.

#define EVENTS 2

mtype = { awake, news, asleep }
mtype consumer = awake;
byte queued = 0, taken = 0;
bool waits, held, in_kernel;
bool urg_blocked;                // on the leader's thread
bool urg_pending, urg_is_users;  // one SIGURG at most, with the siginfo of the first

inline send_control() {
  atomic {
    if
    :: urg_pending -> skip       // merged: the siginfo of the first one stays
    :: else -> urg_pending = true; urg_is_users = false
    fi
  }
}

inline nudge() {
  atomic { was = consumer; consumer = news };
  if
  :: was == asleep -> send_control()
  :: else -> skip
  fi
}

proctype handler() {
  byte i = 0;
  mtype was;
  do
  :: i == EVENTS -> break
  :: i < EVENTS ->
#ifdef BUG_NUDGE_BEFORE_PUSH
     nudge();
     queued++;
#else
     queued++;
     nudge();
#endif
     i++
  od
}

proctype user() {
  atomic {
    if
    :: !urg_pending -> urg_pending = true; urg_is_users = true
    :: else -> skip
    fi
  }
}

active proctype on_leader() {
  end: do
  :: atomic {
       urg_pending && !urg_blocked && !in_kernel ->
       urg_pending = false;
       if
#ifdef BUG_TRUST_SIGINFO
       :: urg_is_users -> skip
       :: !urg_is_users && waits ->
#elif defined(BUG_SWALLOW)
       :: false ->
#else
       :: waits ->
#endif
            urg_blocked = true; held = true; urg_pending = true; urg_is_users = false
       :: else -> skip
       fi
     }
  od
}

inline stop_waiting() {
  waits = false;
  if
  :: held -> held = false; urg_blocked = false
  :: else -> skip
  fi
}

active proctype leader() {
  do
  :: do
     :: atomic { queued > 0 -> queued--; taken++ }
     :: queued == 0 -> break
     od;
     waits = true;
     if
#ifdef BUG_BLIND_SLEEP
     :: true -> consumer = asleep
#else
     :: atomic { consumer == awake -> consumer = asleep }
#endif
     :: consumer == news ->
        stop_waiting();
        consumer = awake;
        goto again
     fi;
     in_kernel = true;
     end: atomic { urg_pending -> urg_pending = false; in_kernel = false };
     stop_waiting();
     consumer = awake;
     again: skip
  od
}

init {
  atomic { run handler(); run handler(); run user() };
  timeout -> assert(queued == 0 && taken == 2 * EVENTS)
}
