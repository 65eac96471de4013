// SPDX-License-Identifier: Apache-2.0
//
// Hot reload: request(), run() and attempt() in src/service/reload.cpp, rollback() beside them, and
// load() in include/sigrun/reload.hpp; invariants (1), (2) and (4) of src/service/reload_core.hpp.
//
// Writers change the file and then ask; what they wrote last may be bad. The runner takes what was
// asked, loads the file, checks it, publishes it, has the program adapt, which may fail, and
// answers. Somebody rolls back, once. A version has two halves, so that a reader could see half of
// one.
//
// Checked: a reader sees whole and good versions only, and a snapshot stays as it is; a request is
// answered by an attempt that has seen what was in the file when it was made, or something newer;
// at the end all requests are answered by fewer attempts than requests, at most; one publishes at a
// time; the version after a good file with nothing after it is that file.

#define WRITERS 2
#define EACH 1
#define FIRST 1                 // the content the program started with

byte file = FIRST;              // content: its number; numbers grow with each write
bool bad[8];                    // by content
byte writes = FIRST;
byte asked, begun, ended, attempts;
byte current = 0, versions = 1;
byte version_a[16] = FIRST;     // the halves, by version
byte version_b[16] = FIRST;
byte last_loaded = FIRST;       // what the last attempt looked at
byte publishing;
bool flight, rolled_back;
byte finished;

inline publish(content) {
#ifdef BUG_PUBLISH_IN_PLACE
  version_a[current] = content;
  version_b[current] = content;
#else
  // A version is made whole before its address is stored.
  version_a[versions] = content;
  version_b[versions] = content;
  atomic { publishing++; assert(publishing == 1) };
  atomic { current = versions; versions++; publishing-- }
#endif
}

proctype writer() {
  byte i = 0, mine, wrote;
  do
  :: i == EACH -> break
  :: i < EACH ->
     i++;
     atomic {
       writes++;
       wrote = writes;
       file = wrote;
       if :: bad[wrote] = true :: skip fi
     };
     atomic { asked++; mine = asked };
     // reload()
     ended >= mine;
     assert(last_loaded >= wrote)
  od;
  finished++
}

active proctype runner() {
  byte seen, upto, before;
  end: do
  :: asked > ended ->
     atomic { !flight -> flight = true };
#ifndef BUG_TAKE_REQUESTS_AFTER_LOADING
     atomic { upto = asked; begun = upto };
#endif
     seen = file;                                    // load
#ifdef BUG_TAKE_REQUESTS_AFTER_LOADING
     atomic { upto = asked; begun = upto };
#endif
     attempts++;
     if
#ifndef BUG_PUBLISH_UNCHECKED
     :: bad[seen] -> skip                            // refused
     :: !bad[seen] ->
#else
     :: true ->
#endif
        before = version_a[current];
        publish(seen);
        if
        :: publish(before)                           // changed() failed
        :: skip
        fi
     fi;
     atomic { last_loaded = seen; ended = upto; flight = false }
  od
}

active proctype roller() {
  byte older;
#ifndef BUG_ROLL_BACK_BESIDE_THE_RUNNER
  atomic { !flight -> flight = true };
#endif
  older = version_a[0];
  publish(older);
#ifndef BUG_ROLL_BACK_BESIDE_THE_RUNNER
  flight = false;
#endif
  finished++
}

active proctype reader() {
  byte held, a, b, again;
  held = current;
  a = version_a[held];
  b = version_b[held];
  assert(a == b && !bad[a]);
  again = version_b[held];
  assert(again == a);
  finished++
}

init {
  atomic {
    byte w = 0;
    do
    :: w == WRITERS -> break
    :: else -> run writer(); w++
    od
  };
  timeout ->
    assert(finished == WRITERS + 2);
    assert(ended == asked && asked == WRITERS * EACH);
    assert(attempts <= asked);
    assert(last_loaded == writes)
}
