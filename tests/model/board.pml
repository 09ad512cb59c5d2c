/* The board, as bus/board/board.cpp and, for partitions that hold, shmif/control/change.cpp and
 * tools/relay/line_control.cpp run it. Three parts that share nothing; -DJOURNAL and -DSTANDING
 * choose the second and the third.
 *
 * Requests: REQUESTERS processes ask two ports, ASKS times each. A requester may stop to wait at
 * any moment, and DEATHS of them die at any step; the kernel then frees the lock of the dead. A
 * port that dies is one that takes no more steps. Each text is two halves, each of which is written
 * and read by itself, and each has a number of its own, which is a ghost: the text. Asserted: what
 * a port applies is one whole request to this port, applied once, and not withdrawn (B2, B3); what a
 * requester takes for the answer to its request is that answer, whole (B4).
 *
 * Journal: WRITERS processes write NOTES entries each into a journal with room for one, and a
 * reader looks for each. Asserted: what it takes for entry number n is that entry, whole (B5).
 *
 * Standing: one requester divides a bus and heals it, while a port of one of the groups comes.
 * Asserted: when nothing moves any more, the port is in the partition if it holds, and only then (B7).
 *
 * Each access to shared memory is a step, and steps are sequentially consistent. The code copies
 * texts by other means. Those who read them need no order of these copies: a CAS of a word that was
 * read before, or a checksum, tells them whether a text is whole. A checksum is modelled as what it
 * was made of. For memory that is weaker than this see ring.pml.
 *
 * -DSKIP_... leaves one step out; each must make the check fail (see run).
 */
#ifndef REQUESTERS
#define REQUESTERS 2
#endif
#ifndef ASKS
#define ASKS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef NOTES
#define NOTES 2
#endif

#if !defined(JOURNAL) && !defined(STANDING)

#define PORTS 2
#define TEXTS (REQUESTERS * ASKS + 1)

mtype = { IDLE, WRITING, POSTED, TAKEN };

/* BoardRequest */
byte number;        /* the word: number */
mtype stage = IDLE; /* and stage; both change in one step */
byte slot, text_a, text_b;
byte answered, answer_a, answer_b, check_number, check_text;
/* The kernel */
bool locked;
/* Ghosts */
byte texts, killed;
byte to[TEXTS];
bool applied[TEXTS], withdrawn[TEXTS];

proctype Requester(byte me) {
  byte asks, mine, text, port, a, b, n, t;
  bool has_lock;
  {
    do
    :: asks < ASKS ->
       asks++;
#ifndef SKIP_LOCK
       atomic { !locked -> locked = true; has_lock = true } /* B1 */
#endif
       atomic {
         texts++;
         text = texts;
         select(port : 0 .. PORTS - 1);
         to[text] = port
       }
       mine = number;
#ifndef SKIP_NUMBER
       mine++; /* B2 */
#endif
#ifndef SKIP_WRITING
       atomic { number = mine; stage = WRITING }
#endif
       slot = port;
       text_a = text;
       text_b = text;
       atomic { number = mine; stage = POSTED }
       do
       :: answered == mine ->
          a = answer_a;
          b = answer_b;
          atomic { n = check_number; t = check_text }
          if
#ifndef SKIP_ANSWER_CHECK
          :: n == mine && t == a && a == b -> /* B4 */
#else
          :: true ->
#endif
             assert(a == text && b == text);
             atomic { number = mine; stage = IDLE }
             break
#ifndef SKIP_ANSWER_CHECK
          :: else
#endif
          fi
       :: atomic { number == mine && stage == POSTED -> /* no longer waits: B3 */
#ifdef SKIP_WITHDRAW_CAS
            skip
          }
          withdrawn[text] = true;
          atomic { number = mine; stage = IDLE }
          break
#else
            stage = IDLE;
            withdrawn[text] = true
          }
          break
#endif
       :: stage == TAKEN -> atomic { number = mine; stage = IDLE } break /* may still come */
       od;
       atomic { a = 0; b = 0; n = 0; t = 0; has_lock = false; locked = false }
    :: else -> break
    od
  } unless {
    atomic { killed == me + 1 -> killed = 0; locked = (has_lock -> false : locked) }
  }
}

proctype Killer() {
  byte died;
  do
  :: died < DEATHS -> atomic { select(killed : 1 .. REQUESTERS); died++ }
  :: true -> break
  od
}

proctype Port(byte me) {
  byte seen, a, b;
  do
  :: atomic { stage == POSTED -> seen = number }
     if
     :: slot == me ->
        a = text_a;
        b = text_b;
        atomic {
          if
#ifdef SKIP_TAKE_CAS
          :: true -> number = seen; stage = TAKEN
#else
          :: number == seen && stage == POSTED -> stage = TAKEN /* B2, B3 */
#endif
          :: else -> goto over
          fi
        }
        atomic {
          assert(a == b && a != 0);
          assert(to[a] == me);
          assert(!withdrawn[a]);
          assert(!applied[a]);
          applied[a] = true
        }
        if
        :: number == seen && stage == TAKEN ->
           answer_a = a;
           answer_b = a;
           atomic { check_number = seen; check_text = a }
           answered = seen
        :: else
        fi
     :: else
     fi;
over:
     atomic { seen = 0; a = 0; b = 0 }
  od
}

init {
  atomic {
    byte i;
    do
    :: i < REQUESTERS -> run Requester(i); i++
    :: else -> break
    od;
    run Port(0);
    run Port(1);
    run Killer()
  }
}

#elif defined(JOURNAL)

byte changes;
byte marker, entry_a, entry_b, check_number, check_text; /* JournalEntry */

proctype Writer() {
  byte notes, mine;
  do
  :: notes < NOTES ->
     notes++;
     atomic { changes++; mine = changes } /* counted from 1 here */
     marker = 0;
     atomic { check_number = mine; check_text = mine }
     entry_a = mine;
     entry_b = mine;
     marker = mine
  :: else -> break
  od
}

proctype Reader() {
  byte wanted, a, b, n, t;
  do
  :: atomic { wanted = changes; wanted > 0 }
     if
     :: marker == wanted ->
        atomic { n = check_number; t = check_text }
        a = entry_a;
        b = entry_b;
        if
        :: marker == wanted ->
           if
#ifdef SKIP_ENTRY_CHECK
           :: true ->
#elif defined(SKIP_ENTRY_NUMBER)
           :: t == a && a == b ->
#else
           :: n == wanted && t == a && a == b -> /* B5 */
#endif
              assert(a == wanted && b == wanted)
#ifndef SKIP_ENTRY_CHECK
           :: else
#endif
           fi
        :: else
        fi
     :: else
     fi;
     atomic { wanted = 0; a = 0; b = 0; n = 0; t = 0 }
  od
}

init {
  atomic {
    byte i;
    do
    :: i < WRITERS -> run Writer(); i++
    :: else -> break
    od;
    run Reader()
  }
}

#else

byte sequence;
bool standing;             /* the partition holds; whole while the sequence is even */
bool takes, shown;         /* LineRecord of the port: its flags */
bool asked, asked_to_hold; /* the request to the port, which it takes in one step */
bool ignores;              /* what the port does */
bool wanted, finished;     /* ghosts */

inline hold(what) {
#ifndef SKIP_STANDING
  sequence++;
  standing = what;
  sequence++;
#endif
  if
  :: takes && (what || shown) ->
     atomic { asked = true; asked_to_hold = what }
     !asked
  :: else
  fi
#ifdef SKIP_STANDING
  ;
  standing = what
#endif
}

proctype Divider() {
  byte times;
  do
  :: times < 2 ->
     times++;
     wanted = true;
     hold(true);
     if
     :: wanted = false; hold(false)
     :: true -> break
     fi
  :: else -> break
  od;
  finished = true
}

proctype Coming() {
  bool held, now;
  takes = true; /* ChangeDesk::open() */
  do            /* LineControl::adopt_partition() */
  :: ignores = held;
     shown = held;
#ifdef SKIP_LOOK_AGAIN
     if
     :: held -> break
     :: else
     fi;
#endif
     sequence % 2 == 0;
     now = standing;
     if
     :: now == held -> break
     :: else -> held = now
     fi
  od;
  do
  :: atomic { asked -> ignores = asked_to_hold; shown = asked_to_hold; asked = false }
  od
}

proctype Watch() {
  timeout;
  assert(finished);
  assert(ignores == wanted)
}

init {
  atomic {
    run Divider();
    run Coming();
    run Watch()
  }
}

#endif
