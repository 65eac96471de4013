// SPDX-License-Identifier: Apache-2.0
//
// A P's run queue: src/sched/run_queue.hpp invariants (1) and (2). A ring with one producer, its
// owner, and `first`, the place of the G that runs before the ring. push_first() puts a G there, and
// who was there goes to the tail by push(); a full ring gives half to the global queue by
// take_oldest(); pop() takes `first`, then the head; steal_into() copies half of what it sees and then
// moves the head, or takes `first` when the ring is empty. The queue is shared throughout.
//
// Four Gs are there already; the owner pushes two more, with pops between as it likes, and then pops
// all; of two thieves one steals twice. Slots and words are read and written one by one; head and
// tail only ever grow.
//
// Checked: no G is taken twice; when all are done, none is lost.

#define SIZE 4
#define GS 6
#define THIEVES 2

byte slot[SIZE];
byte head, tail, first;
byte taken;                 // one bit a G, G n is bit n - 1
byte finished;

#define bit_of(g) (1 << (g - 1))

inline take(g) {
  atomic {
    assert(g != 0);
    assert(!(taken & bit_of(g)));
    taken = taken | bit_of(g)
  }
}

// To the tail of the ring, or half of the ring and `old` to the global queue, from where somebody
// takes them once: that is as good as running them.
inline push_tail(old) {
  do
  :: h = head;
     if
     :: tail - h < SIZE ->
#ifdef BUG_TAIL_FIRST
        tail++;
        slot[(tail - 1) % SIZE] = old;
#else
        slot[tail % SIZE] = old;
        tail++;
#endif
        break
     :: else ->
        one = slot[h % SIZE];
        two = slot[(h + 1) % SIZE];
#ifdef BUG_OVERFLOW_STORES
        head = h + 2;
#else
        if
        :: atomic { head == h -> head = h + 2 }
        :: head != h -> goto again
        fi;
#endif
        take(one);
        take(two);
        take(old);
        break;
     again: skip
     fi
  od;
  h = 0; one = 0; two = 0
}

inline pop_one() {
  got = 0;
#ifdef BUG_PLAIN_FIRST
  got = first;
  first = 0;
#else
  atomic { got = first; first = 0 };
#endif
  do
  :: got != 0 -> break
  :: else ->
     h = head;
     if
     :: h == tail -> break
     :: else ->
        got = slot[h % SIZE];
#ifdef BUG_PLAIN_POP
        head = h + 1;
        break
#else
        if
        :: atomic { head == h -> head = h + 1 }; break
        :: head != h -> got = 0
        fi
#endif
     fi
  od;
  if
  :: got != 0 -> take(got)
  :: else -> skip
  fi;
  h = 0
}

proctype owner() {
  byte made = 4, old, h, one, two, got;
  do
  :: made < GS ->
     made++;
     atomic { old = first; first = made };
     if
     :: old != 0 -> push_tail(old)
     :: else -> skip
     fi;
     old = 0
  :: pop_one();
     if
     :: got == 0 && made == GS -> break
     :: else -> got = 0
     fi
  od;
  finished++
}

proctype thief(byte steals) {
  byte i = 0, h, t, n, k, loot[SIZE / 2];
  do
  :: i == steals -> break
  :: i < steals ->
     i++;
     do
     :: h = head;
        t = tail;
        n = t - h;
        n = n - n / 2;
        if
        :: n == 0 ->
           // Only `first` may be left.
#ifdef BUG_STEAL_FIRST_STORES
           k = first;
           if :: k != 0 -> first = 0; take(k) :: else -> skip fi;
           break
#else
           k = first;
           if
           :: k == 0 -> break
           :: else ->
              if
              :: atomic { first == k -> first = 0 }; take(k); break
              :: first != k -> skip
              fi
           fi
#endif
        :: n > SIZE / 2 -> skip            // head and tail do not belong together
        :: n != 0 && n <= SIZE / 2 ->
#ifdef BUG_MOVE_THEN_COPY
           if
           :: atomic { head == h -> head = h + n }
           :: head != h -> goto again
           fi;
#endif
           k = 0;
           do
           :: k < n -> loot[k] = slot[(h + k) % SIZE]; k++
           :: else -> break
           od;
#ifndef BUG_MOVE_THEN_COPY
           if
           :: atomic { head == h -> head = h + n }
           :: head != h -> goto again
           fi;
#endif
           k = 0;
           do
           :: k < n -> take(loot[k]); loot[k] = 0; k++
           :: else -> break
           od;
           break;
        again: k = 0; loot[0] = 0; loot[1] = 0
        fi
     od;
     h = 0; t = 0; n = 0; k = 0
  od;
  finished++
}

init {
  atomic {
    slot[0] = 1; slot[1] = 2; slot[2] = 3; tail = 3; first = 4;
    run owner(); run thief(1); run thief(2)
  };
  finished == THIEVES + 1;
  assert(taken == (1 << GS) - 1);
  assert(head == tail && first == 0)
}
