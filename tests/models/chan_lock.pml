// SPDX-License-Identifier: Apache-2.0
//
// The lock of channels and of a P's timers: quick_lock in src/sys/lock.hpp, whose fast half is also
// chan_core::mutex in include/sigrun/detail/chan_core.hpp. An unlocker stores 0 and looks at `sleepers`, with no fence between, so
// its store may wait in its store buffer while it looks. The model has that buffer: a process's
// store of 0 sits in pending[] until the process drains it, which it may do at any later moment,
// and must do at an atomic exchange, at a system call, and when a sleeper's barrier reaches it.
//
// Three threads lock and unlock, one of them twice. Checked: one holder at a time; and nobody
// sleeps for ever: when nothing can move any more all have finished.

#define N 3

byte word;             // what all see: 0 free, 1 held
bool pending[N];       // a store of 0 to `word` that has left the pipeline but not the buffer
byte sleepers;
bool asleep[N];
byte inside;
byte finished;

inline drain(p) {
  if
  :: pending[p] -> pending[p] = false; word = 0
  :: else -> skip
  fi
}

// An exchange is a full barrier for whoever does it.
inline exchange(seen) {
  atomic { drain(_pid); seen = word; word = 1 }
}

active [N] proctype thread() {
  byte seen, rounds, p;
  rounds = (_pid == 0 -> 2 : 1);
  do
  :: rounds == 0 -> break
  :: else ->
     rounds--;
     // lock()
     exchange(seen);
     if
     :: seen == 0 -> skip
     :: else ->
        atomic { drain(_pid); sleepers++ };
#ifndef BUG_NO_BARRIER
        // membarrier: afterwards every thread has passed a full barrier
        p = 0;
        do
        :: p == N -> break
        :: else -> atomic { drain(p); p++ }
        od;
#endif
#ifdef BUG_SLEEP_WITHOUT_A_LAST_LOOK
        atomic { asleep[_pid] = true };
        !asleep[_pid];
#endif
        do
        :: exchange(seen);
           if
           :: seen == 0 -> break
           :: else ->
              // futex_wait(word, 1): the kernel compares and queues in one step
              atomic {
                if
                :: word == 1 -> asleep[_pid] = true
                :: else -> skip
                fi
              };
              !asleep[_pid]
           fi
        od;
        atomic { drain(_pid); sleepers-- }
     fi;
     inside++;
     assert(inside == 1);
     inside--;
     // unlock(): a store that may stay in the buffer, then the look
#ifdef BUG_LOOK_FIRST
     seen = sleepers;
     pending[_pid] = true;
#else
     pending[_pid] = true;
     seen = sleepers;
#endif
     if
     :: seen != 0 ->
        // futex_wake is a system call, and orders what it finds after the store
        atomic {
          drain(_pid);
          p = 0;
          do
          :: p == N -> break
          :: p < N && asleep[p] -> asleep[p] = false; break
          :: else -> p++
          od
        }
     :: else -> skip
     fi
  od;
  atomic { drain(_pid); finished++ }
}

// The buffers drain by themselves.
active proctype buffers() {
  byte p;
end:
  do
  :: atomic { pending[0] -> drain(0) }
  :: atomic { pending[1] -> drain(1) }
  :: atomic { pending[2] -> drain(2) }
  od
}

active proctype end_of_time() {
  timeout -> assert(finished == N)
}
