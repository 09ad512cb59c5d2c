#ifndef SHMIF_SHMIF_H
#define SHMIF_SHMIF_H
/*
 * The library for C programs: create a bus, attach a port to it, send and receive Ethernet frames.
 *
 *     struct shmif_port_options options = {.size = sizeof options, .name = "rig"};
 *     shmif_port* port = NULL;
 *     if (shmif_create("/dev/shm/bus0", NULL) < 0) errx(1, "%s", shmif_message());
 *     if (shmif_open("/dev/shm/bus0", &options, &port) < 0) errx(1, "%s", shmif_message());
 *     shmif_up(port);
 *     shmif_send(port, frame, frame_bytes);
 *     shmif_close(port);
 *
 * Results: a call that can fail returns a negative errno value. shmif_strerror() says what the
 * value means here; shmif_message() says what this thread's last failed call tried, on what, and
 * what to do.
 *
 * Versions: structures begin with their size. Set it to sizeof. If the library is newer than your
 * program, it treats members that your structure lacks as 0. If it is older, it neither reads nor
 * writes members that it does not know.
 *
 * Threads: any number of threads may send on one port. One thread at a time may receive or wait on
 * it. One thread at a time may bring it up or down, and only while no other thread receives or
 * waits: shmif_down() drops frames that the library has fetched for shmif_receive(). To end another
 * thread's wait first, call shmif_interrupt(). (Port::down() in C++ has no such frames to drop, and
 * may be called meanwhile.) A port may be closed only when no other thread uses it. Different ports
 * are independent. In the child of a fork, every call on a port returns -EPERM.
 *
 * Signals: a handler may call shmif_interrupt() and nothing else. A signal alone does not end a
 * wait. A process may exit in a handler, even in the middle of a call.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header; shmif_version() returns the library's. */
#define SHMIF_HEADER_VERSION "0.1.0"

/** A port: the attachment of a program to a bus, with a name and a MAC address. */
typedef struct shmif_port shmif_port;  // NOLINT(modernize-use-using): C reads this too

/** How to create a bus; a member of 0 means its default. */
struct shmif_bus_options {
  size_t size;         /**< sizeof this structure */
  uint64_t ring_bytes; /**< a power of two, 64 KiB to 1 GiB; default 4 MiB */
  uint32_t mtu;        /**< layer 3, 68 to 65521; default 1500 */
  uint32_t mode;       /**< file mode; the umask is ignored; default 0600 */
  /** The patience: how long senders wait for a port that has stopped reading, in ns: 1 ms to 1 s.
   * Default 0: they do not wait for slow ports at all, as on Ethernet. */
  uint64_t patience_ns;
  /** SHMIF_FORMAT_NETBSD: the bus of NetBSD's rump kernels, of which only the mode can be chosen.
   * Default 0: our own format. (For a bus that exists, shmif_open() finds out the format.) */
  uint32_t format;
};

/** Values of shmif_bus_options.format. */
enum { SHMIF_FORMAT_SHMIF = 0, SHMIF_FORMAT_NETBSD = 1 };

/** Flags of shmif_port_options. */
enum {
  /** Also receive frames addressed to others. */
  SHMIF_PROMISCUOUS = 1,
  /** Also receive frames addressed to any MAC that this port has used as a source. */
  SHMIF_LEARN = 2,
  /** When the port goes up, begin with the oldest frame in the ring, not with the next frame that
   * is sent. */
  SHMIF_START_OLDEST = 4,
  /** After an overrun (senders overwrote frames that the port had not read), continue with the next
   * frame that is sent, not with the oldest in the ring. */
  SHMIF_RESUME_NEWEST = 8,
  /** mlock the mapping. */
  SHMIF_LOCK_MEMORY = 16
};

/** How to make a port; a member of 0 means its default. */
struct shmif_port_options {
  size_t size; /**< sizeof this structure */
  const char*
      name;       /**< 1 to 31 printable characters, unique on the bus; default the next "portN" */
  uint8_t mac[6]; /**< default random, b2:a0:xx:xx:xx:xx */
  uint32_t flags; /**< SHMIF_PROMISCUOUS and the others, combined with | */
};

/** What a receive reports about its frame. */
struct shmif_frame_info {
  size_t size;        /**< sizeof this structure, set by the caller */
  uint32_t bytes;     /**< the frame's true length, even if less was copied; 0: no frame */
  uint32_t truncated; /**< 1: the buffer was too small, the rest of the frame is gone */
  uint64_t time_ns;   /**< wall-clock time when it was sent, since the epoch */
  /** The frame's number on the bus; with NetBSD's format, this port's own count. */
  uint64_t number;
  /** Frames lost to overruns since the last receive; with NetBSD's format, overruns. */
  uint64_t lost;
  uint32_t sender; /**< slot of the sending port; 0xffff: the bus has NetBSD's format */
};

/** What a port has done since it was opened. The frames on the bus pass the port in order. Each
 * frame that has passed it is counted in exactly one of rx_frames, own_frames, filtered_frames,
 * skipped_frames and lost_frames. A bus of NetBSD's format does not number its frames: there,
 * lost_frames counts one for each overrun, and is a lower bound. */
struct shmif_counters {
  size_t size; /**< sizeof this structure, set by the caller */
  uint64_t tx_frames, tx_bytes;
  uint64_t rx_frames, rx_bytes;
  uint64_t own_frames;      /**< not delivered: sent by this port */
  uint64_t filtered_frames; /**< not delivered: addressed to somebody else */
  uint64_t skipped_frames;  /**< not delivered: the port was down */
  uint64_t overruns, lost_frames, lost_bytes;
  uint64_t corrupt; /**< times the shared memory held invalid data */
  /* Added in a later version; programs compiled without them say so by `size`. */
  uint64_t wakeups;     /**< times it slept and was woken */
  uint64_t doorbells;   /**< times it woke others; a batch counts once, however many it woke */
  uint64_t lock_sleeps; /**< sleeps while it waited for the lock */
  uint64_t pauses;      /**< times it waited for slow ports, on a bus with patience */
  uint64_t paused_ns;   /**< total time of these waits */
  /** As tx_frames and rx_frames, but a super-frame (an unsegmented TSO packet) counts as the number
   * of its segments. */
  uint64_t tx_segments, rx_segments;
  uint64_t too_long_frames; /**< not sent: too long for the bus */
  uint64_t refused_frames;  /**< not sent: too short */
};

/**
 * Creates the bus `path`. It appears under its name only when it is complete. `options` may be
 * NULL.
 * Threads: safe. Blocks: while the disk space is reserved.
 * Result: 0; -EEXIST, -EINVAL (size, MTU or format), -ENOSPC, -EOPNOTSUPP (a file system on which
 * processes would see different data), or another errno of the system.
 */
int shmif_create(const char* path, const struct shmif_bus_options* options);

/**
 * Removes the bus `path`. With a `force` other than 0, it also does so while live ports are
 * attached, and if the bus is damaged or of another version.
 * Threads: safe. Blocks: never.
 * Result: 0; -EBUSY (live ports are attached), -EOPNOTSUPP (NetBSD's format does not tell whether
 * ports are attached), -ENOENT, -EINVAL (not a bus), or another errno of the system.
 */
int shmif_destroy(const char* path, int force);

/**
 * Attaches a new port to the bus `path`. The port is still down. `options` may be NULL.
 * Threads: safe. Blocks: while the ring's pages are prefaulted (about 1 ms for 4 MiB); on a bus of
 * NetBSD's format, for at most a second if somebody holds the lock.
 * Result: 0, and *port, to be freed by shmif_close(); -ENOENT (no such file), -EINVAL (not a bus,
 * not of this version, or a bad option), -EAGAIN (the file is empty, or shmif_open_or_create() has
 * not finished filling a file that it found empty), -EEXIST (name or MAC taken), -ENOSPC (no free
 * slot), -EBUSY (on a bus of NetBSD's format, somebody has held the lock for a second), or another
 * errno of the system; then *port is NULL.
 */
int shmif_open(const char* path, const struct shmif_port_options* options, shmif_port** port);

/**
 * As shmif_open(), but first creates the bus if it does not exist. `bus` has the options of a new
 * bus and may be NULL. If the bus exists, its ring size, MTU and format must equal
 * `bus->ring_bytes`, `bus->mtu` and `bus->format`; a member that is 0 is not compared. In a sticky
 * directory that everybody may write to, such as /dev/shm, the call refuses a bus that belongs
 * neither to the caller nor to the directory's owner. It also refuses a file with more than one
 * name if others may write to the directory. The path is opened once, so nobody can exchange the
 * bus before the port is attached.
 * Threads: safe. Blocks: as shmif_create() and shmif_open(); while another process creates the bus,
 * at most 10 s.
 * Result: as shmif_create() and shmif_open(), with these differences. -EEXIST means only that the
 * name or the MAC is taken. -EINVAL also means that the bus has another size, MTU or format.
 * -EACCES also means that the call refuses the bus, as said above. After an error *port is NULL.
 */
int shmif_open_or_create(const char* path, const struct shmif_bus_options* bus,
                         const struct shmif_port_options* options, shmif_port** port);

/**
 * Detaches the port from its bus and frees it. NULL is allowed. Its counters, its name, its
 * descriptor and the frames that shmif_receive_in_place() lent become invalid.
 * Threads: only when no other thread uses the port. Blocks: never. Result: none.
 */
void shmif_close(shmif_port* port);

/** Lets the port send and receive. It receives the frames sent from now on, and with
 * SHMIF_START_OLDEST also those still in the ring that it has not received yet. Does nothing when
 * up. Result: 0 or -errno. Blocks: never. */
int shmif_up(shmif_port* port);

/** Stops sending and receiving, and ends another thread's shmif_send() that waits for slow ports.
 * Frames not yet fetched by a receive are dropped, but the frames that shmif_receive_in_place()
 * lent stay until they are released. Result: 0 or -errno. Blocks: for the bus's lock, while another
 * thread sends. */
int shmif_down(shmif_port* port);

/**
 * Sends one frame, destination MAC first, without FCS.
 * Threads: safe. Blocks: for the bus's lock; if the holder of the lock stalls, the call takes the
 * lock from it. On a bus with patience also for slow ports. All ports that have stopped reading
 * together delay the call by the patience at most.
 * Result: 0; -ENETDOWN (the port is down), -EINVAL (shorter than 14 bytes), -EMSGSIZE (longer than
 * MTU + 22), -ENOSPC (senders that were stopped in the middle of a send leave no room in the ring
 * for the frame), -EINTR (shmif_interrupt() ended a wait for slow ports), -EIO (the bus is corrupt:
 * run shmifctl repair), -EBUSY (on a bus of NetBSD's format, somebody has held the lock for a
 * second).
 */
int shmif_send(shmif_port* port, const void* frame, size_t bytes);

/**
 * Sends frames in order, one `iovec` each, in batches. Each batch costs one hold of the bus's lock
 * and one wakeup of sleeping ports, however many frames it has.
 * Threads: safe. Blocks: as shmif_send().
 * Result: how many were sent, from the front; if no frame was sent and `count` is not 0, an error
 * as from shmif_send().
 */
int shmif_send_batch(shmif_port* port, const struct iovec* frames, size_t count);

/**
 * As shmif_send_batch(), but never waits for slow ports, even on a bus with patience.
 * Threads: safe. Blocks: for the lock only.
 * Result: how many were sent, from the front; 0 when there is no room now; if no frame could be
 * sent for another reason, an error as from shmif_send().
 */
int shmif_try_send_batch(shmif_port* port, const struct iovec* frames, size_t count);

/**
 * Copies the next frame to `buffer`, at most `room` bytes, and describes it in `info` (may be
 * NULL). Threads: one at a time. Blocks: never. Result: bytes copied, at least 1; 0 when no frame
 * is there now; -EIO (the bus is corrupt), -EBUSY (on a bus of NetBSD's format, somebody has held
 * the lock for a second).
 */
int shmif_receive(shmif_port* port, void* buffer, size_t room, struct shmif_frame_info* info);

/**
 * Receives up to `count` frames, each into a buffer of its own: frame i into buffers[i], as much as
 * fits, with its description in the i-th of `infos`. `infos` may be NULL; otherwise it is an array
 * of `count` structures, and you set `size` in the first one for all of them. The first frame's
 * description reports `lost`. The call is fastest if `count` is the same each time, and 32 or a
 * multiple of 32. Threads: one at a time. Blocks: never. Result: how many frames; 0 when no frame
 * is there now; -EIO (the bus is corrupt); -EBUSY (as shmif_receive()); -EINVAL (a buffer has no
 * room).
 */
int shmif_receive_batch(shmif_port* port, const struct iovec* buffers,
                        struct shmif_frame_info* infos, size_t count);

/**
 * Receives up to `count` frames, at most 32, without a copy: frames[i] says where the frame lies in
 * the bus. `infos` is as for shmif_receive_batch(). You may read the frames, but not write to them,
 * until shmif_release(), the next receive or wait on the port, or shmif_close(). Senders that have
 * gone once round the ring overwrite them, even while you read them. So use what you computed from
 * them only after shmif_release() has said that they are whole.
 * Threads: one at a time. Blocks: never. Result: as shmif_receive_batch().
 */
int shmif_receive_in_place(shmif_port* port, struct iovec* frames, struct shmif_frame_info* infos,
                           size_t count);

/**
 * Gives back the frames that shmif_receive_in_place() lent.
 * Threads: one at a time. Blocks: never.
 * Result: N: the first N of these frames were overwritten and must not be used; the others are
 * whole. 0: all are whole.
 */
int shmif_release(shmif_port* port);

/**
 * Waits until a frame is there, at most `timeout_ms`; -1: without limit.
 * Threads: one at a time. Blocks: that is its purpose.
 * Result: 1: a frame is there; 0: timeout, shmif_interrupt(), or the port is down.
 */
int shmif_wait(shmif_port* port, int timeout_ms);

/** Makes the current shmif_wait(), or else the next one, return 0, and makes each current send end
 * instead of waiting for slow ports. Threads: any, and signal handlers. Blocks: never.
 */
void shmif_interrupt(shmif_port* port);

/**
 * One descriptor for any event loop (epoll, libuv, asyncio, GLib, QEMU), level-triggered: it is
 * readable while frames wait for the program, and quiet otherwise. No call is needed before a
 * sleep:
 *
 *     int fd = shmif_fd(port);
 *     ... the loop calls this when fd is readable:
 *     bytes = shmif_receive(port, buffer, sizeof buffer, NULL);
 *
 * It does not matter how many of the frames the program takes each time. The descriptor is also
 * readable if a receive would return an error, but only 50 ms after the last error, and after
 * shmif_interrupt() while the port is up. Rarely it is readable although a receive returns 0; that
 * call makes it quiet. After shmif_receive_in_place() it does not show further frames until
 * shmif_release(). It stays the same while the port is open, also while the port is down. Do not
 * read from it.
 *
 * The first call starts a thread, which sleeps while the bus is quiet. shmif_descriptor() needs no
 * thread. A program that uses it is woken less often while it is busy, because it announces only
 * the sleeps that it really takes (docs/measurements.md).
 * Threads: one at a time. Blocks: never. Result: the descriptor, which the library owns; -errno if
 * no descriptor can be made (-EMFILE: the process has reached its limit of descriptors; -EAGAIN:
 * its limit of threads).
 */
int shmif_fd(shmif_port* port);

/**
 * A descriptor for poll and epoll, readable when a frame may be there. It stays the same while the
 * port is open. Around each sleep:
 *
 *     int at_most_ms;
 *     if (shmif_prepare_wait(port, &at_most_ms) == 0) poll(&entry, 1, at_most_ms);
 *     shmif_finish_wait(port);
 *     while (shmif_receive(port, ...) > 0) ...
 *
 * Threads: one at a time. Blocks: never. Result: the descriptor, which the library owns; -errno if
 * no descriptor is available (-EMFILE: the process has reached its limit of descriptors). Then use
 * shmif_wait().
 */
int shmif_descriptor(shmif_port* port);

/** Announces a sleep. Result: 1: a frame is there, do not sleep; 0: sleep, at most *at_most_ms (-1:
 * without limit). */
int shmif_prepare_wait(shmif_port* port, int* at_most_ms);

/** Ends what shmif_prepare_wait() began, whatever it returned. */
void shmif_finish_wait(shmif_port* port);

/** The port's MAC address. Threads: safe. Blocks: never. */
void shmif_mac(const shmif_port* port, uint8_t mac[6]);

/** Gives the port another MAC address, which takes effect before the call returns. Threads: safe.
 * Blocks: never. Result: 0; -EINVAL (a group address, or all zeros), -EEXIST (another port has it),
 * -EPERM (in the child of a fork). */
int shmif_set_mac(shmif_port* port, const uint8_t mac[6]);

/** Sets whether the port also receives frames addressed to others; takes effect before the call
 * returns. Threads: safe. Blocks: never. Result: 0 or -EPERM (in the child of a fork). */
int shmif_set_promiscuous(shmif_port* port, int on);

/** The port's name, as given or as the bus chose it. Threads: safe. Blocks: never. Result: never
 * NULL; valid until shmif_close(). */
const char* shmif_name(const shmif_port* port);

/** The port's slot on the bus, as in `sender` of shmif_frame_info. Threads: safe. Blocks:
 * never. */
uint32_t shmif_slot(const shmif_port* port);

/** The MTU of the port's bus: bytes of a layer-3 packet. Threads: safe. Blocks: never. */
uint32_t shmif_mtu(const shmif_port* port);

/** The longest frame that the port sends or receives, in bytes: MTU + 22. Threads: safe. Blocks:
 * never. */
size_t shmif_max_frame_bytes(const shmif_port* port);

/** Fills in as many members of `counters` as its size has room for. Threads: safe. Blocks: never.
 * Result: 0 or -EINVAL. */
int shmif_get_counters(const shmif_port* port, struct shmif_counters* counters);

/**
 * Keeps the process alive when somebody truncates a bus that it has mapped: instead of SIGBUS, the
 * ports of that bus return -EIO. Faults outside of any bus go to the previous handler.
 * Threads: safe. Blocks: never. Result: 0 or -errno.
 */
int shmif_install_sigbus_guard(void);

/** The version of the library, such as "0.1.0"; never NULL. Threads: safe. Blocks: never. */
const char* shmif_version(void);

/** What a negative result means here, in a few words; never NULL. Threads: safe. */
const char* shmif_strerror(int result);

/**
 * One line about the calling thread's last failed call: what was tried, on what, why it failed, and
 * what to do. "" if no call has failed. Valid until this thread's next call that fails.
 */
const char* shmif_message(void);

#ifdef __cplusplus
}
#endif

#endif
