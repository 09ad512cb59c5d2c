/* Shared memory with store buffers, for the models that include this file.
 *
 * A process of the code has two kinds of accesses (bus/atomics.hpp): ordinary stores, which wait
 * in its buffer until they reach memory, and what orders them. With
 *
 *   -DTSO   stores reach memory in their order, some time after what follows them was loaded (x86);
 *   -DPSO   stores to different places reach memory in any order, but for what a release or a fence
 *           says; each place has a buffer of its own. A locked operation empties all buffers;
 *   -DWEAK  as PSO, and a compare-and-swap orders no more than C++ promises: its own store may reach
 *           memory after ordinary stores that follow it, and one that fails orders nothing (ARM).
 *
 * Each allows what those before it allow, so what holds under WEAK holds under all; TSO and PSO
 * are there to say which of them needs a step. Without any of them stores reach memory at once.
 *
 * A store that waits is of no consequence until somebody looks at its place. So it is only then
 * decided how many of the waiting stores to that place have come through, with all that must come
 * before them: `look`. This leaves nothing out that emptying buffers at any moment would show,
 * and spares its states. The buffers are as deep as the code ever fills them (BUFFER), not only
 * 2.
 *
 * Left out: loads are done in the program's order. Where the code asks for that with acquire or
 * fence_loads(), the model that leaves it out does the loads in the other order. No thin air.
 *
 * The includer defines WRITERS, PLACES, BUFFER, and the C function `does_harm(place, value)`:
 * whether it hurts that an ordinary store reaches memory now. `me` is the running process, or
 * WRITERS for one that has no buffer. What an operation does to the buffers is C, since spin
 * would take minutes for it; what it may do, and with whom it interleaves, is Promela.
 */
#if defined(TSO) || defined(PSO) || defined(WEAK)
#define BUFFERED 1
#else
#define BUFFERED 0
#endif
#if defined(PSO) || defined(WEAK)
#define IN_ORDER 0
#else
#define IN_ORDER 1
#endif
#ifdef WEAK
#define LOCKED_IS_A_BARRIER 0
#else
#define LOCKED_IS_A_BARRIER 1
#endif

#define RELAXED 0
#define RELEASE 1
#define SEQ_CST 2
#define NO_STORE 255
#define HELD(w, i) ((w) * BUFFER + (i))

byte mem[PLACES];
byte held[WRITERS];   /* how many stores wait, the oldest first */
byte fenced[WRITERS]; /* so many of them stand before the last fence_stores() */
byte held_place[WRITERS * BUFFER], held_value[WRITERS * BUFFER], held_order[WRITERS * BUFFER];

/* The operation that is being done; zeros between the steps. */
byte who, at, value, peer, entry;
bool swapped; /* the result of `cas` */
bool harm;    /* a store reached memory where it must not */

c_code {
/* The store `which` of `w` reaches memory, with everything that must be there before it. */
static void arrive(int w, int which) {
  unsigned char leaves[BUFFER] = {0};
  int place = now.held_place[HELD(w, which)], all = IN_ORDER, kept = 0, kept_fenced = 0, i;
  for (i = which; i >= 0; i--) {
    int before_fence = i < now.fenced[w] && now.fenced[w] <= which;
    if (!all && now.held_place[HELD(w, i)] != place && !before_fence) continue;
    leaves[i] = 1;
    if (now.held_order[HELD(w, i)] != RELAXED) all = 1;
  }
  for (i = 0; i < now.held[w]; i++) {
    int from = HELD(w, i), to = HELD(w, kept);
    if (leaves[i]) {
      if (now.held_order[from] == RELAXED &&
          does_harm(now.held_place[from], now.held_value[from])) {
        now.harm = 1;
      }
      now.mem[now.held_place[from]] = now.held_value[from];
    } else {
      now.held_place[to] = now.held_place[from];
      now.held_value[to] = now.held_value[from];
      now.held_order[to] = now.held_order[from];
      kept++;
      if (i < now.fenced[w]) kept_fenced++;
    }
  }
  for (i = kept; i < now.held[w]; i++) {
    now.held_place[HELD(w, i)] = now.held_value[HELD(w, i)] = now.held_order[HELD(w, i)] = 0;
  }
  now.held[w] = kept;
  now.fenced[w] = kept_fenced;
}

static void arrive_all(int w) {
  while (w < WRITERS && now.held[w] > 0) arrive(w, now.held[w] - 1);
}

/* What a sequentially consistent load waits for: one's own sequentially consistent stores. */
static void settle(int w) {
  int i = w < WRITERS ? now.held[w] : 0;
  while (i > 0 && now.held_order[HELD(w, i - 1)] != SEQ_CST) i--;
  if (i > 0) arrive(w, i - 1);
}

static void hold(int w, int place, int what, int order) {
  int i = HELD(w, now.held[w]);
  if (now.held[w] == BUFFER) abort();
  now.held[w]++;
  now.held_place[i] = place;
  now.held_value[i] = what;
  now.held_order[i] = order;
  if (!BUFFERED) arrive_all(w);
}

/* What `w` reads: its own newest store, or memory. */
static int read_place(int w, int place) {
  int i;
  for (i = w < WRITERS ? now.held[w] : 0; i > 0; i--) {
    if (now.held_place[HELD(w, i - 1)] == place) return now.held_value[HELD(w, i - 1)];
  }
  return now.mem[place];
}

/* From `peer` on, the next store of another process than `me` that waits for `at`. */
static void seek(int me) {
  for (; now.peer < WRITERS; now.peer++) {
    if (now.peer == me) continue;
    for (now.entry = 0; now.entry < now.held[now.peer]; now.entry++) {
      if (now.held_place[HELD(now.peer, now.entry)] == now.at) return;
    }
  }
  now.entry = NO_STORE;
}
};

#define SEEK c_code { seek(now.who); }
#define SETTLE c_code { settle(now.who); }
#define READ c_code { now.value = read_place(now.who, now.at); }
#define HOLD c_code { hold(now.who, now.at, now.value, now.entry); }
#define LOCKED c_code { if (LOCKED_IS_A_BARRIER) arrive_all(now.who); }
#define ALL_ARRIVES c_code { arrive_all(now.who); }
#define DONE who = 0; at = 0; value = 0; entry = 0

/* Decides which stores of others to `at` have come through. MUST: a locked operation comes after
 * those of others at the same place, whoever has seen them. */
inline look(must) {
  SEEK;
  do
  :: entry == NO_STORE -> break
  :: entry != NO_STORE -> d_step { c_code { arrive(now.peer, now.entry); }; SEEK }
  :: entry != NO_STORE && !(must && held_order[HELD(peer, entry)] == SEQ_CST) ->
     d_step { peer++; SEEK }
  od;
  peer = 0
}

/* The operations of bus/atomics.hpp; each inside of atomic, together with what needs no memory.
 *
 * load_relaxed, load_acquire */
inline load(place, into) {
  d_step { who = me; at = place };
  look(false);
  d_step { READ; into = value; DONE }
}

inline load_seq_cst(place, into) {
  d_step { who = me; SETTLE; at = place };
  look(false);
  d_step { READ; into = value; DONE }
}

/* store_relaxed, store_release: of no consequence for others yet, so several may make one step. */
inline put(place, what, order) { who = me; at = place; value = what; entry = order; HOLD; DONE }
inline store(place, what, order) {
  d_step { put(place, what, order) };
  assert(!harm)
}

inline store_seq_cst(place, what) {
  d_step { who = me; at = place };
  look(true);
  d_step { value = what; entry = SEQ_CST; HOLD; LOCKED; DONE };
  assert(!harm)
}

inline fence_stores() { fenced[me] = held[me] }

/* compare_and_swap; the result is in `swapped`. */
inline cas(place, expected, desired) {
  d_step { who = me; at = place };
  look(true);
  d_step {
    LOCKED;
    SETTLE;
    READ;
    swapped = (value == (expected));
    if
    :: swapped -> value = desired; entry = SEQ_CST; HOLD; LOCKED
    :: else
    fi;
    DONE
  };
  assert(!harm)
}

/* Sleeping, exiting, and what the kernel does of a process: nothing waits any longer. */
inline system_call() {
  d_step { who = me; ALL_ARRIVES; who = 0 };
  assert(!harm)
}
