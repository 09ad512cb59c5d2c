/* The lock and the ring, as bus/lock.cpp, bus/ring_writer.cpp and bus/ring_reader.cpp run them.
 *
 * Several writers append frames and a reader follows them without the lock. The lock is taken from
 * its holder at any moment, up to TAKEOVERS times, and every process may stop for ever or for a while
 * at any step, since every order of steps is explored. With REAPS, processes also die and have their
 * claims cleared.
 *
 * The ring has RING cells. A frame takes two, a header and its payload; the end of the chain takes
 * one, EMPTY; so a batch of one frame needs three. A cell holds one word and the frame number beside
 * it. Positions count cells and never go back. A payload may be any bit pattern: whoever meets one
 * where a word should be is handed what hurts most.
 *
 * Asserted: a writer overwrites neither a record from `first` on nor the end of the chain (I3, I6);
 * `first` and `last` only grow, and `last` is never past the end (I2, I7); a commit meets EMPTY, or
 * what another commit left, never anything else (I5); frame numbers grow by one along the chain (I8);
 * nobody reports corruption; what the reader delivers was committed, is whole, and comes in order.
 *
 * Left out: weak memory (every step here is sequentially consistent), batches of several frames,
 * reuse of slots, repair, and processes that break the rules. Sleep and wakeup: doorbell.pml.
 *
 * -DSKIP_... leaves one step of the protocol out; each must make the check fail (see run).
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef FRAMES
#define FRAMES 2 /* each writer sends so many */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 2
#endif
#ifndef REAPS
#define REAPS 0
#endif
#ifndef RING
#define RING 8
#endif

/* -DIN_TURN: writer 0 acquires a free lock, writer 1 takes it over, and then writer 2. */
#ifdef IN_TURN
#define MAY_ACQUIRE (me == 0)
#define MAY_TAKE_OVER (taken + 1 == me)
#else
#define MAY_ACQUIRE true
#define MAY_TAKE_OVER true
#endif

#define NEED 3
#define SHARE 1 /* `first` moves so much further than needed */
#define POSITIONS 40
#define NONE 255

/* Words: 1..29 a frame, by its sender's acquisition; 30.. a pad; 60.. a payload; 100.. EMPTY. */
#define PAD(d) (30 + (d))
#define PAYLOAD(m) (60 + (m))
#define EMPTY(p) (100 + (p))
#define IS_FRAME(w) ((w) >= 1 && (w) < 30)
#define IS_PAD(w) ((w) > 30 && (w) < 60)
#define IS_PAYLOAD(w) ((w) >= 60 && (w) < 100)
#define STEP(w) (IS_FRAME(w) -> 2 : (IS_PAD(w) -> (w) - 30 : 0))
#define AT(p) ((p) % RING)
#define DISTANCE(from, to) (((to) + 5 * RING - (from)) % RING) /* onwards, round the ring */

byte lock, acquisitions; /* 0: free */
byte takeovers, taken;   /* the word in the header, and what is left of the budget */
byte first, last;
byte word[RING], number[RING];
byte claim_begin[WRITERS], claim_commit[WRITERS]; /* NONE: no claim; written last, cleared first */
bool dead[WRITERS];

/* Ghosts: what was committed, where the chain ends, and whose claims are being written in. */
byte committed[POSITIONS], chain_end, frames;
bool at_work[WRITERS];

inline write(p, w, n) { /* an ordinary store; asserts that nothing of the chain is hurt */
  d_step {
    assert(AT(p) != AT(chain_end));
    q = first;
    do
    :: q < chain_end ->
       assert(committed[q] == 0 || AT(q) != AT(p));
       assert(!IS_FRAME(committed[q]) || AT(q + 1) != AT(p));
       q++
    :: else -> break
    od;
    q = 0;
    word[AT(p)] = w;
    number[AT(p)] = n
  }
}

inline step_over(begin, length) { /* moves s behind [begin, begin + length) if that is in the way */
  if
  :: DISTANCE(s, begin) < NEED || DISTANCE(begin, s) < (length) ->
     s = s + DISTANCE(s, (begin) + (length));
     moved = true
  :: else
  fi
}

proctype Writer(byte me) {
  byte mine, seen, sent;
  byte a;                     /* the chain's end, as found */
  byte s;                     /* where the batch begins */
  byte p, q, w, n, counted, j;
  byte scanned = NONE;        /* `takeovers` at the last scan that counts */
  bool standing[WRITERS];     /* slots that had a claim then */
  byte begins[WRITERS], commits[WRITERS];
  bool moved;

  {
again:
    do
    :: sent < FRAMES && acquisitions < 29 && chain_end + RING + NEED < POSITIONS ->
       /* BusLock::acquire */
       if
       :: atomic { lock == 0 && MAY_ACQUIRE -> acquisitions++; lock = acquisitions; mine = acquisitions }
       :: atomic {
            lock != 0 && taken < TAKEOVERS && MAY_TAKE_OVER -> seen = lock; taken++;
#ifndef SKIP_TAKEOVER_COUNT
            takeovers++ /* L2 */
#endif
          }
          atomic {
            if
            :: lock == seen -> acquisitions++; lock = acquisitions; mine = acquisitions; seen = 0
            :: else -> seen = 0; goto again
            fi
          }
       fi;

       /* RingWriter::find_end */
find:
       p = last;
       a = p;
       do
       :: atomic {
            w = word[AT(a)];
            if
            :: w == EMPTY(a) -> break
            :: IS_PAYLOAD(w) -> break /* a stray payload that reads as EMPTY(a) */
            :: STEP(w) != 0 && a + STEP(w) < POSITIONS -> a = a + STEP(w)
            :: w != EMPTY(a) && (STEP(w) == 0 || a + STEP(w) >= POSITIONS) -> goto broken
            fi;
            w = 0
          }
       od;
       if
       :: false ->
broken:   w = 0;
          if
          :: last != p -> goto find
          :: else -> assert(lock != mine); goto unlock
          fi
       :: else
       fi;
       if
       :: a != p ->
          atomic {
            if
            :: last == p -> assert(a <= chain_end); last = a
            :: else -> goto find
            fi
          }
       :: else
       fi;

       /* look_for_claims */
       atomic { w = 0; p = 0; counted = takeovers }
       if
       :: counted != scanned ->
          j = 0;
          do
          :: j < WRITERS -> standing[j] = (j != me && claim_begin[j] != NONE); j++
          :: else -> break
          od
       :: else
       fi;
#ifdef SKIP_SCAN_CONFIRM
       scanned = counted;
#endif
       j = 0;
       do
       :: j < WRITERS ->
          atomic {
            begins[j] = (standing[j] -> claim_begin[j] : NONE);
            commits[j] = (begins[j] != NONE -> claim_commit[j] : NONE);
            j++
          }
       :: else -> break
       od;
       j = 0;

       /* place */
       s = a;
       moved = true;
#ifndef SKIP_PLACE
       d_step {
         do
         :: moved && s + NEED <= a + RING ->
            moved = false;
            j = 0;
            do
            :: j < WRITERS ->
               if
               :: begins[j] != NONE ->
                  step_over(begins[j], NEED);
#ifndef SKIP_COMMIT_COVER
                  step_over(commits[j], 1)
#endif
               :: else
               fi;
               j++
            :: else -> break
            od
         :: else -> break
         od;
         j = 0
       }
#endif
       d_step {
         do
         :: j < WRITERS -> begins[j] = 0; commits[j] = 0; j++
         :: else -> break
         od;
         j = 0;
         moved = false
       }
      if
       :: s + NEED > a + RING -> goto unlock /* no room, or the lock was lost */
       :: else
       fi;

       /* I3: declare, then look again */
       atomic { claim_commit[me] = a; claim_begin[me] = s }
#ifndef SKIP_RECHECK
       if
       :: lock != mine -> goto lost
       :: else
       fi;
#endif
       d_step { /* whoever is at work in a claim of before is known to the one who comes after */
         j = 0;
         do
         :: j < WRITERS -> assert(!at_work[j] || standing[j] || claim_begin[j] == NONE || lock != mine); j++
         :: else -> break
         od;
         j = 0;
         at_work[me] = true;
         scanned = counted;
         counted = 0
       }
#ifndef SKIP_LOOK
       if
       :: word[AT(a)] != EMPTY(a) -> goto lost
       :: else
       fi;
#endif

       /* make_room */
#ifndef SKIP_ROOM
room:
       if
       :: first + RING < s + NEED ->
          atomic { seen = first; p = seen }
          do
          :: atomic {
               p + RING < s + NEED + SHARE ->
               w = word[AT(p)];
               if
               :: STEP(w) != 0 -> p = p + STEP(w); w = 0
               :: else -> w = 0; break
               fi
             }
          :: p + RING >= s + NEED + SHARE -> break
          od;
          if
          :: p + RING >= s + NEED ->
             atomic {
#ifdef SKIP_ROOM_CAS
               assert(first <= p && p <= chain_end); first = p
#else
               if
               :: first == seen -> assert(first <= p && p <= chain_end); first = p; seen = 0
               :: else -> goto room
               fi
#endif
             }
          :: else ->
             if
             :: lock != mine -> goto lost
             :: else -> assert(first != seen); goto room
             fi
          fi
       :: else
       fi;
#endif

       /* write_records */
#ifdef SKIP_CLAIM_UNTIL_COMMIT
       claim_begin[me] = NONE;
#endif
       atomic { seen = 0; p = 0; n = number[AT(a)] }
       if
       :: s != a -> write(s, mine, n)
       :: else
       fi;
       write(s + 1, PAYLOAD(mine), NONE);
#ifndef SKIP_EMPTY_FIRST
       write(s + 2, EMPTY(s + 2), n + 1);
#endif

       /* I5: the commit */
       atomic {
         w = word[AT(a)];
#ifdef SKIP_COMMIT_CAS
         w = EMPTY(a);
#endif
         if
         :: w == EMPTY(a) ->
            assert(a == chain_end && n == frames);
            word[AT(a)] = (s == a -> mine : PAD(s - a));
            committed[a] = word[AT(a)];
            committed[s] = mine;
            chain_end = s + 2;
            frames++;
            w = 0
         :: else -> assert(!IS_PAYLOAD(w)); goto lost
         fi
       }
#ifdef SKIP_EMPTY_FIRST
       word[AT(s + 2)] = EMPTY(s + 2);
       number[AT(s + 2)] = n + 1;
#endif
       atomic { claim_begin[me] = NONE; at_work[me] = false } /* I4, and only then the rest */
       atomic {
         if
         :: last == a -> assert(s + 2 <= chain_end); last = s + 2
         :: else
         fi
       }
       sent++;
       goto unlock;
lost:
       atomic { claim_begin[me] = NONE; at_work[me] = false }
unlock:
       atomic {
         if
         :: lock == mine -> lock = 0
         :: else
         fi;
         mine = 0; a = 0; s = 0; p = 0; w = 0; n = 0; seen = 0; counted = 0; j = 0
       }
    :: else -> break
    od
  } unless { dead[me] }
}

/* Finds a process dead and clears its claim. SKIP_DEATH: takes one for dead that lives (I4). */
proctype Reaper() {
  byte reaped, who;
  do
  :: reaped < REAPS ->
     atomic {
       select(who : 0 .. WRITERS - 1);
#ifndef SKIP_DEATH
       dead[who] = true;
#endif
       claim_begin[who] = NONE;
       at_work[who] = false;
       reaped++;
       who = 0
     }
  :: else -> break
  od
}

/* Frames committed in front of a position: the number of the next one. */
inline count_before(p, result) {
  result = 0;
  q = 0;
  do
  :: q < p -> result = result + (IS_FRAME(committed[q]) -> 1 : 0); q++
  :: else -> break
  od;
  q = 0
}

proctype Reader() {
  byte c, expected; /* RingReader::position_, next_number_ */
  byte w, n, b, q, count;
  do
  :: w = word[AT(c)];
     if
     :: w == EMPTY(c) -> word[AT(c)] != EMPTY(c) || first > c /* ready() */
     :: else
     fi;
     atomic { n = number[AT(c)]; b = word[AT(c + 1)] }
     atomic {
       if
#ifndef SKIP_VALIDATE
       :: first > c -> goto overrun
#endif
       :: else ->
          if
          :: w == EMPTY(c)
          :: else ->
             assert(w == committed[c] && n == expected);
             assert(!IS_FRAME(w) || b == PAYLOAD(w));
             expected = expected + (IS_FRAME(w) -> 1 : 0);
             c = c + STEP(w)
          fi
       fi;
       w = 0; n = 0; b = 0
     }
     goto next;
overrun: /* RingReader::adopt(first) */
     q = first;
     w = word[AT(q)];
     n = number[AT(q)];
     atomic {
       if
       :: first > q -> goto overrun
       :: else
       fi;
       c = q;
       count_before(c, count);
       assert(n == count && n >= expected);
       assert(w == EMPTY(c) || w == committed[c]);
       expected = n;
       w = 0; n = 0; b = 0; count = 0
     }
next:
     skip
  od
}

init {
  atomic {
    byte i;
    word[0] = EMPTY(0);
    do
    :: i < WRITERS -> claim_begin[i] = NONE; run Writer(i); i++
    :: else -> break
    od;
    i = 0;
#ifndef NO_READER
    run Reader();
#endif
    if
    :: REAPS > 0 -> run Reaper()
    :: else
    fi
  }
}
