// SPDX-License-Identifier: Apache-2.0
//
// Going idle against a wake, on a futex or out of the netpoller: the wake rule, (1) to (3) of
// src/sched/scheduler.hpp; find_runnable(), sleep_in_poller() and wake_one() in find.cpp,
// start_machine(), stop_machine() and hand_off() in machines.cpp, timer_start() in timers.cpp.
//
// Two Ps and two Ms that hold them; more are made as needed. One M runs a G that stops timer 1,
// starts timer 2 and blocks in a foreign call for ever: its P is handed off. The other has nothing
// to do. Either a thread without a P queues a G and wakes, or there is a descriptor with one event.
// All queues are one number; the timers are on nobody's P in particular, so that only an M that
// steals fires them. What is done under the scheduler's lock is one step. The push of a G and
// poll_until are stored through a buffer that drains when it likes, where the code has no fence.
//
// Checked: when nothing can move any more, the G has run, the timer that was not stopped has fired
// and the event has been taken; while there is a descriptor the last M asleep is in the netpoller,
// and nobody sleeps with a P.

#define MS 3
#define NOBODY 7
#define NEVER 9

byte queue;
bool ran;
byte pushing;                 // in the producer's store buffer
byte idle_ps, spinning;       // idle_ps is scheduler::idle_count too: both change under the lock
byte made = 2;
bool is_idle[MS], wake[MS], has_p[MS], spins[MS];
byte polling = NOBODY;        // under the lock: who sleeps in the netpoller and may be taken out
bool in_poller;               // under the lock: somebody is still in there
bool break_event;             // stays until it is read
byte poll_until;              // 0: nobody sleeps there
byte until_stored;            // on its way to poll_until, 0: nothing
bool timer1 = true, timer2, timer2_fired;
byte next_timer = 1, now;
bool descriptor, event;

inline drained() { pushing == 0 }

active proctype buffers() {
  end: do
  :: atomic { pushing > 0 -> queue = queue + pushing; pushing = 0 }
  :: atomic { until_stored > 0 -> poll_until = until_stored; until_stored = 0 }
  od
}

active proctype clock() { now = 2 }

// Under the lock, with a P taken from the idle ones: an M for it. A new one is as good as one that
// comes to rest a moment later, so that no more than MS are needed here.
inline give_p(spin) {
  (made < MS || is_idle[0] || is_idle[1] || is_idle[2] || polling != NOBODY);
  k = (is_idle[0] -> 0 : (is_idle[1] -> 1 : (is_idle[2] -> 2 : made)));
  if
  :: k < made -> is_idle[k] = false; has_p[k] = true; spins[k] = spin; wake[k] = true
  :: k == made && polling != NOBODY ->
     has_p[polling] = true; spins[polling] = spin; polling = NOBODY;
#ifndef BUG_NO_BREAK
     break_event = true
#endif
  :: else -> made++; has_p[k] = true; spins[k] = spin; run machine(k)
  fi;
  k = 0
}

inline wake_one() {
  drained();                                // the fence
  if
  :: idle_ps == 0 || spinning != 0 -> skip
  :: atomic { idle_ps != 0 && spinning == 0 -> spinning++ };
     atomic {
       if
       :: idle_ps == 0 -> spinning--
       :: else -> idle_ps--; give_p(true)
       fi
     }
  fi
}

// By sysmon, which has the P in its hands; here by the M that lost it.
inline hand_off() {
  if
  :: queue > 0 -> atomic { give_p(false) }
  :: queue == 0 ->
     if
     :: atomic { idle_ps == 0 && spinning == 0 -> spinning++ };
        atomic { give_p(true) }
     :: idle_ps != 0 || spinning != 0 ->
        idle_ps++;
        u = poll_until;
        if
        :: u != 0 && next_timer < u -> break_event = true
#ifndef BUG_NOBODY_POLLS
        :: u == 0 && (next_timer != NEVER || descriptor) -> wake_one()
#endif
        :: else -> skip
        fi
     fi
  fi
}

inline the_g_that_blocks() {
  atomic { if :: timer1 -> timer1 = false; next_timer = NEVER :: else -> skip fi };
  atomic { timer2 = true; if :: next_timer > 2 -> next_timer = 2 :: else -> skip fi };
  u = poll_until;
#ifndef BUG_TIMER_SILENT
  if :: u != 0 && 2 < u -> break_event = true :: else -> skip fi;
#endif
  u = 0;
  has_p[me] = false;
  hand_off()
}

inline take_idle_p() {
  atomic { if :: !has_p[me] && idle_ps > 0 -> idle_ps--; has_p[me] = true :: else -> skip fi }
}

// A steal, which looks at the others' timers too.
inline look() {
  if
  :: atomic { queue > 0 -> queue--; found = true }
  :: queue == 0 ->
     // The network, when nobody sleeps there.
     if
     :: poll_until == 0 && descriptor ->
        atomic { if :: event -> event = false :: else -> skip fi }
     :: else -> skip
     fi;
     if
     :: atomic { !spins[me] && spinning == 0 -> spinning++; spins[me] = true }
     :: spins[me] || spinning != 0 -> skip
     fi;
     if
     :: spins[me] ->
        atomic {
          if
          :: timer1 && now >= 1 -> timer1 = false; next_timer = (timer2 -> 2 : NEVER)
          :: else -> skip
          fi;
          if
          :: timer2 && now >= 2 -> timer2 = false; timer2_fired = true;
             next_timer = (timer1 -> 1 : NEVER)
          :: else -> skip
          fi
        };
        if
        :: atomic { queue > 0 -> queue--; found = true }
        :: queue == 0 -> skip
        fi
     :: else -> skip
     fi
  fi
}

proctype machine(byte me) {
  bool found, was;
  byte k, u;
  if
  :: me == 0 -> the_g_that_blocks(); goto gone
  :: else -> skip
  fi;
top:
  atomic { found = false; was = false; u = 0; k = 0 };
  if
  :: !has_p[me] ->
     take_idle_p();
     if :: has_p[me] -> goto top :: else -> goto stop fi
  :: else -> skip
  fi;
  look();
  if
  :: found ->
     if
     :: spins[me] ->
        spins[me] = false;
        atomic { spinning--; was = (spinning == 0) };
        if :: was -> wake_one() :: else -> skip fi
     :: else -> skip
     fi;
     ran = true;
     goto top
  :: else -> skip
  fi;
  // release_p()
  atomic {
    if :: queue > 0 -> queue--; found = true :: else -> idle_ps++; has_p[me] = false fi
  };
  if
  :: found ->
     if :: spins[me] -> spins[me] = false; atomic { spinning--; was = (spinning == 0) };
                        if :: was -> wake_one() :: else -> skip fi
        :: else -> skip
     fi;
     ran = true;
     goto top
  :: else -> skip
  fi;
  atomic {
    was = spins[me];
    if :: was -> spins[me] = false; spinning-- :: else -> skip fi
  };
  // The last look.
#ifndef BUG_LOOK_THEN_PUBLISH
  if
  :: queue > 0 || next_timer <= now ->
     take_idle_p();
     atomic { if :: has_p[me] && was -> spins[me] = true; spinning++ :: else -> skip fi };
     goto top
  :: else -> skip
  fi;
#endif
  // sleep_in_poller()
  u = next_timer;
  if :: !descriptor && u == NEVER -> goto stop :: else -> skip fi;
  atomic {
    if
#ifdef BUG_TWO_IN_POLLER
    :: polling != NOBODY -> goto stop
#else
    :: in_poller -> goto stop
#endif
    :: else -> polling = me; in_poller = true
    fi
  };
#ifdef BUG_UNTIL_LATE
  u = next_timer;
  poll_until = u;
#elif defined(BUG_UNTIL_STALE)
  poll_until = u;
  u = next_timer;
#elif defined(BUG_UNTIL_UNFENCED)
  until_stored = NEVER;
  u = next_timer;
#else
  poll_until = NEVER;
  u = next_timer;
  poll_until = u;
#endif
  // epoll_wait()
  if
  :: break_event -> break_event = false
  :: event -> skip
  :: now >= u -> skip
  fi;
  atomic { poll_until = 0; until_stored = 0 };
  atomic {
    in_poller = false;
    if :: polling == me -> polling = NOBODY :: else -> assert(has_p[me]) fi
  };
  atomic { if :: event -> event = false :: else -> skip fi };
  goto top;
stop:
  atomic { is_idle[me] = true; u = 0; was = false };
  end: atomic { wake[me] -> wake[me] = false };
  assert(has_p[me]);
  goto top;
gone:
  skip
}

proctype producer() {
  byte k;
  pushing++;
#ifdef BUG_PUSH_UNFENCED
  if
  :: idle_ps == 0 || spinning != 0 -> skip
  :: atomic { idle_ps != 0 && spinning == 0 }; wake_one()
  fi
#else
  wake_one()
#endif
}

init {
  atomic {
    has_p[0] = true; has_p[1] = true;
    run machine(0); run machine(1);
    if
    :: descriptor = true; event = true; ran = true
    :: run producer()
    fi
  };
  timeout ->
    assert(ran && queue == 0);
    assert(timer2_fired && !timer1);
    assert(!event);
    assert(spinning == 0 && idle_ps == 2);
    assert(!descriptor || polling != NOBODY)
}
