// SPDX-License-Identifier: Apache-2.0
//
// Back-pressure against the end of a thread: src/sigsafe/intake.hpp invariant (4), hold_back() and
// edit_mask() in sighandler.cpp, hold_back_on(), claim_request(), take_spilled() and
// release_held_back() in intake.cpp, dispatch_queued() in duty.cpp, leave() in threads.cpp.
//
// Thread `t` has real-time signals that pend for it alone, and ends. Its handlers interrupt it
// anywhere. `stranger` is a handler on another thread, `consumer` has the duty when there is news.
// The ring has room for one, and there are as few request slots as can do.
//
// Checked: each signal is dispatched once, those of `t` in order, and none is left.

#define SIGNALS 3
#define OF_STRANGER 9
#define SLOTS 2

mtype = { vacant, filling, held_back, requested }
mtype phase[SLOTS] = vacant;
byte spilled[SLOTS];
bool of_t[SLOTS];

chan ring = [1] of { byte };
byte pending = SIGNALS;           // in the kernel, for t alone
bool blocked = true;              // on t; closed at first
bool control, control_blocked;    // SIGURG, on t
bool in_handler, ended;           // t
bool news, owned;
byte last;                        // of those of t
bool seen;                        // the stranger's

inline dispatch(x) {
  atomic {
    if
    :: x == OF_STRANGER -> assert(!seen); seen = true
    :: else -> assert(x == last + 1); last = x
    fi
  }
}

// In a handler that has taken `x`.
inline queue(x, mine) {
  if
  :: atomic { nfull(ring) -> ring!x }
  :: full(ring) ->
     atomic {
       if
       :: phase[0] == vacant -> s = 0
       :: else -> assert(phase[1] == vacant); s = 1
       fi;
       phase[s] = filling
     };
     of_t[s] = mine;
     spilled[s] = x;
     phase[s] = held_back;
     if
     :: mine -> blocked = true
     :: else -> skip
     fi
  fi;
  news = true
}

// On t, by its handler or by its own code, which the handler may interrupt: `mine`.
#define STEP(mine) (mine || !in_handler)
inline carry_out(mine) {
  s = 0;
  do
  :: s == SLOTS -> break
  :: s < SLOTS ->
     if
#ifdef BUG_NO_CLAIM
     :: STEP(mine) && phase[s] == requested && of_t[s] ->
        STEP(mine);
#else
     :: atomic { STEP(mine) && phase[s] == requested && of_t[s] -> phase[s] = filling };
#endif
        atomic { STEP(mine) -> blocked = false };
        atomic { STEP(mine) -> phase[s] = vacant }
     :: STEP(mine) && !(phase[s] == requested && of_t[s]) -> skip
     fi;
     s++
  od
}

// With the duty. On t itself the block is lifted at once.
inline drain(on_t) {
  snap[0] = phase[0] == held_back && spilled[0] != 0;
  snap[1] = phase[1] == held_back && spilled[1] != 0;
#ifndef BUG_SPILLED_FIRST
  do
  :: ring?x -> dispatch(x)
  :: empty(ring) -> break
  od;
#endif
  s = 0;
  do
  :: s == SLOTS -> break
  :: s < SLOTS ->
     if
     :: snap[s] -> dispatch(spilled[s]); spilled[s] = 0
     :: else -> skip
     fi;
     s++
  od;
#ifdef BUG_SPILLED_FIRST
  do
  :: ring?x -> dispatch(x)
  :: empty(ring) -> break
  od;
#endif
  s = 0;
  do
  :: s == SLOTS -> break
  :: s < SLOTS ->
     if
#ifdef BUG_LIFT_SPILLED
     :: phase[s] == held_back ->
#else
     :: phase[s] == held_back && spilled[s] == 0 ->
#endif
        phase[s] = filling;
        if
        :: !of_t[s] -> phase[s] = vacant
        :: of_t[s] && on_t -> blocked = false; phase[s] = vacant
        :: of_t[s] && !on_t ->
           phase[s] = requested;
           if
           :: !ended -> control = true
           :: atomic { ended && phase[s] == requested -> phase[s] = vacant }
           :: ended && phase[s] != requested -> skip
           fi
        fi
     :: else -> skip
     fi;
     s++
  od
}

active proctype handlers_of_t() {
  byte s, id;
  end: do
  :: atomic {
       pending > 0 && !blocked && !in_handler && !ended ->
       in_handler = true;
       id = SIGNALS + 1 - pending;
       pending--
     };
     queue(id, true);
     in_handler = false
  :: atomic { control && !control_blocked && !in_handler && !ended -> control = false; in_handler = true };
     carry_out(true);
     in_handler = false
  od
}

// What pends and is open comes before the next step of the thread's own.
#define OWN (!in_handler && (blocked || pending == 0))

active proctype t() {
  byte s, x;
  bool snap[SLOTS];
  atomic { OWN -> blocked = false };   // open_thread()
  OWN;
  carry_out(false);                    // as a wait does that has taken a SIGURG
#ifndef BUG_NO_LEAVE
  atomic { OWN -> control_blocked = true };
  do
  :: carry_out(false);
     OWN;
     if
     :: (phase[0] != vacant && of_t[0]) || (phase[1] != vacant && of_t[1]) ->
        atomic { !owned && OWN -> owned = true };
        drain(true);
        owned = false
     :: atomic {
          OWN && !(phase[0] != vacant && of_t[0]) && !(phase[1] != vacant && of_t[1]) ->
          ended = true;
          break
        }
     fi
  od
#else
  atomic { OWN -> ended = true }
#endif
}

active proctype stranger() {
  byte s;
  queue(OF_STRANGER, false)
}

active proctype consumer() {
  byte s, x;
  bool snap[SLOTS];
  end: do
  :: atomic { news && !owned -> news = false; owned = true };
     drain(false);
     owned = false
  od
}

init {
  timeout -> assert(last == SIGNALS && seen && pending == 0)
}
