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
#define SHMIF_HEADER_VERSION "0.2.0"

/** A port: the attachment of a program to a bus, with a name and a MAC address. */
typedef struct shmif_port shmif_port;  // NOLINT(modernize-use-using): C reads this too

/** A reader of a bus that has no port on it; shmif_follow() makes it. */
typedef struct shmif_follower shmif_follower;  // NOLINT(modernize-use-using): C reads this too

/** How to create a bus; a member of 0 means its default. */
struct shmif_bus_options {
  size_t size;         /**< sizeof this structure */
  uint64_t ring_bytes; /**< a power of two, 64 KiB to 1 GiB; default 4 MiB */
  uint32_t mtu;        /**< layer 3, 68 to 65521; default 1500 */
  uint32_t mode;       /**< 0600 to 0777; the umask is ignored; default 0600 */
  /** The patience: how long senders wait for a port that has stopped reading, in ns: 1 ms to 1 s.
   * Default 0: they do not wait for slow ports at all, as on Ethernet. */
  uint64_t patience_ns;
  /** SHMIF_FORMAT_NETBSD: the bus of NetBSD's rump kernels, of which only the mode can be chosen.
   * Default 0: our own format. (For a bus that exists, shmif_open() finds out the format.) */
  uint32_t format;
};

/** Values of shmif_bus_options.format. */
enum shmif_format { SHMIF_FORMAT_SHMIF = 0, SHMIF_FORMAT_NETBSD = 1 };

/** Flags of shmif_port_options. */
enum shmif_port_flag {
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
  size_t size;              /**< sizeof this structure, set by the caller */
  uint64_t tx_frames,       /**< frames sent */
      tx_bytes;             /**< bytes of these frames, without FCS */
  uint64_t rx_frames,       /**< frames delivered to the program */
      rx_bytes;             /**< bytes of these frames, without FCS */
  uint64_t own_frames;      /**< not delivered: sent by this port */
  uint64_t filtered_frames; /**< not delivered: addressed to somebody else */
  uint64_t skipped_frames;  /**< not delivered: the port was down */
  uint64_t overruns,        /**< times that senders overwrote what it had not read */
      lost_frames,          /**< lost, most of them in overruns */
      lost_bytes;           /**< of the ring, record headers included */
  uint64_t corrupt;         /**< times the shared memory held invalid data */
  /* Added in a later version; programs compiled without them say so by `size`. */
  uint64_t wakeups;         /**< times it slept and was woken */
  uint64_t doorbells;       /**< times it woke others; a batch counts once, however many it woke */
  uint64_t lock_sleeps;     /**< sleeps while it waited for the lock */
  uint64_t pauses;          /**< times it waited for slow ports, on a bus with patience */
  uint64_t paused_ns;       /**< total time of these waits */
  uint64_t tx_segments,     /**< as tx_frames; an unsegmented TSO packet counts as its segments */
      rx_segments;          /**< as rx_frames, counted in the same way */
  uint64_t too_long_frames; /**< not sent: too long for the bus */
  uint64_t refused_frames;  /**< not sent: too short */
};

/** What shmif_inspect() tells of a bus. With NetBSD's format, which has no table of ports and does
 * not number its frames, created_ns, frames, ports and max_ports are 0. */
struct shmif_bus_info {
  size_t size;               /**< sizeof this structure, set by the caller */
  uint32_t format;           /**< SHMIF_FORMAT_SHMIF or SHMIF_FORMAT_NETBSD */
  uint32_t mtu;              /**< in bytes of layer 3 */
  uint64_t ring_bytes;       /**< size of the ring */
  uint64_t patience_ns;      /**< how long senders wait for a port; 0: they do not wait */
  uint64_t created_ns;       /**< wall-clock time, since the epoch */
  uint64_t frames;           /**< sent on the bus since it was created */
  uint64_t repairs;          /**< times that the bus was repaired */
  uint32_t ports;            /**< attached now, dead ones included */
  uint32_t max_ports;        /**< that can be attached at a time */
  uint32_t carries_offloads; /**< 1: ports may send super-frames and unfinished checksums */
};

/** Flags of shmif_port_info. */
enum shmif_port_state {
  SHMIF_PORT_LIVE = 1,           /**< its process runs; otherwise the port is dead */
  SHMIF_PORT_UP = 2,             /**< it sends and receives */
  SHMIF_PORT_CARRIER = 4,        /**< the network interface behind it, if any, is usable */
  SHMIF_PORT_CARRIER_KNOWN = 8,  /**< 0: its process cannot see that interface */
  SHMIF_PORT_PROMISCUOUS = 16,   /**< it receives the frames for all addresses */
  SHMIF_PORT_PAUSE = 32,         /**< senders wait for it */
  SHMIF_PORT_TAKES_CHANGES = 64, /**< its process answers shmif_change() */
  SHMIF_PORT_PARTITIONED = 128,  /**< a partition keeps it from hearing some others */
  SHMIF_PORT_LINE_COUNTED = 256  /**< the members line_... are known */
};

/** What shmif_list_ports() tells of a port. */
struct shmif_port_info {
  size_t size;          /**< sizeof this structure, set by the caller in the first of the array */
  uint32_t slot;        /**< as `sender` of shmif_frame_info */
  uint32_t incarnation; /**< which of the successive ports in this slot it is */
  int32_t pid;          /**< in the pid namespace of its own process */
  uint32_t flags;       /**< SHMIF_PORT_LIVE and the others, combined with | */
  char name[32];        /**< ends with '\0' */
  char kind[16];        /**< what it belongs to: "library", "tap", "bridge"...; ends with '\0' */
  uint8_t mac[6];       /**< its address; the byte that is sent first has index 0 */
  uint8_t reserved[2];  /**< 0 */
  /* What it has done since it was attached, as in shmif_counters. */
  uint64_t tx_frames,    /**< as in shmif_counters */
      tx_bytes,          /**< as in shmif_counters */
      rx_frames,         /**< as in shmif_counters */
      rx_bytes;          /**< as in shmif_counters */
  uint64_t own_frames,   /**< as in shmif_counters */
      filtered_frames,   /**< as in shmif_counters */
      skipped_frames;    /**< as in shmif_counters */
  uint64_t overruns,     /**< as in shmif_counters */
      lost_frames,       /**< as in shmif_counters */
      corrupt;           /**< as in shmif_counters */
  uint64_t unread_bytes; /**< of the ring, that it still has to look at; 0 while it is down */
  /* What became of frames on its line, up to a second ago, if SHMIF_PORT_LINE_COUNTED. */
  uint64_t line_dropped_in;  /**< by faults, a link that was down or a partition, to its host */
  uint64_t line_dropped_out; /**< by faults or a link that was down, from its host */
  uint64_t line_waiting;     /**< now, for a delay or a bottleneck */
};

/**
 * Creates the bus `path`. It appears under its name only when it is complete. `options` may be
 * NULL.
 * Threads: safe. Blocks: while the disk space is reserved.
 * Result: 0; -EEXIST, -EINVAL (size, MTU, mode or format), -ENOSPC, -EOPNOTSUPP (a file
 * system on which processes would see different data), or another errno of the system.
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
 * Looks at the bus `path` and fills in as many members of `info` as its size has room for. It needs
 * only read permission, and does not disturb the bus.
 * Threads: safe. Blocks: never.
 * Result: 0; -ENOENT (no such file), -EINVAL (not a bus, not of this version, or info->size is 0),
 * -EAGAIN (the bus is not ready), or another errno of the system.
 */
int shmif_inspect(const char* path, struct shmif_bus_info* info);

/**
 * Lists the ports of the bus `path`: the first `count` of them in the array `ports`, of which you
 * set `size` in the first structure for all of them. With a `count` of 0, `ports` may be NULL.
 * Threads: safe. Blocks: never.
 * Result: how many ports there are, also if that is more than `count`; -EOPNOTSUPP (a bus of
 * NetBSD's format has no table of ports); or as shmif_inspect().
 */
int shmif_list_ports(const char* path, struct shmif_port_info* ports, size_t count);

/**
 * Frees what dead ports of the bus `path` hold, and rebuilds the ring if it is damaged. It keeps
 * each frame that is still provably whole. With a `force` other than 0, it also repairs a bus of
 * which little is left, and, on a bus of NetBSD's format, frees a lock whose holder may live.
 * Threads: safe. Blocks: while it reads the ring. Result: 0; -EINVAL (too little is left of the
 * bus: the message says what can help), -ENOENT, or another errno of the system.
 */
int shmif_repair(const char* path, int force);

/**
 * Asks for a change on the bus `path` while it runs, and waits until the change is in effect. The
 * process that owns the port makes the change: a host of `shmifctl exec`, `tap`, `bridge` and
 * others (SHMIF_PORT_TAKES_CHANGES), but not a port of shmif_open(). `change` is one of:
 *
 *     "fault SPEC"            faults on the line of the port, such as "fault loss=5%,delay=10ms"
 *     "fault none"            no faults
 *     "link down", "link up"  takes the carrier away from the host, or gives it back
 *     "partition a,b / c,d"   ports of different groups do not hear each other
 *     "heal"                  ends the partition
 *     "move PATH"             the port joins another bus
 *
 * `port` is the name of the port, or NULL: for a partition and its end, all ports that they
 * concern. docs/changes.md says what each change does. `answer` gets a sentence that says what
 * holds now, cut to `room` bytes with its '\0'; it may be NULL.
 * Threads: any. Blocks: for at most twice `timeout_ms` for each port that is asked. A move then
 * waits for at most `timeout_ms` until the port takes changes on its new bus.
 * Result: 0; -EINVAL (not a change), -ENODEV (no such port), -EOPNOTSUPP (its process takes no
 * changes, or NetBSD's format), -ESRCH (its process has ended), -ETIMEDOUT (it does not answer),
 * -ECANCELED (it refused), or as shmif_inspect(). The message has the reason.
 */
int shmif_change(const char* path, const char* port, const char* change, int timeout_ms,
                 char* answer, size_t room);

/**
 * Says what is unusual on the line of a port now, such as "link down, fault loss=5%"; "" if nothing
 * is. `text` gets it, cut to `room` bytes with its '\0'.
 * Threads: safe. Blocks: never.
 * Result: how many bytes the whole text has, without its '\0'; -ENODEV (no such port, or NetBSD's
 * format), or as shmif_inspect().
 */
int shmif_line(const char* path, const char* port, char* text, size_t room);

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
 * Sends one frame, destination MAC first, without FCS. Its bytes must not change meanwhile.
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
 * and one wakeup of sleeping ports, however many frames it has. The bytes must not change
 * meanwhile: send no frames that were lent, but copies of them.
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
 * the sleeps that it really takes (docs/lab/measurements.md).
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

/**
 * Sets faults on the line of the port, for frames that it sends or receives from now on: such as
 * "loss=1%,delay=5ms" for both ways, "in:loss=1%;out:delay=5ms" for each; "none" for no faults.
 * The texts are those of `shmifctl exec --fault` (docs/changes.md). The same seed gives the same
 * faults.
 *
 * From the first call on, only one thread at a time may use the port, even to send. Frames that
 * wait for a delay or a rate go on during the calls of this port: so wait for frames with
 * shmif_wait(), or with shmif_descriptor() and the calls around a sleep. shmif_fd() is not
 * available. shmif_down() loses the frames that wait. Super-frames meet the faults as segments.
 * Only this port has the faults: shmif_line() and shmif_change() know nothing of them.
 * Blocks: for the disk, when a `match` first needs libpcap.
 * Result: 0; -EINVAL (the message says what is wrong with the text), -EBUSY (the first call must
 * come before shmif_fd() and shmif_descriptor()), -EMFILE.
 */
int shmif_set_faults(shmif_port* port, const char* faults);

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

/** How many frames were sent on the port's bus so far: each of them has a smaller `number` in its
 * shmif_frame_info. So a program that is told to end can first receive what was sent before. 0 if
 * the bus is lost. Threads: safe. Blocks: never. */
uint64_t shmif_bus_frames(const shmif_port* port);

/** Fills in as many members of `counters` as its size has room for. Threads: safe. Blocks: never.
 * Result: 0 or -EINVAL. */
int shmif_get_counters(const shmif_port* port, struct shmif_counters* counters);

/**
 * Starts to read the bus `path` without a port on it, so read permission on the file is enough. The
 * follower receives the frames of all ports for all addresses, from the next one that is sent; with
 * SHMIF_START_OLDEST, from the oldest in the ring. SHMIF_RESUME_NEWEST is as for a port; `flags`
 * has no others. Senders never wait for a follower, even on a bus with patience, so it can lose
 * frames on every bus (`lost` of shmif_frame_info). It also reads a copy of a bus.
 * Threads: different followers are independent; each call on one of them, one at a time. Blocks:
 * never.
 * Result: 0, and *follower, to be freed by shmif_unfollow(); -EACCES (no read permission), -EINVAL
 * (not a bus, not of this version, or another flag), or as shmif_inspect(); then *follower is NULL.
 */
int shmif_follow(const char* path, uint32_t flags, shmif_follower** follower);

/** Ends and frees a follower; NULL is allowed. Blocks: never. */
void shmif_unfollow(shmif_follower* follower);

/** Copies the next frame to `buffer`, as shmif_receive() does. Blocks: never. Result: as
 * shmif_receive(). */
int shmif_follower_receive(shmif_follower* follower, void* buffer, size_t room,
                           struct shmif_frame_info* info);

/** Waits until a frame is there, at most `timeout_ms`; -1: without limit. A follower cannot tell
 * senders that it sleeps, so it looks for frames every 1 to 50 ms. Result: 1: a frame is there;
 * 0: timeout, or a signal. */
int shmif_follower_wait(shmif_follower* follower, int timeout_ms);

/** A descriptor for poll and epoll: a timer, readable when it is time to look for frames. Around
 * each sleep, use the two calls below as shmif_prepare_wait() and shmif_finish_wait() with
 * shmif_descriptor(). Blocks: never. Result: the descriptor, which the library owns; -errno if
 * no descriptor is available. */
int shmif_follower_descriptor(shmif_follower* follower);

/** Announces a sleep. Blocks: never. Result: as shmif_prepare_wait(), but a sleep has a limit of 1
 * to 50 ms. */
int shmif_follower_prepare_wait(shmif_follower* follower, int* at_most_ms);

/** Ends what shmif_follower_prepare_wait() began, whatever it returned. Blocks: never. */
void shmif_follower_finish_wait(shmif_follower* follower);

/** The longest frame that the follower receives, in bytes: MTU + 22. Blocks: never. */
size_t shmif_follower_max_frame_bytes(const shmif_follower* follower);

/** Fills in as many members of `counters` as its size has room for, those of sending with 0.
 * Blocks: never. Result: 0 or -EINVAL. */
int shmif_follower_get_counters(const shmif_follower* follower, struct shmif_counters* counters);

/**
 * Keeps the process alive when somebody truncates a bus that it has mapped: instead of SIGBUS, the
 * ports of that bus return -EIO. Faults outside of any bus go to the previous handler.
 * Threads: safe. Blocks: never. Result: 0 or -errno.
 */
int shmif_install_sigbus_guard(void);

/** The version of the library, such as "0.2.0"; never NULL. Threads: safe. Blocks: never. */
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
