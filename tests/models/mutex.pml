// SPDX-License-Identifier: Apache-2.0
//
// sigrun::mutex: include/sigrun/sync.hpp and src/sync/mutex.cpp, whose numbered invariants are
// meant. The word's three bits change together, in one step, as a compare-exchange has it; what is
// between two of those may be interleaved with anything. The short lock of the queue is a lock of
// the model too, because the word also changes without it.
//
// Three callers; the first locks twice, the last has a deadline that may pass at any moment. A
// waiter is starving or not at will. Checked: one holder at a time; nobody waits for ever; and at
// the end the word is that of a free mutex.

#define N 3
#define TIMED (_pid == N - 1)

bool locked, queued, woken;  // the word
bool list_lock;
byte list[N];
byte length;
bool linked[N], granted[N], starving[N], unparked[N];
byte inside, finished;

inline take_list() { atomic { !list_lock -> list_lock = true } }
inline drop_list() { list_lock = false }

inline push(front) {
  atomic {
    i = length;
    do
    :: front && i > 0 -> list[i] = list[i - 1]; i--
    :: else -> break
    od;
    list[i] = _pid;
    length++;
    linked[_pid] = true;
    granted[_pid] = false
  }
}

inline remove(who) {
  atomic {
    i = 0;
    do
    :: list[i] == who -> break
    :: else -> i++
    od;
    length--;
    do
    :: i < length -> list[i] = list[i + 1]; i++
    :: else -> break
    od;
    i = 0;
    linked[who] = false
  }
}

active [N] proctype caller() {
  byte i, rounds, chosen;
  bool mine, got;
  rounds = (_pid == 0 -> 2 : 1);
round:
  mine = false;
  starving[_pid] = false;
  // lock(), and the spinning: whoever comes may overtake
  atomic {
    if
    :: !locked -> locked = true; goto have
    :: true -> skip
    fi
  };
queue:
  take_list();
#ifdef BUG_LOOKS_AND_FLAGS_IN_TWO_STEPS
  got = !locked;
  atomic { if :: got -> locked = true :: else -> queued = true fi; woken = woken && !mine };
#else
  atomic {
    got = !locked;
    if :: got -> locked = true :: else -> queued = true fi;
    woken = woken && !mine
  };
#endif
  if
  :: got -> drop_list(); goto have
  :: else -> push(mine); drop_list()
  fi;
  // park_linked()
  if
  :: unparked[_pid] -> skip
  :: TIMED ->
     take_list();
     if
     :: linked[_pid] ->
        remove(_pid);
        queued = queued && length > 0;
        drop_list();
        goto gone
     :: else -> drop_list()
     fi;
     unparked[_pid]
  fi;
  unparked[_pid] = false;
  if
  :: granted[_pid] -> goto have
  :: else -> skip
  fi;
  // woken, and nobody else is (1)
  mine = true;
  if
  :: atomic { !locked -> locked = true; woken = false }; goto have
  :: TIMED ->  // its deadline has passed
#ifdef BUG_GIVES_UP_WITHOUT_A_HOLDER
     woken = false;
     goto gone
#endif
#ifdef BUG_GIVES_UP_AND_KEEPS_WOKEN
     locked;
     goto gone
#endif
     atomic {
       woken = false;
       if
       :: locked -> goto gone  // (2)
       :: else -> locked = true; goto have
       fi
     }
  :: atomic { locked -> starving[_pid] = true }
  :: locked
  fi;
  goto queue;
have:
  inside++;
  assert(inside == 1);
  inside--;
unlock:
  atomic {
    assert(locked);
    if
    :: !queued || woken -> locked = false; goto gone
    :: else -> skip
    fi
  };
  take_list();
  if
  :: length == 0 -> drop_list(); goto unlock
  :: else ->
     chosen = list[0];
     remove(chosen);
     granted[chosen] = starving[chosen];
     atomic {
       queued = length > 0;
       if
#ifdef BUG_HANDS_OVER_AND_RELEASES
       :: granted[chosen] -> locked = false
#else
       :: granted[chosen] -> skip  // (3): it stays locked
#endif
       :: else -> locked = false; woken = true
       fi
     };
     drop_list();
     unparked[chosen] = true
  fi;
gone:
  rounds--;
  if
  :: rounds > 0 -> goto round
  :: else -> finished++
  fi
}

active proctype end_of_time() {
  timeout ->
  assert(finished == N);
  assert(!locked && !queued && !woken && length == 0)
}
