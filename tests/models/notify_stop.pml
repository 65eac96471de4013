// SPDX-License-Identifier: Apache-2.0
//
// The last stop() of a signal against handlers and dispatch: disable() in src/signal/registry.cpp,
// await_handlers() in in_flight.cpp, unclaimed() in runtime.cpp, unsubscribed() in
// src/sigsafe/sighandler.cpp; invariants (1) and (2) of src/signal/runtime.hpp.
//
// One thread has the signal blocked, so a signal sent may stay pending; another has it open, so it
// may enter our handler at any time, and be slow there. stop() has the duty throughout, a
// dispatcher has it afterwards. The disposition before ours is the default.
//
// Checked: every signal is delivered or meets the disposition, once; what was sent before stop()
// began is delivered, whether it was pending then or on its way in the open thread.

#define SIGNALS 3

bool ours = true, wanted = true, subscribed = true;  // in the kernel, in the intake, in the table
byte pending, queued;
byte delivered, defaulted, sent;
byte early, early_pending, early_queued, early_delivered;  // those sent before stop() began
bool stopping;
bool carrying;  // the kernel has given the open thread one, which its handler has yet to queue

inline dispatch_all() {
  do
  :: atomic { queued > 0 -> queued--; was_early = (early_queued > 0);
              if :: was_early -> early_queued-- :: else -> skip fi };
     if
     :: subscribed -> delivered++; if :: was_early -> early_delivered++ :: else -> skip fi
     :: else ->
#ifdef BUG_DROP_UNCLAIMED
        skip
#else
        // Handed back to the process: by now the disposition is the older one.
        pending++
#endif
     fi
  :: queued == 0 -> break
  od
}

proctype sender() {
  byte i = 0;
  do
  :: i == SIGNALS -> break
  :: i < SIGNALS ->
     i++;
     atomic {
       pending++; sent++;
       if :: !stopping -> early++; early_pending++ :: else -> skip fi
     }
  od
}

// The thread that has the signal open. The kernel looks at the disposition as it delivers.
active proctype open_thread() {
  bool is_early;
  end: do
  :: atomic {
       pending > 0 && ours ->
       pending--; carrying = true; is_early = (early_pending > 0);
       if :: is_early -> early_pending-- :: else -> skip fi
     };
     // As slowly as it likes.
     if
     :: wanted || ours ->
        atomic { queued++; if :: is_early -> early_queued++ :: else -> skip fi }
     :: atomic { !wanted && !ours -> defaulted++ }
     fi;
     carrying = false
  :: atomic {
       pending > 0 && !ours ->
       // A blocked one is in the kernel until stop() has opened the threads; this one is open.
       pending--; defaulted++;
       if :: early_pending > 0 -> early_pending-- :: else -> skip fi
     }
  od
}

active proctype stopper() {
  bool is_early, was_early;
  stopping = true;
#ifdef BUG_TABLE_FIRST
  subscribed = false;
#endif
  dispatch_all();
#ifndef BUG_PENDING_STAYS
  do
  :: atomic { pending > 0 -> pending--; is_early = (early_pending > 0);
              if :: is_early -> early_pending-- :: else -> skip fi };
     if :: subscribed -> delivered++; if :: is_early -> early_delivered++ :: else -> skip fi
        :: else -> defaulted++
     fi
  :: pending == 0 -> break
  od;
#endif
#ifndef BUG_NOBODY_IS_AWAITED
  !carrying;
#endif
  wanted = false;
  ours = false;
  dispatch_all();
  subscribed = false;
  // Now without the duty: whoever has it dispatches what slow handlers still queue.
  end: do
  :: atomic { queued > 0 }; dispatch_all()
  od
}

init {
  atomic { run sender() };
  timeout ->
    assert(delivered + defaulted == SIGNALS);
    assert(pending == 0 && queued == 0);
    assert(early_delivered == early)
}
