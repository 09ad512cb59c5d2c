/* Lock, takeover, wish, slots and the doorbell, as bus/ring/lock.cpp, bus/port/doorbell.cpp,
 * bus/port/port_table.cpp, NativeAttachment::Impl::append and NativeAttachment::wait run them, for three processes
 * (or more).
 *
 * One port sleeps; RINGERS others each send a frame that is for it. Any of them may die at any
 * step, also between its commit and its wake, DEATHS times in all; then a new process may take
 * the slot, LIVES times for each, and find there what the dead one left: bits, lock, wish. The
 * lock may be taken from its holder at any moment, from a living one up to TAKEOVERS times, and
 * every process may stop for ever or for a while at any step, since every order of steps is
 * explored. With PORT 0 nobody sleeps, and it is about lock and wish alone.
 *
 * Each access to shared memory is a step. Those here are sequentially consistent in the code,
 * stand behind one that is (a slot's state and ticket), are mere advice that a later CAS checks
 * (the wish), or are the kernel's; for the others see ring.pml. The wake is one step, as a futex
 * call and the write that sets off a watch are. The ring is a count of committed frames; a commit
 * is a CAS of it. A sleeper that sleeps shallow may look up at any time, which is what its 50 ms
 * come to; one that sleeps deep never does by itself. Patience and the other times are nothing
 * but the order of steps.
 *
 * Asserted: a lock is never taken from whoever got it since (L2); a new owner's slot is left alone
 * by who found the old one dead (P2); when nothing moves any more, nobody waits for the lock,
 * whoever held it or wished for it (L3, L5), and no port sleeps deep over an unread frame (D1 to
 * D3). A port asleep shallow may be missed by its ringer: it looks up.
 *
 * Left out: several sleepers, since each has its own bits, word and ticket, and ringers visit
 * them one by one; D4, which only moves frames between two counters; names and addresses (P3);
 * repair. Fork: the child of a fork has neither mapping nor liveness lock, and each of its calls
 * ends at NativeAttachment::Impl::forked(), so it does no step at all
 * (tests/process/library_user_test.cpp).
 *
 * -DSKIP_... leaves one step out, and -DTIDY_UP puts one in; each must make the check fail (see
 * run).
 */
#ifndef PORT
#define PORT 1
#endif
#ifndef RINGERS
#define RINGERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef MORTAL
#define MORTAL 0 /* slots below live on */
#endif
#ifndef LIVES
#define LIVES 0
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 1
#endif
#ifndef SLEEPS
#define SLEEPS 1 /* so often the port goes to sleep and is woken before it has read everything */
#endif

#define NOBODY 255
#define SLEEPER RINGERS /* the port's slot */

mtype = { FREE, ATTACHING, LIVE };

/* BusHeader */
byte lock, holder = NOBODY; /* the word's count and slot; 0: free */
byte wish;                  /* slot plus one */
bool sleeping, deep;        /* the port's bits in sleepers and deep_sleepers */
byte committed;
byte claims; /* that stand, of processes that may still commit */
/* PortSlot, of the sleeping port */
mtype state = FREE;
byte incarnation, futex, deep_ticket;
/* The kernel */
bool alive[RINGERS + 1]; /* liveness locks */
bool asleep, asleep_deep;
/* Ghosts */
byte acquisitions, taken, killed, waiting, read;
byte published; /* the incarnation of a live port, once it stands in its slot */

#define WAKE atomic { asleep = false; asleep_deep = false }
#define TAKE acquisitions++; lock = acquisitions; holder = me; mine = lock; waiting--; waits = false

/* BusLock::acquire */
inline acquire() {
  atomic { waiting++; waits = true }
  do
  :: atomic { /* try_acquire: also from our own name, which a dead owner of the slot left */
       (lock == 0 || holder == me) && (wish == 0 || wish == me + 1) -> TAKE; break
     }
#ifdef WISHES
  :: atomic { lock != 0 && wish == 0 -> wish = me + 1 } /* L5: unlucky */
#ifndef SKIP_STRIKE
  :: atomic { lock == 0 && wish != 0 && wish != me + 1 -> seen = wish } /* step_back */
     atomic {
       if
       :: wish == seen -> wish = 0
       :: else
       fi;
       seen = 0
     }
#endif
#endif
  :: atomic { /* L3: the holder is dead, or another has its slot (perhaps we), or it made no
               * progress */
       lock != 0 && (!alive[holder] || taken < TAKEOVERS || lock <= stale) ->
       seen = lock;
       taken = taken + (alive[holder] && lock > stale -> 1 : 0)
     }
     atomic {
       if
#ifdef SKIP_COUNT
       :: lock != 0 -> assert(seen == lock); TAKE; seen = 0; break
#else
       :: lock == seen -> TAKE; seen = 0; break
#endif
       :: else -> seen = 0
       fi
     }
  od;
#ifdef WISHES
  if
  :: wish == me + 1 -> atomic { wish = (wish == me + 1 -> 0 : wish) }
  :: else
  fi
#endif
}

byte stale; /* acquisitions up to this one were made by processes that are dead */

/* Bell::wake_deep, before a commit: wakes, and leaves the deep bit to the sleeper. A ringer that
 * dies before the wake has so taken nothing away. Each sleep it rings only once, known by its
 * ticket.
 */
inline wake_deep() {
  if
  :: deep ->
     if
     :: state == LIVE ->
#ifdef SKIP_KEEPING_DEEP
        deep = false;
#endif
        if
        :: served != deep_ticket + 1 ->
           served = deep_ticket + 1;
           futex++;
           WAKE
        :: else
        fi
     :: else -> tidy_up()
     fi
  :: !deep
  fi
}

/* Bell::visit leaves the bits of dead ports to the slot's next owner. */
inline tidy_up() {
#ifdef TIDY_UP
  deep = false;
  sleeping = false
#else
  skip
#endif
}

/* Bell::collect, after a commit and before the unlock: who clears the bit owes the wake. */
inline collect() {
  if
  :: sleeping ->
     if
     :: state == LIVE ->
        atomic { owed = sleeping; sleeping = false }
#ifdef SKIP_KEEPING_DEEP
        deep = false
#endif
     :: else -> tidy_up()
     fi
  :: !sleeping
  fi
}

proctype Ringer(byte me) {
  byte mine, seen, served, lives;
  bool claimed, done, owed, waits;

life:
  alive[me] = true; /* take_liveness; no state of its own here is looked at */
  {
    /* clear(): frees the lock that the slot's dead owner held */
    if
    :: atomic { lock != 0 && holder == me -> seen = lock }
       atomic {
         if
         :: lock == seen -> lock = 0; holder = NOBODY
         :: else
         fi;
         seen = 0
       }
    :: else
    fi;
    do
    :: !done ->
#ifndef SKIP_RING_BEFORE_COMMIT
       wake_deep(); /* most of it outside of the lock */
#endif
       acquire();
#ifndef SKIP_RING_BEFORE_COMMIT
       wake_deep(); /* D3 */
#endif
       seen = committed;
       if
       :: true
       :: claims > 0 -> goto unlock /* the claims of others leave no room */
       fi;
       atomic { claims++; claimed = true }
       if
       :: lock == mine ->
          atomic {
            if
            :: committed == seen -> committed++; done = true
            :: else
            fi
          }
       :: else
       fi;
       atomic { claims--; claimed = false }
       if
       :: done -> collect()
       :: else
       fi;
unlock:
       atomic { /* BusLock::release */
         if
         :: lock == mine -> lock = 0; holder = NOBODY
         :: else
         fi;
         mine = 0; seen = 0
       }
       if
       :: owed -> futex++; WAKE; owed = false /* Bell::wake */
       :: !owed
       fi;
       if
       :: done || claims == 0
       :: !done -> break /* no room: the sender is told */
       fi
    :: done -> break
    od;
    goto gone
  } unless {
    atomic {
      killed == me + 1 ->
      killed = 0;
      alive[me] = false;
      claims = claims - (claimed -> 1 : 0); /* the dead commit nothing */
      waiting = waiting - (waits -> 1 : 0);
      stale = (holder == me -> lock : stale);
      claimed = false; waits = false; done = false; owed = false; mine = 0; seen = 0; served = 0
    }
  };
  if
  :: lives < LIVES -> lives++; goto life
  :: true
  fi;
gone:
  skip
}

/* Kills, and finds dead ports out: reap_if_dead of the sleeper's slot. */
proctype Killer() {
  byte died, who, seen;
  do
  :: died < DEATHS ->
     atomic {
       select(who : MORTAL .. RINGERS - 1 + PORT);
       killed = who + 1;
       died++;
       who = 0
     }
#if PORT && LIVES > 0
  :: atomic { state == LIVE -> seen = incarnation }
     if
     :: !alive[SLEEPER] ->
        atomic {
          if
#ifdef SKIP_INCARNATION
          :: state == LIVE ->
#else
          :: state == LIVE && incarnation == seen ->
#endif
             assert(published != incarnation); /* a new owner's state is left alone */
             state = FREE
          :: else
          fi
        }
     :: else
     fi;
     seen = 0
#endif
  :: died == DEATHS -> break
  od
}

proctype Port() {
  byte futex_seen, sleeps, lives;
  bool go_deep;

life:
  /* take_slot: whoever has the liveness lock clears what the dead one left */
  alive[SLEEPER] = true;
  {
    sleeping = false;
    deep = false;
    atomic { state = ATTACHING; incarnation++; published = incarnation }
    read = committed; /* seek_end */
    state = LIVE;
    do
    :: atomic { committed != read -> read = committed } /* receive, until nothing is left */
    :: committed == read && sleeps < SLEEPS ->
       sleeps++;
       /* Sleeper::announce */
       futex_seen = futex;
       if
       :: go_deep = true
       :: go_deep = false /* the bus was not idle for long enough */
       fi;
       if
       :: go_deep -> deep_ticket = futex_seen; deep = true
       :: else
       fi;
       sleeping = true; /* D1 */
#ifndef SKIP_LOOK_AT_LOCK
       if
       :: go_deep && (lock != 0) -> deep = false; go_deep = false
       :: else
       fi;
#endif
#ifndef SKIP_LOOK_AT_CLAIMS
       if
       :: go_deep && (claims != 0) -> deep = false; go_deep = false
       :: else
       fi;
#endif
#ifndef SKIP_LAST_LOOK
       if
       :: committed != read -> goto awake
       :: else
       fi;
#endif
       atomic { /* FUTEX_WAIT */
         if
         :: futex == futex_seen -> asleep = true; asleep_deep = go_deep
         :: else
         fi
       }
       if
       :: !asleep
       :: asleep && !asleep_deep -> asleep = false /* looks up */
       fi;
awake: /* Sleeper::withdraw */
       deep = false;
       sleeping = false;
       atomic { go_deep = false; futex_seen = 0 }
    :: committed == read && sleeps == SLEEPS -> break
    od;
    goto gone
  } unless {
    atomic {
      killed == SLEEPER + 1 ->
      killed = 0;
      alive[SLEEPER] = false;
      published = 0;
      asleep = false; asleep_deep = false;
      go_deep = false; futex_seen = 0; sleeps = 0
    }
  };
  if
  :: lives < LIVES -> lives++; goto life
  :: true
  fi;
gone:
  skip
}

/* When nothing moves any more, nobody may be left waiting, or asleep over a frame. */
proctype Watch() {
  timeout;
  assert(waiting == 0);
  assert(!(asleep_deep && committed != read))
}

init {
  atomic {
    byte i;
#if PORT
    run Port();
#endif
    do
    :: i < RINGERS -> run Ringer(i); i++
    :: else -> break
    od;
    run Killer();
    run Watch()
  }
}
