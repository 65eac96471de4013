// SPDX-License-Identifier: Apache-2.0
//
// The signal duty and the Ms: src/sched/signals.hpp (1), (2) and (5), src/signal/duty.hpp (1) to
// (3): machine_wait(), lead(), go_at_large(), resign(), look() and release() in duty.cpp,
// sleep_in_bed(), go_idle(), look_at_signals() and leave_signals() in signals.cpp,
// find_idle_for_signal() in signal_wake.cpp, start_machine() and stop_machine() in machines.cpp,
// watch_signals() of sysmon. Receivers on threads, control threads and the lease are duty.pml's
// matter: here the lease is over when no M is awake. The wake rule is sched_netpoll.pml's: here a
// wake finds an idle M.
//
// Two Ms, one P. A goroutine receives what is dispatched. An M without work takes the bed. One
// more thing happens in each run: the goroutine loses its P, or never comes back to a scheduling
// point; another one is made ready by somebody else; Ms without work sleep on their futexes now
// and then, as if the poller or a lock needed them; or a second signal comes. What is done under
// the scheduler's lock is one step. Signals are closed everywhere but on the M at large, whose
// handler queues them in the order in which the kernel has them.
//
// In time: one more run has two signals and a goroutine that never comes back, and in it sysmon's
// patience is long: it has the stand-by thread look when nothing else can move. Then it must not
// have been needed, if an M was idle beside an idle P when the news came.
//
// What it does not show: what several of these do together, since only one of them happens in a
// run; the order of signals beyond the runs with two of them; nor that release() needs its look.
//
// Checked: never two owners, nor two who wait for signals; signals are dispatched in order, by the
// owner; nobody touches the parker of a bed that has been left; when nothing can move any more,
// all signals have been dispatched and received, both goroutines have run, and somebody waits for
// signals, or the M at large has them open.

#define SIGNALS_MAX 2
#define STANDBY 3
#define AWAKE 0
#define NEWS 1
#define AT_LARGE 2
#define asleep(who) (10 + who)

byte owner, wanters, consumer = asleep(STANDBY), waiting;
byte at_large;                   // with the duty alone
bool kick[5];                    // a control signal
bool open[3], in_handler;        // of an M
chan pending = [SIGNALS_MAX] of { byte };
chan ring = [SIGNALS_MAX] of { byte };
byte delivered, got;

byte idle_ps;                    // under the lock, as all of these
bool has_p[3], idle[3];
byte bed;
bool given[3], look[3];          // machine::wake
bool notified[3], leading[3], alive[3];  // the parker of a bed
bool gathers[5], gathered[3];

bool r_waits, r_ready = true, r_stuck;  // the receiver
bool other_ready, other_ran = true;
byte signals = 1;
bool loses, sticks, elsewhere;    // what may happen in this run
bool patient;                     // sysmon sees news late: when nothing else moves any more
bool asked;                       // somebody idle was there to look at the news
#define news_lie (at_large != 0 && consumer == NEWS && owner == 0)
#ifdef BUG_NOBODY_LOOKS
#define BUG_NO_FIND_IDLE
#define rescued false
#else
#define rescued news_lie
#endif

// ------------------------------------------------------------------------------- the scheduler

// Under the lock. A new M is as good as one that comes to rest a moment later.
inline wake_one(k) {
  atomic {
    k = 0;
    if
    :: idle_ps > 0 && idle[1] -> idle[1] = false; idle_ps--; has_p[1] = true; given[1] = true
    :: idle_ps > 0 && !idle[1] && idle[2] ->
       idle[2] = false; idle_ps--; has_p[2] = true; given[2] = true
    :: idle_ps > 0 && !idle[1] && !idle[2] && bed != 0 ->
       k = bed; bed = 0; idle_ps--; has_p[k] = true
    :: else -> skip
    fi
  };
  if
  :: k != 0 ->
     atomic {
       assert(alive[k]);
       notified[k] = true;
       if :: leading[k] -> kick[k] = true :: else -> skip fi;
       k = 0
     }
  :: else -> skip
  fi
}

inline take_idle_p() {
  atomic { if :: !has_p[me] && idle_ps > 0 -> idle_ps--; has_p[me] = true :: else -> skip fi }
}

// A handler's, or any other's that has queued a signal.
inline nudge() {
  atomic {
    was = consumer;
    consumer = NEWS;
    asked = (patient && was == AT_LARGE && idle_ps > 0 && (idle[1] || idle[2]));
    if
    :: was >= 10 -> kick[was - 10] = true
#ifndef BUG_NO_FIND_IDLE
    :: was == AT_LARGE && idle_ps > 0 && idle[1] -> look[1] = true
    :: was == AT_LARGE && idle_ps > 0 && !idle[1] && idle[2] -> look[2] = true
#endif
    :: else -> skip
    fi;
    was = 0
  }
}

// -------------------------------------------------------------------------------------- the duty

inline own() {
  wanters++;
  do
  :: atomic { owner == 0 -> owner = me; wanters-- }; break
  :: owner != 0 ->
     nudge();
     (owner == 0)
  od;
  consumer = AWAKE
}

inline dispatch(x) {
  atomic {
    assert(owner == me);
    assert(x == delivered + 1);
    delivered = x;
    if
    :: r_waits ->
       r_waits = false;
       if
       :: gathers[me] -> gathered[me] = true
       :: else -> r_ready = true
       fi
    :: else -> skip
    fi;
    x = 0
  };
  if :: !gathers[me] && r_ready -> wake_one(k) :: else -> skip fi
}

inline drain() {
  do
  :: ring?x -> dispatch(x)
  :: empty(ring) -> break
  od
}

// A failed attempt drains and tries again; the last one has the stand-by thread look.
inline release() {
  drain();
  atomic {
    if
    :: consumer != AWAKE -> kick[STANDBY] = true
    :: else -> consumer = (at_large != 0 -> AT_LARGE : asleep(STANDBY))
    fi
  };
  owner = 0
}

inline wait_in_kernel() {
  atomic {
    waiting++;
    assert(waiting == 1 && at_large == 0);
    x = 0
  };
  if
  :: atomic { pending?x -> waiting-- }
  :: atomic { kick[me] -> kick[me] = false; waiting-- }
  fi
}

// Not within its own handler.
inline close() { atomic { !open[me] || !in_handler -> open[me] = false } }

// What it gathered is queued where there is a P, or for all.
inline run_soon() {
  if
  :: atomic { gathered[me] -> gathered[me] = false; r_ready = true };
     take_idle_p();
     if :: !has_p[me] -> wake_one(k) :: else -> skip fi
  :: else -> skip
  fi
}

// ------------------------------------------------------------------------------------ the threads

proctype kernel() {
  pending!1;
  if :: signals == 2 -> pending!2 :: else -> skip fi
}

active proctype handlers() {
  byte x, was;
  end: do
  :: atomic { (open[1] || open[2]) && nempty(pending) -> pending?x; in_handler = true };
     ring!x;
     nudge();
     atomic { x = 0; in_handler = false }
  od
}

proctype machine(byte me) {
  byte x, was, k;
  bool found;
top:
#ifndef BUG_REST_BLIND
  if
  :: consumer == NEWS ->
     if
     :: atomic { wanters == 0 && owner == 0 -> owner = me };
        atomic { gathers[me] = true; consumer = AWAKE };
        release();
        gathers[me] = false;
        run_soon()
     :: wanters != 0 || owner != 0 -> skip
     fi
  :: else -> skip
  fi;
#endif
  if
  :: !has_p[me] ->
     take_idle_p();
     if :: has_p[me] -> goto top :: else -> goto go_idle fi
  :: else -> skip
  fi;
  if
  :: atomic { r_ready -> r_ready = false }; goto receive
  :: atomic { other_ready -> other_ready = false; other_ran = true }; goto top
  :: !r_ready && !other_ready -> skip
  fi;
  // release_p(), and the last look.
  atomic {
    found = r_ready || other_ready;
    if :: !found -> has_p[me] = false; idle_ps++ :: else -> skip fi
  };
  if
  :: found || r_ready || other_ready -> found = false; take_idle_p(); goto top
  :: else -> skip
  fi;

go_idle:
  if
  :: at_large == 0 || at_large == me -> skip
  :: at_large != 0 && at_large != me -> goto stop
  :: elsewhere -> goto stop
  fi;
  atomic {
    if
    :: bed == 0 && !has_p[me] ->
       bed = me; alive[me] = true; notified[me] = false; gathers[me] = true
    :: else -> goto stop
    fi
  };
machine_wait:
  own();
  at_large = 0;
  close();
  do
  :: drain();
     if :: notified[me] || gathered[me] -> break :: else -> skip fi;
     if :: wanters != 0 -> release(); goto machine_wait :: else -> skip fi;
     if
     :: atomic { consumer == AWAKE -> consumer = asleep(me) };
        if
        :: atomic { !notified[me] -> leading[me] = true };
           wait_in_kernel();
           atomic { leading[me] = false; consumer = AWAKE };
           if :: x != 0 -> dispatch(x) :: else -> skip fi
        :: notified[me] -> consumer = AWAKE
        fi
     :: consumer == NEWS -> consumer = AWAKE
     fi
  od;
#ifdef BUG_AT_LARGE_LATE
  atomic { if :: consumer == AWAKE -> consumer = AT_LARGE :: else -> skip fi };
  owner = 0;
  at_large = me;
#else
  at_large = me;
  atomic { if :: consumer == AWAKE -> consumer = AT_LARGE :: else -> skip fi };
  owner = 0;
#endif
  open[me] = true;
  // leave_bed()
  atomic {
    found = (bed == me);
    if :: found -> bed = 0 :: else -> skip fi
  };
#ifndef BUG_LEAVE_BED
  if :: found -> skip :: else -> notified[me] fi;
#endif
  atomic { alive[me] = false; gathers[me] = false; found = false };
#ifndef BUG_FORGETS_GATHERED
  run_soon();
#endif
  goto top;

stop:
  if
  :: at_large == me ->
#ifdef BUG_NO_RESIGN
     close()
#else
     own();
     at_large = 0;
     close();
     release()
#endif
  :: else -> skip
  fi;
  atomic {
    if
    :: (r_ready || other_ready) && idle_ps > 0 -> goto top
    :: else -> idle[me] = true
    fi
  };
  end: if
  :: atomic { given[me] -> given[me] = false; look[me] = false }
  :: atomic { look[me] && idle[me] -> look[me] = false; idle[me] = false }
  fi;
  goto top;

receive:
  if
  :: got = delivered
  :: atomic { loses -> loses = false; has_p[me] = false; idle_ps++; r_ready = true };
     wake_one(k);
     goto top
  :: sticks ->                                                  // never yields
     atomic { sticks = false; r_stuck = true; has_p[me] = false; idle_ps++ };
     if :: other_ready -> wake_one(k) :: else -> skip fi;
     goto stuck
  fi;
  atomic {
    if
    :: got == delivered -> r_waits = true; goto top
    :: else -> goto receive
    fi
  };
stuck:
  skip
}

active proctype stand_by() {
  byte x, was, k;
  byte me = STANDBY;
  do
  :: if
     :: atomic { kick[STANDBY] -> kick[STANDBY] = false }
     :: at_large == 0 && owner == 0 && idle[1] + idle[2] + r_stuck == 2 -> skip   // the lease
     :: !patient && rescued -> skip                             // sysmon has seen it
     :: timeout && patient && rescued -> assert(!asked)
     fi;
     if
     :: atomic { (consumer == NEWS || at_large == 0) && wanters == 0 && owner == 0 -> owner = me };
        consumer = AWAKE;
        if
        :: at_large != 0 -> skip
        :: else ->
           do
           :: drain();
              if :: wanters != 0 -> break :: else -> skip fi;
              if
              :: atomic { consumer == AWAKE -> consumer = asleep(STANDBY) };
                 wait_in_kernel();
                 consumer = AWAKE;
                 if :: x != 0 -> dispatch(x) :: else -> skip fi
              :: consumer == NEWS -> consumer = AWAKE
              fi
           od
        fi;
        release()
     :: else -> skip
     fi
  od
}

proctype other() {
  byte k;
  other_ready = true;
  wake_one(k)
}

init {
  atomic {
    has_p[1] = true; run machine(1); run machine(2);
    if
    :: sticks = true
    :: sticks = true; signals = 2; patient = true
    :: elsewhere = true
    :: loses = true
    :: other_ran = false; run other()
    :: signals = 2
    fi;
    run kernel()
  };
  timeout && !rescued ->
    assert(delivered == signals && empty(pending) && empty(ring));
    assert(other_ran);
    assert(r_stuck || (got == signals && r_waits));
    assert(owner != 0 || at_large != 0);
    assert(at_large == 0 || (open[at_large] && r_stuck))
}
