#ifndef SHMIF_SHMIF_H
#define SHMIF_SHMIF_H
/*
 * The library for C programs: make a bus, put a port on it, send and receive Ethernet frames.
 *
 *     struct shmif_port_options options = {.size = sizeof options, .name = "rig"};
 *     shmif_port* port = NULL;
 *     if (shmif_create("/dev/shm/bus0", NULL) < 0) errx(1, "%s", shmif_message());
 *     if (shmif_open("/dev/shm/bus0", &options, &port) < 0) errx(1, "%s", shmif_message());
 *     shmif_up(port);
 *     shmif_send(port, frame, frame_bytes);
 *     shmif_close(port);
 *
 * Results: a call that can fail answers a negative errno value; shmif_strerror() says what the
 * value means here, shmif_message() what this thread's last failed call tried, on what, and what to
 * do.
 *
 * Versions: structures begin with their size. Set it to sizeof; a library that knows more members
 * takes those that you do not have as 0, one that knows fewer leaves the rest alone.
 *
 * Threads: send on one port from any number of threads; receive and the wait calls from one at a
 * time; open, close, up and down of one port from one at a time, and not during a receive or a wait
 * of it. Different ports need no care. In the child of a fork every call on a port answers -EPERM.
 *
 * Signals: a handler may call shmif_interrupt(), and nothing else. A signal ends no wait by itself.
 * A process may end in a handler, also in the middle of a call.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header; shmif_version() is that of the library. */
#define SHMIF_HEADER_VERSION "0.1.0"

/** One attachment to a bus. */
typedef struct shmif_port shmif_port;  // NOLINT(modernize-use-using): C reads this too

/** How a bus is made; a member that is 0 means its default. */
struct shmif_bus_options {
  size_t size;         /**< sizeof this structure */
  uint64_t ring_bytes; /**< a power of two, 64 KiB to 1 GiB; default 4 MiB */
  uint32_t mtu;        /**< layer 3, 68 to 65521; default 1500 */
  uint32_t mode;       /**< permission bits of the file; default 0600 */
  /** How long senders wait for a port that reads nothing, in ns: 1 ms to 1 s; default 0: they do
   * not wait for slow ports at all, as on Ethernet. */
  uint64_t patience_ns;
};

/** Flags of shmif_port_options. */
enum {
  SHMIF_PROMISCUOUS = 1,   /**< hear also what is addressed to others */
  SHMIF_LEARN = 2,         /**< hear also what is addressed to MACs this port has sent from */
  SHMIF_START_OLDEST = 4,  /**< going up, begin with the oldest frame in the ring, not the next */
  SHMIF_RESUME_NEWEST = 8, /**< overrun, go on with the next frame, not the oldest in the ring */
  SHMIF_LOCK_MEMORY = 16   /**< mlock the mapping */
};

/** What a port is to be; a member that is 0 means its default. */
struct shmif_port_options {
  size_t size; /**< sizeof this structure */
  const char*
      name;       /**< 1 to 31 printable characters, unique on the bus; default the next "portN" */
  uint8_t mac[6]; /**< default random, b2:a0:xx:xx:xx:xx */
  uint32_t flags; /**< of SHMIF_PROMISCUOUS and the others */
};

/** What a receive says about its frame. */
struct shmif_frame_info {
  size_t size;        /**< sizeof this structure, set by the caller */
  uint32_t bytes;     /**< the frame's true length, also when less was copied; 0: no frame */
  uint32_t truncated; /**< 1: the buffer was too small, the rest of the frame is gone */
  uint64_t time_ns;   /**< wall clock when it was sent, since the epoch */
  uint64_t number;    /**< the bus's number of the frame */
  uint64_t lost;      /**< frames that an overrun cost since the last receive */
  uint32_t sender;    /**< slot of the sending port */
};

/** What a port has done since it was opened. Frames that passed = rx + own + filtered + skipped +
 * lost. */
struct shmif_counters {
  size_t size; /**< sizeof this structure, set by the caller */
  uint64_t tx_frames, tx_bytes;
  uint64_t rx_frames, rx_bytes;
  uint64_t own_frames;      /**< passed by: sent by this port */
  uint64_t filtered_frames; /**< passed by: addressed to somebody else */
  uint64_t skipped_frames;  /**< passed by while the port was down */
  uint64_t overruns, lost_frames, lost_bytes;
  uint64_t corrupt; /**< times the shared memory did not hold what it should */
  /* Of a later version; who was compiled without them says so by `size`. */
  uint64_t wakeups;     /**< times it slept and was rung */
  uint64_t doorbells;   /**< times it rang, once for a batch however many it woke */
  uint64_t lock_sleeps; /**< cooldowns spent waiting for the lock */
  uint64_t pauses;      /**< times it waited for slow ports, on a bus with patience */
  uint64_t paused_ns;   /**< how long, altogether */
  /** Frames as a wire would carry them: a super-frame counts as the segments that it stands for. */
  uint64_t tx_segments, rx_segments;
  uint64_t too_long_frames; /**< not sent, since the bus carries none so long */
  uint64_t refused_frames;  /**< not sent, since they were too short */
};

/**
 * Makes the bus `path`, complete before it has a name. `options` may be NULL.
 * Threads: safe. Blocks: while the disk space is reserved.
 * Result: 0; -EEXIST, -EINVAL (size or MTU), -ENOSPC, -EOPNOTSUPP (a file system on which processes
 * would see different data), or another errno of the system.
 */
int shmif_create(const char* path, const struct shmif_bus_options* options);

/**
 * Removes the bus `path`. `force` other than 0: also while live ports are attached, and a bus that
 * is damaged or of another version.
 * Threads: safe. Blocks: never.
 * Result: 0; -EBUSY (live ports are attached), -ENOENT, -EINVAL (not a bus), or another errno of
 * the system.
 */
int shmif_destroy(const char* path, int force);

/**
 * Puts a new port, still down, on the bus `path`. `options` may be NULL.
 * Threads: safe. Blocks: while the ring's pages are prefaulted (about 1 ms for 4 MiB).
 * Result: 0, and *port to give to shmif_close(); -ENOENT (no such file), -EINVAL (not a bus, not of
 * this version, or a bad option), -EAGAIN (not ready: its creator has not finished), -EEXIST (name
 * or MAC taken), -ENOSPC (no free slot), or another errno of the system; then *port is NULL.
 */
int shmif_open(const char* path, const struct shmif_port_options* options, shmif_port** port);

/**
 * As shmif_open(), and makes the bus first where there is none, as `bus` says, which may be NULL. A
 * size or an MTU that is not 0 there is asked of an existing bus, too. In a sticky directory that
 * everybody may write to, such as /dev/shm, a bus of another user than the caller and the
 * directory's owner is refused, and so is a file with more than one name where others may write to
 * the directory. The path is opened once, so nobody can exchange the bus between its
 * making and the port.
 * Threads: safe. Blocks: as shmif_create() and shmif_open(); while another process makes the bus,
 * at most 10 s. Result: as shmif_create() and shmif_open(), but for -EEXIST, which means name or
 * MAC; -EINVAL (another size or MTU than the bus has), -EACCES (another user's bus); then *port is
 * NULL.
 */
int shmif_open_or_create(const char* path, const struct shmif_bus_options* bus,
                         const struct shmif_port_options* options, shmif_port** port);

/**
 * Takes the port off its bus and frees it. NULL is allowed. Its counters, its name and its
 * descriptor are gone with it, and so are frames that were lent in place.
 * Threads: when no other thread uses the port. Blocks: never. Result: none.
 */
void shmif_close(shmif_port* port);

/** Lets the port send, and hear from now on. Does nothing when up. Result: 0 or -errno. Blocks:
 * never. */
int shmif_up(shmif_port* port);

/** Ends sending and hearing, and a shmif_send() of another thread that waits for slow ports. Frames
 * received before are gone, but those that were lent in place stay until they are released. Result:
 * 0 or -errno. Blocks: for the bus's lock, while another thread sends. */
int shmif_down(shmif_port* port);

/**
 * Sends one frame, destination MAC first, without FCS.
 * Threads: safe. Blocks: for the bus's lock, which no holder can keep; on a bus with patience also
 * for slow ports, as long as its patience for those that read nothing.
 * Result: 0; -ENETDOWN (the port is down), -EINVAL (shorter than 14 bytes), -EMSGSIZE (longer than
 * MTU + 22), -ENOSPC (stopped writers hold the room), -EINTR (shmif_interrupt() ended a wait for
 * slow ports), -EIO (the bus is corrupt: shmifctl repair).
 */
int shmif_send(shmif_port* port, const void* frame, size_t bytes);

/**
 * Sends frames in order, one `iovec` each, with one lock hold and one doorbell per batch.
 * Threads: safe. Blocks: as shmif_send().
 * Result: how many were sent, from the front; when that is none and `count` is not 0, why, as
 * shmif_send().
 */
int shmif_send_batch(shmif_port* port, const struct iovec* frames, size_t count);

/**
 * As shmif_send_batch(), on a bus with patience, too, without waiting for slow ports.
 * Threads: safe. Blocks: for the lock only.
 * Result: how many were sent, from the front, 0 when there is no room now; why none could be, as
 * shmif_send().
 */
int shmif_try_send_batch(shmif_port* port, const struct iovec* frames, size_t count);

/**
 * Copies the next frame to `buffer`, as much as fits in `room`, and tells about it in `info` (may
 * be NULL). Threads: one at a time. Blocks: never. Result: bytes copied, at least 1; 0 when nothing
 * is there now; -EIO (the bus is corrupt).
 */
int shmif_receive(shmif_port* port, void* buffer, size_t room, struct shmif_frame_info* info);

/**
 * Receives up to `count` frames, each into a buffer of its own: frame i into buffers[i], as much as
 * fits, and what is said about it into the i-th of `infos`. That may be NULL; else it is an array
 * of `count` structures whose first has its size set, the size of each. `lost` is told with the
 * first frame. Give the same `count` each time, at least 32 for speed. Threads: one at a time.
 * Blocks: never. Result: how many frames; 0 when nothing is there now; -EIO (the bus is corrupt);
 * -EINVAL (no room).
 */
int shmif_receive_batch(shmif_port* port, const struct iovec* buffers,
                        struct shmif_frame_info* infos, size_t count);

/**
 * Receives up to `count` frames, 32 at most, without a copy: frames[i] says where the frame lies in
 * the bus. `infos` is as for shmif_receive_batch(). The frames are to be read only, until
 * shmif_release(), the next receive or wait of the port, or shmif_close(). Senders overwrite them
 * when they have gone once round the ring, even while they are read: what was made of them counts
 * only when shmif_release() has said so.
 * Threads: one at a time. Blocks: never. Result: as shmif_receive_batch().
 */
int shmif_receive_in_place(shmif_port* port, struct iovec* frames, struct shmif_frame_info* infos,
                           size_t count);

/**
 * Gives back what shmif_receive_in_place() lent.
 * Threads: one at a time. Blocks: never.
 * Result: how many of these frames, from the first on, were overwritten meanwhile and do not count:
 * they are lost. 0: all of them count.
 */
int shmif_release(shmif_port* port);

/**
 * Waits until a frame is there, at most `timeout_ms`; -1: without end.
 * Threads: one at a time. Blocks: that is what it is for.
 * Result: 1 a frame is there; 0 timeout, shmif_interrupt(), or the port is down.
 */
int shmif_wait(shmif_port* port, int timeout_ms);

/** Makes the shmif_wait() that is going on, or the next one, answer 0, and each send that is going
 * on end instead of waiting for slow ports. Threads: any, and signal handlers. Blocks: never.
 */
void shmif_interrupt(shmif_port* port);

/**
 * A descriptor for poll and epoll, readable when a frame may be there; the same while the port is
 * open. Around each sleep:
 *
 *     int at_most_ms;
 *     if (shmif_prepare_wait(port, &at_most_ms) == 0) poll(&entry, 1, at_most_ms);
 *     shmif_finish_wait(port);
 *     while (shmif_receive(port, ...) > 0) ...
 *
 * Threads: one at a time. Blocks: never. Result: the descriptor, which stays the library's; -errno
 * when none can be had (-EMFILE: a process has a bounded number of descriptors), then use
 * shmif_wait().
 */
int shmif_descriptor(shmif_port* port);

/** Announces a sleep. Result: 1 a frame is there, do not sleep; 0 sleep, at most *at_most_ms (-1:
 * without end). */
int shmif_prepare_wait(shmif_port* port, int* at_most_ms);

/** Ends what shmif_prepare_wait() began, whatever it answered. */
void shmif_finish_wait(shmif_port* port);

/** The port's MAC address. Threads: safe. Blocks: never. */
void shmif_mac(const shmif_port* port, uint8_t mac[6]);

/** Gives the port another MAC address, in force before the call returns. Threads: one at a time.
 * Blocks: never. Result: 0; -EINVAL (a group's address, or all zeros), -EEXIST (another port has
 * it), -EPERM (in the child of a fork). */
int shmif_set_mac(shmif_port* port, const uint8_t mac[6]);

/** Whether the port hears also what is addressed to others; in force before the call returns.
 * Threads: one at a time. Blocks: never. Result: 0 or -EPERM (in the child of a fork). */
int shmif_set_promiscuous(shmif_port* port, int on);

/** The port's name, as given, or as the bus chose it. Threads: safe. Blocks: never. Result: never
 * NULL; valid until shmif_close(). */
const char* shmif_name(const shmif_port* port);

/** The port's slot on the bus, which `sender` of shmif_frame_info names. Threads: safe. Blocks:
 * never. */
uint32_t shmif_slot(const shmif_port* port);

/** The MTU of the port's bus: bytes of a layer-3 packet. Threads: safe. Blocks: never. */
uint32_t shmif_mtu(const shmif_port* port);

/** The longest frame that the port sends or receives, in bytes: MTU + 22. Threads: safe. Blocks:
 * never. */
size_t shmif_max_frame_bytes(const shmif_port* port);

/** Fills in `counters`, as many as its size has room for. Threads: safe. Blocks: never. Result: 0
 * or -EINVAL. */
int shmif_get_counters(const shmif_port* port, struct shmif_counters* counters);

/**
 * Keeps the process alive when somebody truncates a bus that it has mapped: instead of SIGBUS, the
 * ports of that bus answer -EIO. Faults outside of any bus go to the handler that was there before.
 * Threads: safe. Blocks: never. Result: 0 or -errno.
 */
int shmif_install_sigbus_guard(void);

/** The version of the library, as "0.1.0"; never NULL. Threads: safe. Blocks: never. */
const char* shmif_version(void);

/** What a negative result means here, in a few words; never NULL. Threads: safe. */
const char* shmif_strerror(int result);

/**
 * One line about the calling thread's last failed call: what was tried, on what, why it failed, and
 * what to do. "" when none has failed. Valid until this thread's next call that fails.
 */
const char* shmif_message(void);

#ifdef __cplusplus
}
#endif

#endif
