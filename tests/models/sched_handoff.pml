// SPDX-License-Identifier: Apache-2.0
//
// Taking a P from an M that does not give it back: src/sched/machine.hpp (1) and (2); take_from() in
// sysmon.cpp, enter() and enter_slowly() in section.cpp, bind() in machines.cpp. User code owns its P
// softly. An M that enters the runtime stores `busy`, with no fence, and then reads `lost`; sysmon
// sets `lost`, has membarrier(2) empty every store buffer, and then reads `busy`.
//
// `m` enters and leaves the runtime over and over. Its stores to `busy` go through a buffer that
// holds one of them and drains when it likes (what amd64 does; its loads pass its own buffered
// stores): `buffered`. A locked instruction drains it first. sysmon tries twice to take the P for
// `other`, which uses it and hands it on when `m` queues for one.
//
// Checked: the P is used by one M at a time; when nothing can move any more, `m` and `other` are
// done, and the P is nobody's.

#define M 1
#define OTHER 2
#define SECTIONS 3
#define TRIES 2
#define EMPTY 7

byte owner = M;               // whose P it is; 0: idle. Under `locked`
bool locked;
bool lost;                    // m's
byte busy;                    // as memory has it
byte buffered = EMPTY;        // m's store to busy under way
byte users;                   // who is in a section with the P
bool m_waits, m_done, other_done = true;

inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

// m's store, into its own buffer.
inline store_busy(value) { atomic { buffered == EMPTY -> buffered = value } }
inline drained() { buffered == EMPTY }

inline use() {
  users++;
  assert(users == 1);
  users--
}

active proctype store_buffer() {
  end: do
  :: atomic { buffered != EMPTY -> busy = buffered; buffered = EMPTY }
  od
}

active proctype m() {
  byte i = 0;
  do
  :: i == SECTIONS -> break
  :: i < SECTIONS ->
     i++;
#ifdef BUG_LOST_FIRST
     if :: lost -> goto slow :: else -> skip fi;
     store_busy(1);
#else
     store_busy(1);
     if :: lost -> goto slow :: else -> skip fi;
#endif
     goto have_it;
  slow:
     drained();
     lock();
     if
     :: owner == M ->
        lost = false;
        unlock()
     :: else ->
#ifdef BUG_TRUST_LOST
        lost = false;
        unlock();
        goto have_it;
#endif
        // It queues for a P. Whoever gives it one clears `lost` with it: later might undo the next try.
        if
        :: owner == 0 -> owner = M; lost = false; unlock()
        :: else ->
           m_waits = true;
           unlock();
#ifdef BUG_CLEAR_UNLOCKED
           !m_waits;
           lost = false
#else
           !m_waits
#endif
        fi
     fi;
  have_it:
     use();
     store_busy(0)             // release: what came before is out before it
  od;
  // A last section gives the P up for good.
  drained();
  lock();
  if :: owner == M -> owner = 0 :: else -> skip fi;
  lost = true;                 // m stays in user code without a P
  m_done = true;
  unlock()
}

active proctype other() {
  end: do
  :: atomic { owner == OTHER && !other_done -> skip };
     use();
     lock();
     other_done = true;
     if
#ifndef BUG_FORGET_WAITER
     :: m_waits ->
        owner = M;
#ifndef BUG_CLEAR_UNLOCKED
        lost = false;
#endif
        m_waits = false
     :: else -> owner = 0
#else
     :: owner = 0
#endif
     fi;
     unlock()
  od
}

active proctype sysmon() {
  byte i = 0;
  do
  :: i == TRIES -> break
  :: i < TRIES ->
     i++;
#ifdef BUG_DECIDE_UNLOCKED
     if :: owner == M -> skip :: else -> goto next fi;
     lost = true;
     drained();
     if :: busy == 0 -> skip :: else -> goto next fi;
     lock();
     owner = OTHER; other_done = false;
     unlock();
#else
     lock();
     if
     :: owner == M ->
        lost = true;
#ifndef BUG_NO_MEMBARRIER
        drained();
#endif
        if
        :: busy == 0 -> owner = OTHER; other_done = false
        :: else -> lost = false    // an m that saw it finds that nothing was taken
        fi
     :: else -> skip
     fi;
     unlock();
#endif
     next: skip
  od
}

init {
  timeout ->
    assert(m_done && other_done && !m_waits);
    assert(owner == 0)
}
