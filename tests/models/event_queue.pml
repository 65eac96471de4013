// SPDX-License-Identifier: Apache-2.0
//
// The ring and one overflow slot: src/sigsafe/event_queue.hpp invariants (1) to (3). Mirrors push(),
// merge(), pop() and pop_overflow() step by step, atomics being atomic and nothing else.
//
// Two handlers of one signal, two slots, one dispatcher. An event is a number, given out when its
// position is won.
//
// Checked: each event is dispatched or merged, once; events of the ring leave in the order of their
// positions; an overflow record is whole; `used` is within the capacity.

#define CAPACITY 2
#define HANDLERS 2
#define EACH 2
#define TOTAL 4

byte turn[CAPACITY];
byte slot_event[CAPACITY];
byte tail, head;
byte won;                     // events that have won a position, in that order
byte positioned[8];           // event by position
bool overflowed;
byte count;
mtype = { vacant, writing, written }
mtype state = vacant;
byte first;                   // the record, 0 while it is being written
byte dispatched, merged, done;
bool copying;

proctype handler(byte id) {
  byte i = 0, position, used;
  bool was_merged, retry;
  do
  :: i == EACH -> break
  :: i < EACH ->
     i++;
     // merging(): an older one waits in the overflow slot
     if
     :: count != 0 -> goto overflow
     :: else -> skip
     fi;
     position = tail;
  again:
     if
     :: turn[position % CAPACITY] == position ->
        if
        :: atomic { tail == position -> tail++; won++; positioned[position] = won }
        :: atomic { tail != position -> position = tail }; goto again
        fi
     :: turn[position % CAPACITY] < position -> goto overflow
     :: else -> position = tail; goto again
     fi;
#ifdef BUG_PUBLISH_FIRST
     turn[position % CAPACITY] = position + 1;
     slot_event[position % CAPACITY] = positioned[position];
     used = 1;
#elif defined(BUG_COUNT_LATE)
     slot_event[position % CAPACITY] = positioned[position];
     turn[position % CAPACITY] = position + 1;
     used = position + 1 - head;
#else
     slot_event[position % CAPACITY] = positioned[position];
     used = position + 1 - head;
     if :: used > CAPACITY -> used = CAPACITY :: else -> skip fi;
     turn[position % CAPACITY] = position + 1;
#endif
     assert(used >= 1 && used <= CAPACITY + 1);
     goto next;
  overflow:
     atomic { was_merged = (count != 0); count++ };
     if
     :: atomic { state == vacant -> state = writing };
        assert(!copying);
        copying = true;
        first = 0; first = id;
        copying = false;
        state = written
     :: state != vacant -> skip
     fi;
     overflowed = true;
     if :: was_merged -> merged++ :: else -> skip fi;
  next: skip
  od;
  done++
}

active proctype dispatcher() {
  byte expected = 1, n, record;
  bool found;
  do
  :: found = false;
     if
     :: turn[head % CAPACITY] == head + 1 ->
        assert(slot_event[head % CAPACITY] == positioned[head]);
        assert(positioned[head] == expected);
        expected++;
        dispatched++;
        slot_event[head % CAPACITY] = 0;
        turn[head % CAPACITY] = head + CAPACITY;
        head++;
        found = true
     :: else ->
        if
        :: tail == head ->
           if
           :: overflowed ->
              overflowed = false;
#ifdef BUG_READ_UNWRITTEN
              if
              :: state == writing -> skip
              :: else ->
                 record = (state == written -> first : 255);
                 n = count; atomic { n = count; count = 0 };
                 state = vacant;
                 if :: n > 0 -> assert(record != 255); dispatched++; found = true :: else -> skip fi
              fi
#else
              if
              :: state != written -> skip
              :: else ->
                 record = first;
                 assert(record != 0);
#ifdef BUG_EXCHANGE_FIRST
                 atomic { n = count; count = 0 };
                 state = vacant;
#else
                 state = vacant;
                 atomic { n = count; count = 0 };
#endif
                 if :: n > 0 -> dispatched++; found = true :: else -> skip fi
              fi
#endif
           :: else -> skip
           fi
        :: else -> skip
        fi
     fi;
     // A gap in the ring and an overflow bit yet to be set end in a nudge: look again.
     if
     :: found -> skip
     :: !found && done < HANDLERS -> skip
     :: !found && done == HANDLERS && (overflowed || head != tail) -> skip
     :: !found && done == HANDLERS && !overflowed && head == tail -> break
     fi
  od;
  assert(dispatched + merged == TOTAL);
  assert(count == 0)
}

init {
  atomic {
    turn[0] = 0; turn[1] = 1;
    run handler(1); run handler(2)
  }
}
