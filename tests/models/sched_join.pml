// SPDX-License-Identifier: Apache-2.0
//
// A goroutine that joins another: src/sched/spawn.cpp, join_g(), take_joiner() and finish(), by the
// protocol of src/sched/park.hpp invariant (5) with a word, `life`, in the place of the lock.
//
// J joins G. J looks whether G has ended, leaves, and whoever runs next there puts J's parker into
// `life`, or, when G has ended meanwhile, makes J ready; and then says in the parker that it lets
// go. G ends on another M: it either takes the joiner that it sees in `life` along and publishes
// its end on the joiner's M, or publishes at once and makes the joiner ready that it found. J goes
// on when it is in a run queue, waits until its parker was let go, and frees G and the parker.
//
// Checked: J is resumed once, with saved registers, and after G's end is public; nobody touches a
// parker or a G that is gone; J comes to its end.

#define NONE 0
#define PARKER 1
#define OVER 2
#define MEETING 3

byte life = NONE;
byte queued;                  // times that J is in a run queue
bool saved;                   // J's registers are in J
bool let_go;                  // in the parker
bool alive = true;            // the parker
bool freed;                   // G
bool stayed;                  // J found G ended, and did not leave
bool joined;

inline ready_joiner() {
  assert(alive);
  atomic { queued++; assert(queued == 1) }
}

active proctype joiner() {
  byte seen;
  assert(!freed);
  if
  :: life == OVER -> stayed = true; goto done
  :: else -> skip
  fi;
  // park_holding(): it leaves, and the rest of this paragraph is whoever runs next on its M
#ifndef BUG_PUT_BEFORE_THE_SAVE
  saved = true;
#endif
  atomic {
    seen = life;
    if
    :: seen == NONE -> life = PARKER
    :: else -> skip
    fi
  };
#ifdef BUG_PUT_BEFORE_THE_SAVE
  saved = true;
#endif
#ifndef BUG_ENDED_MEANWHILE_IS_MISSED
  if
  :: seen != NONE -> assert(seen == OVER); ready_joiner()
  :: else -> skip
  fi;
#endif
  assert(alive);
  let_go = true
done:
  skip
}

// J goes on, on any M.
active proctype resumed() {
  if
  :: queued > 0 ->
     assert(saved);
     queued--;
#ifndef BUG_GO_ON_BEFORE_THE_LET_GO
     let_go;
#endif
     alive = false
  :: stayed -> skip
  fi;
  assert(life == OVER);
  freed = true;
  joined = true
}

active proctype ends() {
  byte before;
  // take_joiner(): then J is run next, and its M publishes the end before J goes on
  if
  :: life == PARKER ->
     life = MEETING;
#ifndef BUG_RUN_BEFORE_THE_END
     assert(!freed);
     life = OVER;
#endif
     ready_joiner()
  :: true ->
     // finish()
     atomic { before = life; life = OVER };
     if
     :: before == PARKER -> ready_joiner()
     :: else -> skip
     fi
  fi
}

active proctype end_of_time() {
  timeout -> assert(joined)
}
