// SPDX-License-Identifier: Apache-2.0
//
// Who has the signal duty: src/signal/duty.hpp invariants (1) to (3); own(), release(), offer(),
// poke_candidate(), arm_lease(), receive_wait(), lead(), stand_by() and lead_standing_by() in
// duty.cpp. That a control signal wakes whom it is sent to is intake.pml's matter: here it is a flag.
//
// A receiver comes and goes (once it has a signal, or its deadline passed, it is away for good; a
// second one multiplies the states beyond what a check may take), a control thread
// takes the duty once, the stand-by thread never ends. Signals are blocked everywhere: only the
// owner takes them. The lease is `lease_over`, made true by its timer or by the stand-by's own
// bounded wait.
//
// Checked: never two owners; when nothing can move any more, every signal has been taken, the
// control thread is done, and the duty is not vacant.

#define SIGNALS 2
#define R1 1
#define CONTROL 3
#define STANDBY 4
#define AWAKE 0
#define NEWS 10
#define asleep(who) (20 + who)

byte owner, wanters, consumer = asleep(STANDBY);
byte candidate;              // a receiver, 0 for none
bool sleeping[5], poked[5], kick[5];
bool armed, timer, lease_over = true;
byte pending, taken, owners;
bool control_done;

inline nudge() {
  atomic {
    was = consumer; consumer = NEWS;
    if :: was >= 20 -> kick[was - 20] = true :: else -> skip fi;
    was = 0
  }
}

inline arm_lease() {
  lease_over = false;
  atomic { was = armed; armed = true };
#ifndef BUG_NO_LEASE
  if :: !was -> timer = true :: else -> skip fi;
#endif
  was = 0
}

inline took() {
  owners++;
  assert(owners == 1)
}

inline release(me) {
  // A failed attempt drains and tries again; the last one leaves NEWS, which here is as if a handler
  // had queued just after: the stand-by thread is sent its control signal either way.
  atomic { consumer = asleep(STANDBY); owners-- };
  owner = 0;
  if
  :: wanters != 0 -> skip    // the futex wake: control waits for owner == 0
  :: else ->
     atomic {                // under candidate_lock_
       if
       :: candidate != 0 ->
          if
          :: sleeping[candidate] -> sleeping[candidate] = false
          :: else -> poked[candidate] = true
          fi;
          candidate = 0
       :: else -> skip
       fi
     };
     arm_lease()
  fi
}

active proctype lease_timer() {
  end: do
  :: atomic { timer -> timer = false; lease_over = true; kick[STANDBY] = true }
  od
}

proctype sender() {
  byte i = 0;
  do
  :: i < SIGNALS -> i++; pending++
  :: i == SIGNALS -> break
  od
}

proctype control() {
  byte was;
  wanters++;
  do
  :: atomic { owner == 0 -> owner = CONTROL }; break
  :: owner != 0 ->
#ifndef BUG_NO_NUDGE
     nudge();
#endif
     (owner == 0)
  od;
  took();
  wanters--;
  consumer = AWAKE;
  release(CONTROL);
  control_done = true
}

// A round is one recv(): it ends by a signal it took, or by its deadline.
proctype receiver(byte me) {
  byte was;
  bool offered, finished, leads;
  do
  :: finished -> break
  :: else ->
     leads = false;
#ifdef BUG_PLAIN_TAKE
     if :: wanters == 0 && owner == 0 -> owner = me; leads = true
#else
     if :: atomic { wanters == 0 && owner == 0 -> owner = me; leads = true }
#endif
     :: wanters != 0 || owner != 0 -> skip
     fi;
     if
     :: leads ->
        took();
        consumer = AWAKE;
        do
        :: wanters != 0 -> break
        :: else ->
           if
           :: atomic { consumer == AWAKE -> consumer = asleep(me) }
           :: consumer == NEWS -> consumer = AWAKE; goto next_look
           fi;
           if
           :: atomic { pending > 0 -> pending--; taken++ }; finished = true
           :: atomic { kick[me] -> kick[me] = false }
           :: finished = true                     // the deadline
           fi;
           consumer = AWAKE;
           if :: finished -> break :: else -> skip fi;
        next_look: skip
        od;
        release(me)
     :: else ->
        atomic { if :: candidate == 0 -> candidate = me; offered = true
                    :: else -> offered = false fi };
        if
        :: offered && owner == STANDBY -> nudge()
        :: offered && owner == 0 && wanters == 0 ->
           atomic { if :: candidate == me -> candidate = 0 :: else -> skip fi };
           goto round
        :: else -> skip
        fi;
        atomic {
          if
          :: poked[me] -> poked[me] = false
          :: else -> sleeping[me] = true
          fi
        };
        if
        :: !sleeping[me] -> skip
        :: atomic { sleeping[me] -> sleeping[me] = false; finished = true }  // the deadline
        fi;
        atomic { if :: candidate == me -> candidate = 0 :: else -> skip fi };
     round: skip
     fi
  od
}

active proctype stand_by() {
  byte was;
  bool bounded, leads;
  do
  :: leads = false;
     bounded = false;
     if
     :: owner == 0 && (consumer == NEWS || lease_over) ->
        armed = false;
        if
        :: atomic { wanters == 0 && owner == 0 -> owner = STANDBY; leads = true }
        :: wanters != 0 || owner != 0 -> skip
        fi
     :: else -> skip
     fi;
     if
     :: leads ->
        took();
        consumer = AWAKE;
        do
        :: wanters != 0 || candidate != 0 -> break
        :: else ->
           if
           :: atomic { consumer == AWAKE -> consumer = asleep(STANDBY) };
              if
              :: atomic { pending > 0 -> pending--; taken++ }
              :: atomic { kick[STANDBY] -> kick[STANDBY] = false }
              fi;
              consumer = AWAKE
           :: consumer == NEWS -> consumer = AWAKE
           fi
        od;
        release(STANDBY);
        armed = false;
        armed = true
     :: else ->
        if
        :: owner != 0 ->
#ifdef BUG_NO_SECOND_LOOK
           armed = false
#elif defined(BUG_STAYS_ARMED)
           skip
#else
           armed = false;
           if :: owner == 0 -> bounded = true :: else -> skip fi
#endif
        :: else -> bounded = true
        fi;
        if
        :: atomic { kick[STANDBY] -> kick[STANDBY] = false }
        :: bounded -> lease_over = true
        fi
     fi
  od
}

init {
  atomic { run sender(); run control(); run receiver(R1) };
  timeout ->
    assert(pending == 0 && taken == SIGNALS);
    assert(control_done);
    assert(owner != 0)
}
