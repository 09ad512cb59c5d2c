/* Sleep and wakeup, as bus/doorbell.cpp, Attachment::Impl::append and Attachment::wait run them.
 *
 * One port sleeps, RINGERS others each send a frame that is for it. A ringer may die at any step, up
 * to DEATHS times, and the lock may be taken from its holder at any moment, up to TAKEOVERS times.
 * The ring is a count of committed frames; a commit is a CAS of it. A sleeper that sleeps shallow may
 * look up at any time, which is what its 50 ms come to; one that sleeps deep never does by itself.
 *
 * Asserted (D1 to D3): when nothing moves any more, no port sleeps deep while a frame stands unread.
 * A port asleep shallow may be missed by its ringer: it looks up.
 *
 * The wake is one step after the bit it goes with, as a futex call or the pwrite to inotify is, so a
 * ringer may die between the two.
 *
 * -DSKIP_... leaves one step out; each must make the check fail (see run).
 */
#ifndef RINGERS
#define RINGERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 2
#endif
#ifndef SLEEPS
#define SLEEPS 3 /* so often the port goes to sleep and is woken before it has read everything */
#endif

byte lock, acquisitions, taken;
byte killed; /* a ringer that dies now, plus one */
byte committed, read;
bool sleeping, deep; /* the port's bits in BusHeader::sleepers and deep_sleepers */
byte futex;
bool asleep, asleep_deep; /* in the kernel */
byte claims;              /* that stand, of processes that may still commit */

#define WAKE atomic { asleep = false; asleep_deep = false }

/* Bell::wake_deep, before a commit: wakes, and leaves the deep bit to the sleeper. A ringer that dies
 * before the wake has so taken nothing away. */
inline wake_deep() {
  if
  :: deep ->
#ifdef SKIP_KEEPING_DEEP
     deep = false;
#endif
     futex++;
     WAKE
  :: !deep
  fi
}

/* Bell::collect, after a commit and before the unlock: who clears the bit owes the wake. */
inline collect() {
  if
  :: atomic { sleeping -> sleeping = false; owed = true }
#ifdef SKIP_KEEPING_DEEP
     deep = false
#endif
  :: !sleeping
  fi
}

proctype Ringer(byte me) {
  byte mine, seen;
  bool claimed, done, owed;

  {
    do
    :: !done ->
#ifndef SKIP_RING_BEFORE_COMMIT
       wake_deep(); /* most of it outside of the lock */
#endif
       if
       :: atomic { lock == 0 -> acquisitions++; lock = acquisitions; mine = lock }
       :: atomic { lock != 0 && taken < TAKEOVERS -> taken++; acquisitions++; lock = acquisitions; mine = lock }
       fi;
#ifndef SKIP_RING_BEFORE_COMMIT
       wake_deep(); /* D3 */
#endif
       seen = committed;
       if
       :: true
       :: claims > 0 -> goto unlock /* the claims of others leave no room */
       fi;
       claims++;
       claimed = true;
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
       atomic {
         if
         :: lock == mine -> lock = 0
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
    od
  } unless {
    atomic {
      killed == me + 1 -> killed = 0;
      if
      :: claimed -> claims-- /* the dead commit nothing */
      :: else
      fi
    }
  }
}

proctype Killer() {
  byte died, who;
  do
  :: died < DEATHS -> atomic { select(who : 0 .. RINGERS - 1); killed = who + 1; died++; who = 0 }
  :: died == DEATHS -> break
  od
}

proctype Port() {
  byte futex_seen, sleeps;
  bool go_deep;
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
     :: go_deep -> deep = true
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
  od
}

/* When nobody can move, nobody may be left asleep over a frame. */
proctype Watch() {
  timeout -> assert(!(asleep_deep && committed != read))
}

init {
  atomic {
    byte i;
    run Port();
    do
    :: i < RINGERS -> run Ringer(i); i++
    :: else -> break
    od;
    run Killer();
    run Watch()
  }
}
