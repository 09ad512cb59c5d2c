/* Addresses of ports are unique (P3), as take_slot(), find_conflict() and address_is_taken() of
 * bus/port/port_table.cpp and NativeAttachment::set_mac see to it.
 *
 * ATTACHERS processes attach with one and the same address, each in a slot that nobody has had
 * before. CHANGERS ports in lower slots, which are live, change their address to that one. Each
 * publishes, and then looks at all others: first at how many slots there are, then at the state of
 * each, then at its address. Names are published and looked at as the addresses of attaching ports
 * are.
 *
 * Asserted: the address is never granted to two ports. (Both may be refused.)
 *
 * Left out: dead ports, for which the kernel answers; filter_changes, a locked operation between
 * publishing and looking, which would only order more; a second try.
 *
 * -DSKIP_... leaves a step out or makes it one that is not sequentially consistent; each must make
 * the check fail (see run).
 */
#ifndef ATTACHERS
#define ATTACHERS 2
#endif
#ifndef CHANGERS
#define CHANGERS 1
#endif

#define WRITERS (ATTACHERS + CHANGERS)
#define USED 0 /* BusHeader::slots_used */
#define STATE(i) (1 + (i))
#define MAC(i) (1 + WRITERS + (i))
#define PLACES (1 + 2 * WRITERS)
#define BUFFER 8

#define FREE 0
#define ATTACHING 1
#define LIVE 2
#define WANTED 1 /* the address; another one is 0 */

bool granted[WRITERS];

c_code {
static int does_harm(int place, int value) { return 0; }
};
#include "memory.pml"

inline grant() {
  d_step {
    granted[me] = true;
    j = 0;
    do
    :: j < WRITERS -> assert(j == me || !granted[j]); j++
    :: else -> break
    od;
    j = 0
  }
}

#ifdef SKIP_COUNT_ORDER
#define LOAD_COUNT load(USED, n)
#else
#define LOAD_COUNT load_seq_cst(USED, n)
#endif

proctype Attacher(byte me) {
  byte n, j, s, m;
  bool taken;
  {
    /* raise_slots_used */
    do
    :: atomic {
         load(USED, n);
         if
         :: n >= me + 1 -> n = 0; break
         :: else
         fi
       }
       atomic {
         cas(USED, n, me + 1);
         n = 0;
         if
         :: swapped -> break
         :: else
         fi
       }
    od;
    /* publish */
    atomic {
      store(MAC(me), WANTED, RELAXED);
#ifdef SKIP_PUBLISH_ORDER
      store(STATE(me), ATTACHING, RELEASE)
#else
      store_seq_cst(STATE(me), ATTACHING)
#endif
    }
    /* find_conflict */
    atomic { LOAD_COUNT }
    do
    :: j < n && !taken && j != me ->
       atomic { load_seq_cst(STATE(j), s) }
       if
       :: s == FREE -> j++
       :: s != FREE ->
          atomic { load_seq_cst(MAC(j), m) }
          if
          :: m != WANTED -> j++
          :: m == WANTED && (s == LIVE || j < me) -> taken = true
          :: m == WANTED && s != LIVE && j > me -> skip /* waits, and looks again */
          :: m == WANTED && s != LIVE && j > me -> taken = true /* it has waited long enough */
          fi
       fi;
       atomic { s = 0; m = 0 }
    :: j < n && !taken && j == me -> j++
    :: j >= n || taken -> break
    od;
    atomic { n = 0; j = 0 }
    if
    :: taken -> atomic { store_seq_cst(STATE(me), FREE) }
    :: else ->
       atomic { store_seq_cst(STATE(me), LIVE) }
       grant()
    fi
  }
}

proctype Changer(byte me) {
  byte n, j, s, m;
  bool taken;
  {
    /* set_mac, address_is_taken */
#ifdef SKIP_CHANGE_ORDER
    atomic { store(MAC(me), WANTED, RELEASE) }
#else
    atomic { store_seq_cst(MAC(me), WANTED) }
#endif
    atomic { LOAD_COUNT }
    do
    :: j < n && !taken && j != me ->
       atomic { load_seq_cst(STATE(j), s) }
       atomic {
         if
         :: s != FREE -> load_seq_cst(MAC(j), m)
         :: else
         fi;
         taken = (m == WANTED);
         d_step { s = 0; m = 0; j++ }
       }
    :: j < n && !taken && j == me -> j++
    :: j >= n || taken -> break
    od;
    atomic { n = 0; j = 0 }
    if
    :: taken -> atomic { store_seq_cst(MAC(me), 0) }
    :: else -> grant()
    fi
  }
}

init {
  byte i;
  atomic {
    mem[USED] = CHANGERS;
    do
    :: i < WRITERS ->
       if
       :: i < CHANGERS -> mem[STATE(i)] = LIVE; run Changer(i)
       :: else -> run Attacher(i)
       fi;
       i++
    :: else -> break
    od;
    i = 0
  }
}
