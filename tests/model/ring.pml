/* The ring and its lock-free readers, as bus/ring/lock.cpp, bus/ring/ring_writer.cpp, bus/ring/ring_reader.cpp,
 * NativeAttachment::Impl::append and NativeAttachment::wait run them, with store buffers (memory.pml).
 *
 * WRITERS append batches, READERS follow the chain without the lock. The lock is taken from a
 * dead holder at any moment, and up to TAKEOVERS times from a living one. Every process may stop
 * for ever, or for a while, at any step, since every order of steps is explored; DEATHS times one
 * dies and has its claim cleared. Each access to shared memory is a step, but that what nobody
 * else can see is joined to the step before.
 *
 * The ring has RING cells. A frame takes two, header and payload; the end of the chain takes one,
 * EMPTY. A header cell holds the commit word and the frame number, two places in memory.
 * With -DSHARED the frames of a batch of writer 0 share a record (I9): one header, then a cell for
 * each payload. The second place of the first payload's cell has the count, which is behind what
 * EMPTY takes, as in the code. A reader may stop behind any frame of the record, look at `first`,
 * deliver, and go on inside of it. All payloads take a cell, so there are no lengths of frames to
 * be wrong: an overwritten length would be an overwritten payload.
 * With -DALIKE the second place of a payload's cell has the count of records that are alike from there
 * on (I10): all of a batch. A reader takes the payloads behind the first one without a look at their
 * headers, as many as it has room for, and a writer may step over such records at once, or over some
 * of them. A count that a reader meets in front of `first` may be anything. SKIP_COUNT_OF_BATCH counts
 * one record too many; SKIP_LOOK_AT_COUNT believes a count without a look at `first`.
 * Positions count cells and never go back. A payload may be any bit pattern: whoever meets one
 * where a word should be is handed what hurts most. A frame's word does not name its position, as
 * it does in the code, so a stale one is taken for good here: that is worse.
 *
 * A reader that is lapped goes on at `first`. With -DWALKS it goes on there, or at any later record
 * to which it walks from there (seek_behind), or at the end (seek_end). The code decides by how far
 * it is from where it was lapped before, which is not modelled: any choice must be right.
 *
 * Asserted: an ordinary store hurts no record from `first` on, nor the end of the chain, whenever
 * it reaches memory (I3, I6); who is at work in a claim is known to whoever takes the lock after
 * (I3); `first` and `last` only grow, and `last` is never past the end (I7); a commit meets
 * EMPTY, or what another commit left, and never anything else (I5); numbers grow by one (I8);
 * nobody finds corruption; what a reader delivers was committed, is whole, and comes in order,
 * and it knows the number of what it lost; where it goes on, a record begins, or the chain ends;
 * when nothing moves any more, nobody sleeps over a frame (D1).
 *
 * Left out: deep sleep, the wish, slots that change their owner (ports.pml); D4, filters and a
 * port's own frames, which only move frames between counters; repair; processes that break the
 * rules.
 *
 * SKIP_... leaves one step or order out; each must make the check fail (see run).
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef BATCHES
#define BATCHES 2 /* each writer sends so many */
#endif
#ifndef BATCH
#define BATCH 2 /* frames in a batch of writer 0; the others send one frame at a time */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef RING
#define RING 9
#endif
#ifndef CHUNK
#define CHUNK 2 /* records that a reader copies before it looks at `first` */
#endif

#ifdef NO_SLEEP /* readers poll */
#define SLEEPERS 0
#else
#define SLEEPERS READERS
#endif

/* -DIN_TURN: writer 0 acquires a free lock, writer 1 takes it over, and then writer 2. */
#ifdef IN_TURN
#define MAY_ACQUIRE (me == 0)
#define MAY_TAKE_OVER (taken + 1 == me)
#else
#define MAY_ACQUIRE true
#define MAY_TAKE_OVER true
#endif

#define SIZE(w) ((w) == 0 -> BATCH : 1)
#ifdef SHARED
#define SHARES(w) ((w) == 0)
#define NEED(w) ((w) == 0 -> BATCH + 2 : 3)
#else
#define SHARES(w) false
#define NEED(w) (2 * SIZE(w) + 1)
#endif
#ifdef SKIP_COUNT_OF_BATCH
#define ALIKE_FROM(k, size) ((size) - (k) + 1)
#else
#define ALIKE_FROM(k, size) ((size) - (k))
#endif
#define SHARE 1 /* kRoomShare: `first` moves so much further than needed */
#define POSITIONS 48
#define NONE 255

/* Words: 1..39 a frame, by its sender's acquisition; 40.. a pad; 80.. a payload; 130.. EMPTY;
 * 180.. a shared record, by its sender's acquisition. */
#if BATCH > 2
#define STRIDE BATCH
#else
#define STRIDE 2
#endif
#define FRAME(m, k) (STRIDE * (m) + (k))
#define PAD(d) (40 + (d))
#define PAYLOAD(f) (80 + (f))
#define EMPTY(p) (130 + (p))
#define IS_FRAME(w) ((w) >= 1 && (w) < 40)
#define IS_PAYLOAD(w) ((w) >= 80 && (w) < 130)
#define IS_PAD(w) ((w) > 40 && (w) < 80)
#ifdef SHARED
#define RECORD(m) (180 + (m))
#define IS_SHARED(w) ((w) > 180 && (w) < 200)
#define STEP(w) (IS_FRAME(w) -> 2 : (IS_PAD(w) -> (w) - 40 : (IS_SHARED(w) -> BATCH + 1 : 0)))
#else
#define RECORD(m) 0
#define IS_SHARED(w) false
#define STEP(w) (IS_FRAME(w) -> 2 : (IS_PAD(w) -> (w) - 40 : 0))
#endif
#define AT(p) ((p) % RING)
#define DISTANCE(from, to) (((to) + 6 * RING - (from)) % RING) /* onwards, round the ring */

/* Places in memory. */
#define WORD(p) AT(p)
#define NUMBER(p) (RING + AT(p))
#define LOCK (2 * RING)
#define TAKEN_OVER (2 * RING + 1)
#define FIRST (2 * RING + 2)
#define LAST (2 * RING + 3)
#define CLAIM_OWNER(w) (2 * RING + 4 + 4 * (w))
#define CLAIM_COMMIT(w) (2 * RING + 5 + 4 * (w))
#define CLAIM_BEGIN(w) (2 * RING + 6 + 4 * (w))
#define CLAIM_END(w) (2 * RING + 7 + 4 * (w))
#define PLACES (2 * RING + 4 + 4 * WRITERS)
#define BUFFER (4 * BATCH + 6)

/* Ghosts: what was committed, where the chain ends, and whose claims are being written in. */
byte committed[POSITIONS], chain_end, frames, acquisitions, taken, holder;
bool at_work[WRITERS], dead[WRITERS];
bool anybody_died;

c_code {
/* Whether a store into the ring hurts the chain (I3, I6): it is not what has been committed there. */
static int does_harm(int place, int value) {
  int cell = AT(place), is_word = place < RING, q, number = 0;
  if (place >= 2 * RING) return 0;
  for (q = 0; q < now.chain_end; q++) {
    int w = now.committed[q], k;
    if (w != 0 && q >= now.mem[FIRST] && cell == AT(q)) return value != (is_word ? w : number);
    if (IS_FRAME(w) && q >= now.mem[FIRST] && cell == AT(q + 1)) {
#ifdef ALIKE
      for (k = 1; now.committed[q + 2 * k] == w + k && (w + k) % STRIDE != 0; k++) {
      }
      return value != (is_word ? PAYLOAD(w) : ALIKE_FROM(0, k));
#else
      return value != (is_word ? PAYLOAD(w) : NONE);
#endif
    }
    if (IS_FRAME(w)) number++;
#ifdef SHARED
    if (w <= RECORD(0)) continue;
    for (k = 0; k < BATCH && q >= now.mem[FIRST]; k++) {
      if (cell != AT(q + 1 + k)) continue;
      return value != (is_word ? PAYLOAD(FRAME(w - RECORD(0), k)) : k == 0 ? BATCH : NONE);
    }
    number += BATCH;
#endif
  }
  return cell == AT(q) && value != (is_word ? EMPTY(q) : number);
}
};
#include "memory.pml"

byte position[READERS + 1]; /* RingReader::position_ */
bool sleeping[READERS + 1]; /* the bit in BusHeader::sleepers, changed by locked operations only */
byte futex[READERS + 1];
bool asleep[READERS + 1]; /* in the kernel */

/* load_seq_cst(sleepers) */
inline load_sleepers() {
  d_step { who = me; SETTLE; who = 0 }
}

inline step_over(begin, length) { /* moves s behind [begin, begin + length) if that is in the way */
  if
  :: DISTANCE(s, begin) < NEED(me) || DISTANCE(begin, s) < (length) ->
     s = s + DISTANCE(s, (begin) + (length));
     moved = true
  :: else
  fi
}

c_code {
/* A store to the ring that still waits when its place has become the chain's may do harm yet. */
static void look_for_harm() {
  int w, i;
  for (w = 0; w < WRITERS; w++) {
    for (i = 0; i < now.held[w] && !now.harm; i++) {
      State before = now;
      arrive(w, i);
      before.harm = now.harm;
      now = before;
    }
  }
}
};

proctype Writer(byte me) {
  byte mine, seen, sent;
  byte a;                     /* the chain's end, as found */
  byte s;                     /* where the batch begins */
  byte p, w, n, f, j, counted;
  byte scanned = NONE;        /* RingWriter::scanned_takeovers_ */
  bool standing[WRITERS];     /* slots that had a claim then */
  byte begins[WRITERS], ends[WRITERS], commits[WRITERS];
  bool moved, owed[READERS + 1];

  {
again:
    do
    :: sent < BATCHES ->
       /* BusLock::acquire */
       if
       :: atomic {
            mem[LOCK] == 0 && MAY_ACQUIRE -> cas(LOCK, 0, acquisitions + 1);
            if
            :: swapped -> acquisitions++; mine = acquisitions; holder = me
            :: else -> goto again
            fi
          }
       :: atomic {
            mem[LOCK] != 0 && MAY_TAKE_OVER && (taken < TAKEOVERS || dead[holder]) ->
            seen = mem[LOCK];
            taken = taken + (dead[holder] -> 0 : 1);
#ifndef SKIP_TAKEOVER_COUNT
            counted = mem[TAKEN_OVER];
            cas(TAKEN_OVER, counted, counted + 1); /* L2 */
            counted = 0
#endif
          }
          atomic {
            cas(LOCK, seen, acquisitions + 1);
            seen = 0;
            if
            :: swapped -> acquisitions++; mine = acquisitions; holder = me
            :: else -> goto again
            fi
          }
       fi;
       assert(acquisitions < 38 / STRIDE && chain_end + RING + NEED(me) < POSITIONS);

       /* RingWriter::find_end */
find:
       atomic { load(LAST, p); a = p }
       do
       :: atomic {
            load(WORD(a), w);
            if
            :: w == EMPTY(a) -> w = 0; break
            :: IS_PAYLOAD(w) -> w = 0; break /* a stray payload that reads as EMPTY(a) */
            :: STEP(w) != 0 && a + STEP(w) < POSITIONS -> a = a + STEP(w); w = 0
            :: w != EMPTY(a) && (STEP(w) == 0 || a + STEP(w) >= POSITIONS) -> w = 0; goto broken
            fi
          }
       od;
       if
       :: a != p ->
          atomic {
            cas(LAST, p, a);
            if
            :: swapped -> assert(a <= chain_end)
            :: else -> goto find
            fi
          }
       :: else
       fi;

       /* RingWriter::look_for_claims */
       atomic { p = 0; load_seq_cst(TAKEN_OVER, counted) }
       if
       :: counted != scanned ->
          do
          :: j < WRITERS ->
             atomic {
               if
               :: j != me -> load_seq_cst(CLAIM_OWNER(j), w); standing[j] = (w != 0); w = 0
               :: else
               fi;
               j++
             }
          :: else -> break
          od
       :: else
       fi;
       j = 0;
#ifdef SKIP_SCAN_CONFIRM
       scanned = counted;
#endif
       do
       :: j < WRITERS ->
          begins[j] = NONE;
          if
          :: standing[j] -> /* read_claim */
             atomic { load_seq_cst(CLAIM_OWNER(j), w) }
             if
             :: w != 0 ->
                atomic { load(CLAIM_COMMIT(j), commits[j]) }
                atomic { load(CLAIM_BEGIN(j), begins[j]) }
                atomic { load(CLAIM_END(j), ends[j]) }
                atomic {
                  load_seq_cst(CLAIM_OWNER(j), n);
                  if
                  :: n != w -> begins[j] = NONE
                  :: else
                  fi
                }
             :: else
             fi
          :: else
          fi;
          atomic { w = 0; n = 0; j++ }
       :: else -> break
       od;

       /* RingWriter::place */
       j = 0;
       d_step {
         s = a;
         moved = true;
#ifndef SKIP_PLACE
         do
         :: moved && s + NEED(me) <= a + RING ->
            moved = false;
            j = 0;
            do
            :: j < WRITERS ->
               if
               :: begins[j] != NONE ->
                  step_over(begins[j], ends[j] - begins[j]);
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
         j = 0;
#endif
         moved = false;
         do
         :: j < WRITERS -> begins[j] = 0; commits[j] = 0; ends[j] = 0; j++
         :: else -> break
         od;
         j = 0
       }
       if
       :: atomic {
            s + NEED(me) > a + RING ->
            load_seq_cst(LOCK, w);
            sent = sent + (w == mine -> 1 : 0); /* no room: given up; else again */
            w = 0;
            goto unlock
          }
       :: s + NEED(me) <= a + RING
       fi;

       /* I3: declare, then look again */
       atomic {
         store(CLAIM_COMMIT(me), a, RELAXED);
         store(CLAIM_BEGIN(me), s, RELAXED);
         store(CLAIM_END(me), s + NEED(me), RELAXED);
#ifdef SKIP_DECLARE_FENCE
         store(CLAIM_OWNER(me), mine, RELEASE)
#else
         store_seq_cst(CLAIM_OWNER(me), mine)
#endif
       }
       atomic {
         load_seq_cst(LOCK, w);
#ifdef SKIP_RECHECK
         w = mine;
#endif
         if
         :: w != mine -> goto lost
         :: else
         fi;
         w = 0;
         d_step { /* whoever is at work in a claim of before is known to the one who comes after */
           do
           :: j < WRITERS -> assert(!at_work[j] || standing[j] || mem[LOCK] != mine); j++
           :: else -> break
           od;
           j = 0;
           at_work[me] = true;
           scanned = counted;
           counted = 0
         }
       }
#ifndef SKIP_LOOK
       atomic {
         load(WORD(a), w);
         if
         :: w != EMPTY(a) -> goto lost
         :: else
         fi;
         w = 0
       }
#endif

       /* RingWriter::make_room */
#ifndef SKIP_ROOM
room:
       if
       :: s + NEED(me) > RING ->
          atomic { load(FIRST, f); p = f }
          if
          :: f + RING < s + NEED(me) ->
             do
             :: p + RING < s + NEED(me) + SHARE ->
                atomic {
                  load(WORD(p), w);
                  if
#ifdef SKIP_WHOLE_RECORD
                  :: IS_SHARED(w) -> p = p + 2; w = 0
                  :: STEP(w) != 0 && !IS_SHARED(w) -> p = p + STEP(w); w = 0
#else
                  :: STEP(w) != 0 -> p = p + STEP(w); w = 0
#endif
#ifdef ALIKE
                  :: IS_FRAME(w) -> w = 0; n = 1
#endif
                  :: else -> w = 0; break
                  fi
                }
#ifdef ALIKE
                if
                :: n == 1 -> /* RingWriter::step_over_alike */
                   atomic {
                     load(NUMBER(p + 1), n); /* Ring::alike_from */
                     if
                     :: n > 2 && n <= BATCH -> n = 2
                     :: n >= 2 && n <= BATCH -> skip
                     :: n < 2 || n > BATCH -> n = 1
                     fi
                   }
                   atomic {
                     load(WORD(p + 2 * n), w);
                     if
                     :: STEP(w) != 0 || w == EMPTY(p + 2 * n) || IS_PAYLOAD(w) -> p = p + 2 * n
                     :: else -> p = p + 2
                     fi;
                     w = 0;
                     n = 0
                   }
                :: else
                fi
#endif
             :: else -> break
             od;
             if
             :: p + RING >= s + NEED(me) ->
                atomic {
#ifdef SKIP_ROOM_CAS
                  assert(mem[FIRST] <= p && p <= chain_end);
                  store(FIRST, p, RELAXED)
#else
                  cas(FIRST, f, p);
                  if
                  :: swapped -> assert(f <= p && p <= chain_end)
                  :: else -> goto room
                  fi
#endif
                }
             :: else ->
                atomic {
                  load_seq_cst(LOCK, w);
                  if
                  :: w != mine -> goto lost
                  :: else -> w = 0; load(FIRST, n); assert(n != f); n = 0; goto room
                  fi
                }
             fi
          :: else
          fi
       :: else
       fi;
#endif

       /* RingWriter::write_records: ordinary stores, seen by nobody before they arrive. */
#ifdef SKIP_CLAIM_UNTIL_COMMIT
       atomic { store(CLAIM_OWNER(me), 0, RELEASE) }
#endif
       atomic {
         f = 0; p = s; w = 0;
#ifndef SKIP_FENCE_STORES
         fence_stores(); /* I6 */
#endif
         load(NUMBER(a), n); /* I8 */
         d_step {
           do
           :: w < SIZE(me) && !SHARES(me) ->
              if
              :: p != a -> put(WORD(p), FRAME(mine, w), RELAXED); put(NUMBER(p), n, RELAXED)
              :: else
              fi;
              put(WORD(p + 1), PAYLOAD(FRAME(mine, w)), RELAXED);
#ifdef ALIKE
              put(NUMBER(p + 1), ALIKE_FROM(w, SIZE(me)), RELAXED); /* RecordHeader::frames */
#else
              put(NUMBER(p + 1), NONE, RELAXED);
#endif
              p = p + 2;
              n++;
              w++
           :: w < SIZE(me) && SHARES(me) -> /* write_shared */
              if
              :: w == 0 && p != a ->
                 put(WORD(p), RECORD(mine), RELAXED);
                 put(NUMBER(p), n, RELAXED)
              :: else
              fi;
              if
              :: w == 0 -> p++; f = SIZE(me) /* RecordHeader::frames */
              :: else -> f = NONE
              fi;
              put(WORD(p), PAYLOAD(FRAME(mine, w)), RELAXED);
              put(NUMBER(p), f, RELAXED);
              f = 0;
              p++;
              n++;
              w++
           :: else -> break
           od;
#ifndef SKIP_EMPTY_FIRST
           put(NUMBER(p), n, RELAXED);
           put(WORD(p), EMPTY(p), RELAXED)
#endif
         }
         w = 0
       }

       /* I5: the commit */
       atomic {
         w = (s != a -> PAD(s - a) : (SHARES(me) -> RECORD(mine) : FRAME(mine, 0)));
#ifdef SKIP_COMMIT_CAS
         store(WORD(a), w, RELEASE);
         swapped = true;
#else
         cas(WORD(a), EMPTY(a), w);
#endif
         if
         :: swapped ->
            d_step {
              assert(a == chain_end && n == frames + SIZE(me));
              committed[a] = w;
              w = 0;
              if
              :: SHARES(me) -> committed[s] = RECORD(mine)
              :: else ->
                 do
                 :: w < SIZE(me) -> committed[s + 2 * w] = FRAME(mine, w); w++
                 :: else -> break
                 od
              fi;
              w = 0;
              chain_end = p;
              frames = n;
              c_code { look_for_harm(); }
            }
            assert(!harm)
         :: else -> load(WORD(a), w); assert(!IS_PAYLOAD(w)); goto lost
         fi
       }
#ifdef SKIP_EMPTY_FIRST
       atomic { store(NUMBER(p), n, RELAXED); store(WORD(p), EMPTY(p), RELAXED) }
#endif
       atomic { at_work[me] = false; store(CLAIM_OWNER(me), 0, RELEASE) } /* I4 */
       atomic {
         cas(LAST, a, p);
         assert(!swapped || p <= chain_end);
         n = 0; p = 0; sent++
       }
       /* Bell::collect */
       do
       :: j < SLEEPERS ->
          atomic {
            load_sleepers();
            if
            :: sleeping[j] -> sleeping[j] = false; owed[j] = true
            :: else
            fi;
            j++
          }
       :: else -> break
       od;
       goto unlock;
lost:
       atomic {
         w = 0;
         at_work[me] = false;
#ifdef SKIP_RELEASE_CLEAR
         store(CLAIM_OWNER(me), 0, RELAXED)
#else
         store(CLAIM_OWNER(me), 0, RELEASE) /* I4: only after the last write */
#endif
       }
unlock:
       atomic { cas(LOCK, mine, 0); system_call() }
       /* Bell::wake */
       j = 0;
       do
       :: j < SLEEPERS ->
          atomic {
            if
            :: owed[j] -> futex[j]++; asleep[j] = false; owed[j] = false
            :: else
            fi;
            j++
          }
       :: else -> break
       od;
       j = 0;
       d_step { mine = 0; a = 0; s = 0; p = 0; w = 0; n = 0; f = 0; seen = 0; counted = 0; j = 0 };
       if
       :: false ->
broken:   atomic {
            load(LAST, w);
            if
            :: w != p -> w = 0; goto find
            :: else -> w = 0; assert(mem[LOCK] != mine); goto unlock
            fi
          }
       :: else
       fi
    :: else -> break
    od
  }
#if DEATHS > 0
  unless { dead[me] }
#endif
}

/* Finds a writer dead and clears its claim (reap_if_dead). When that is known, its stores have
 * arrived. SKIP_DEATH: takes one for dead that lives (I4).
 */
proctype Reaper() {
  byte reaped, who_died;
  do
  :: reaped < DEATHS ->
     atomic {
       select(who_died : 0 .. WRITERS - 1);
#ifndef SKIP_DEATH
       dead[who_died] = true;
       anybody_died = true;
#endif
       reaped++;
       d_step { who = who_died; ALL_ARRIVES; who = 0 };
       assert(!harm);
       mem[CLAIM_OWNER(who_died)] = 0;
       at_work[who_died] = false;
       who_died = 0
     }
  :: else -> break
  od
}

#if READERS > 0
c_code {
/* The number of the frame at a position. */
static int number_before(int position) {
  int q, number = 0;
  for (q = 0; q < position && q < POSITIONS; q++) {
    if (IS_FRAME(now.committed[q])) number++;
#ifdef SHARED
    if (now.committed[q] > RECORD(0)) number += BATCH;
#endif
  }
  return number;
}
};

proctype Reader(byte r) {
  byte me = WRITERS;
  byte next;               /* RingReader::Place: number */
  byte p, x;               /* RingReader::Chunk: end, its position and number */
#ifdef SHARED
  byte inside;             /* RingReader::Place: entries, of the record at the position */
  byte e, c;               /* RingReader::Chunk: end, its entries; the frames of the record */
#endif
#ifdef ALIKE
  byte c;                  /* records that are alike */
#endif
  byte entries[CHUNK], count;
  bool good[CHUNK];        /* what was copied is what was committed */
  bool met, corrupt;
  byte w, n, b, f, whole, futex_seen, correct;

again:
  /* RingReader::follow */
#ifdef SHARED
  atomic { p = position[r]; x = next; e = inside }
#else
  atomic { p = position[r]; x = next }
#endif
  do
  :: count < CHUNK ->
#ifdef SKIP_ACQUIRE
     atomic { load(NUMBER(p), n) }
     atomic { load(WORD(p + 1), b) }
#ifdef SHARED
     atomic { load(NUMBER(p + 1), f) }
#endif
#endif
     atomic {
       load(WORD(p), w);
       if
       :: w == EMPTY(p) || IS_PAYLOAD(w) -> break /* a payload may look like EMPTY, */
       :: w != EMPTY(p) && STEP(w) == 0 -> corrupt = true; break
       :: IS_FRAME(w) || IS_PAYLOAD(w) -> skip /* or like a frame */
#ifdef SHARED
       :: IS_SHARED(w) || IS_PAYLOAD(w) -> c = BATCH /* or like a shared record */
       :: IS_PAD(w) -> skip
#else
       :: STEP(w) != 0 && !IS_FRAME(w) -> skip
#endif
       fi
     }
     if
     :: IS_PAD(w) -> atomic { p = p + STEP(w); w = 0; assert(p < POSITIONS) }
#ifdef SHARED
     :: !IS_PAD(w) && c != 0 ->
#ifndef SKIP_ACQUIRE
        atomic { load(NUMBER(p), n) }
#endif
        atomic {
#ifdef SKIP_ACQUIRE
          c = f;
#else
          load(NUMBER(p + 1), c); /* Ring::frames_of */
#endif
          if
          :: n + e != x || c < 2 || c > BATCH || e >= c -> corrupt = true; break
          :: else
          fi
        }
        /* RingReader::take_shared */
        do
        :: true ->
#ifdef SKIP_FENCE_LOADS
           atomic { load(FIRST, f) }
#endif
           atomic {
             load(WORD(p + 1 + e), b);
             d_step {
               c_code { PReader->correct = number_before(PReader->p); };
               good[count] = (w == committed[p] && b == PAYLOAD(FRAME(w - RECORD(0), e)) &&
                              n == correct && c == BATCH);
               entries[count] = p;
               count++;
               e++;
               x = n + e;
               b = 0; correct = 0
             }
           }
           if
           :: e == c -> atomic { p = p + BATCH + 1; e = 0; c = 0; w = 0; n = 0; break }
           :: e < c -> goto copied /* the batch is full */
           :: e < c && count < CHUNK -> skip
           fi
        od
     :: !IS_PAD(w) && c == 0 ->
#else
     :: else ->
#endif
#ifndef SKIP_ACQUIRE
        atomic { load(NUMBER(p), n) }
#endif
        atomic {
          if
#ifdef SHARED
          :: n != x || e != 0 -> corrupt = true; break
#else
          :: n != x -> corrupt = true; break
#endif
          :: else
          fi
        }
#ifdef SKIP_FENCE_LOADS
        atomic { load(FIRST, f) }
#endif
#ifdef ALIKE
        atomic {
          load(NUMBER(p + 1), c); /* Ring::alike_from */
          if
          :: c = (c <= BATCH -> c : 1)
          :: mem[FIRST] > p -> c = BATCH /* overwritten: it may be anything */
          fi
        }
#ifndef SKIP_LOOK_AT_COUNT
        if
        :: c > 1 -> atomic { load(FIRST, b); c = (b > p -> 1 : c); b = 0 } /* was_whole */
        :: else
        fi;
#endif
        do /* RingReader::take_alike */
        :: c > 1 && count < CHUNK - 1 ->
           atomic {
             load(WORD(p + 1), b);
             d_step {
               c_code { PReader->correct = number_before(PReader->p); };
               good[count] = (w == committed[p] && b == PAYLOAD(w) && n == correct);
               entries[count] = p;
               count++;
               c--;
               p = p + 2; /* no look at its header */
               w++;
               n++;
               b = 0; correct = 0
             }
           }
#ifdef SKIP_FENCE_LOADS
           atomic { load(FIRST, f) }
#endif
        :: else -> c = 0; break
        od;
#endif
#ifndef SKIP_ACQUIRE
        atomic { load(WORD(p + 1), b) }
#endif
        d_step {
          c_code { PReader->correct = number_before(PReader->p); };
          good[count] = (w == committed[p] && b == PAYLOAD(w) && n == correct);
          entries[count] = p;
          count++;
          x = n + 1;
          p = p + 2;
          w = 0; n = 0; b = 0; correct = 0
        }
     fi
  :: else -> break
  od;
copied:
#ifdef SHARED
  atomic { w = 0; n = 0; b = 0; c = 0 }
#else
  atomic { w = 0; n = 0; b = 0 }
#endif

  /* RingReader::read, behind fence_loads() (I6) */
#ifndef SKIP_FENCE_LOADS
  atomic { load(FIRST, f) }
#endif
  atomic {
#ifdef SKIP_VALIDATE
    f = 0;
#endif
#ifdef SKIP_VALIDATE_INSIDE
    f = (inside != 0 -> 0 : f);
#endif
    do
    :: whole < count && entries[whole] < f -> whole++
    :: else -> break
    od;
    met = (whole < count && entries[whole] == f);
    if
    :: f > position[r] && !met -> goto overrun
    :: else
    fi;
    assert(!corrupt);
    do
    :: whole < count -> assert(good[whole]); whole++
    :: else -> break
    od;
    c_code { PReader->correct = number_before(PReader->p); };
#ifdef SHARED
    assert(x == correct + e);
    assert(e == 0 || IS_SHARED(committed[p]));
    b = (position[r] == p && inside == e);
    inside = e;
#else
    assert(x == correct);
    b = (position[r] == p); /* nothing new */
#endif
    position[r] = p;
    next = x
  }
  if
  :: b == 0 -> goto forget
  :: else
  fi;

#ifdef NO_SLEEP
  goto forget;
#endif
  /* NativeAttachment::wait: Sleeper::announce, a last look, Sleeper::sleep, Sleeper::withdraw */
  futex_seen = futex[r];
#ifndef SKIP_ANNOUNCE_FIRST
  sleeping[r] = true; /* D1 */
#endif
#ifndef SKIP_LAST_LOOK
  atomic { load_seq_cst(WORD(p), w) }
  atomic { load_seq_cst(FIRST, f) }
  if
  :: w != EMPTY(p) || f > p -> goto awake
  :: else
  fi;
#endif
#ifdef SKIP_ANNOUNCE_FIRST
  sleeping[r] = true;
#endif
  atomic {
    if
    :: futex[r] == futex_seen -> asleep[r] = true /* FUTEX_WAIT */
    :: else
    fi
  }
  !asleep[r];
awake:
  sleeping[r] = false;
  goto forget;

overrun: /* RingReader::resume_after_overrun */
  atomic { load(FIRST, p) }
#ifdef WALKS
  do
  :: break /* far enough behind `first` */
  :: atomic { load(WORD(p), w) } /* RingReader::seek_behind */
     atomic {
#ifndef SKIP_VALIDATE_WALK
       load(FIRST, f);
#endif
       if
       :: f > p -> p = f
       :: f <= p && STEP(w) != 0 -> p = p + STEP(w)
       :: f <= p && IS_PAYLOAD(w) -> p = p + 2
#ifdef SHARED
       :: f <= p && IS_PAYLOAD(w) -> p = p + BATCH + 1
#endif
       :: f <= p && STEP(w) == 0 -> goto at_the_end
       fi;
       w = 0;
       f = 0;
       if
       :: p >= POSITIONS -> goto overrun
       :: else
       fi
     }
  od;
#endif
adopt:
  atomic {
    load(WORD(p), w);
    if
    :: w != EMPTY(p) && STEP(w) == 0 -> goto not_there
    :: w == EMPTY(p) || STEP(w) != 0 || IS_PAYLOAD(w) -> w = 0
    fi
  }
  atomic { load(NUMBER(p), n) }
  atomic {
#ifndef SKIP_VALIDATE_ADOPT
    load(FIRST, f);
    if
    :: f > p -> goto not_there
    :: else
    fi;
#endif
    c_code { PReader->correct = number_before(PReader->p); };
    assert(p == chain_end || committed[p] != 0);
    assert(n == correct && n >= next && p >= position[r]);
    position[r] = p;
#ifdef SHARED
    inside = 0;
#endif
    next = n
  }
  goto forget;
not_there:
  atomic { w = 0; n = 0; f = 0; goto overrun }
#ifdef WALKS
at_the_end: /* RingReader::seek_end */
  atomic { w = 0; n = 0; f = 0; load(LAST, p) }
  do
  :: atomic {
       load(WORD(p), w);
       if
       :: STEP(w) != 0 && p + STEP(w) < POSITIONS -> p = p + STEP(w); w = 0
       :: STEP(w) != 0 && p + STEP(w) >= POSITIONS -> goto not_there
       :: STEP(w) == 0 -> w = 0; goto adopt
       fi
     }
  od;
#endif
forget:
  atomic {
    p = 0; x = 0; w = 0; n = 0; b = 0; f = 0; whole = 0; futex_seen = 0; correct = 0;
    met = false; corrupt = false;
#ifdef SHARED
    e = 0; c = 0;
#endif
    do
    :: count > 0 -> count--; entries[count] = 0; good[count] = false
    :: else -> break
    od
  }
  goto again
}

#endif

/* When nobody moves any more, nobody sleeps over a frame (D1), unless who should have rung has
 * died: then it looks up (D2; deep sleep is the business of ports.pml).
 */
proctype Watch() {
  byte r;
  timeout;
  do
  :: r < READERS -> assert(!asleep[r] || position[r] == chain_end || anybody_died); r++
  :: else -> break
  od
}

init {
  atomic {
    byte i;
    mem[WORD(0)] = EMPTY(0);
    do
    :: i < WRITERS -> run Writer(i); i++
    :: else -> break
    od;
    i = 0;
#if READERS > 0
    do
    :: i < READERS -> run Reader(i); i++
    :: else -> break
    od;
    i = 0;
#endif
#if DEATHS > 0
    run Reaper();
#endif
    run Watch()
  }
}
