#pragma once
// Port: the attachment of a program to a bus. A Link. bus/port_options.hpp explains PortOptions;
// bus/frame.hpp explains FrameView, FrameBatch and the results of send, receive and prepare_wait.

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "bus/port_options.hpp"  // IWYU pragma: export
#include "shmif/bus.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

struct shmif_port;

namespace shmif {

/// A port is attached to a bus or detached. While attached, it is up or down: only a port that is
/// up sends and receives. It receives frames for its MAC address, broadcasts and multicasts. A
/// promiscuous port receives the frames for all addresses. With PortOptions::learn, a port also
/// receives frames for the addresses from which it has sent. No port receives its own frames.
/// Names: `link` in a name of this class, and `linked` in the name of an error, mean the attachment
/// to a bus. (Elsewhere a Link is anything that sends and receives frames.)
/// Moves: a move transfers the bus, the state, the counters, the descriptor, and the frames that
/// receive_in_place() lent. A port that was moved from may only be assigned to or destroyed. Do not
/// move a port while a Receiver, or a thread inside a call, uses it. Assigning to a port first
/// detaches it from its bus, as destroying does.
///
/// Threads: send from any number of threads; receive and the wait calls from one at a time; attach,
/// detach, up and down from one at a time. Do not attach or detach while another thread is inside a
/// call: first stop the Receiver, and call down(), which ends a send() that waits. Counters and
/// setters from any thread.
/// Fork: in the child, every call returns Errc::forked. The child may destroy its copy. If it needs
/// a port, it must create a new one. A daemon attaches after its last fork. Signals: interrupt() is
/// the only call of this class that a handler may make. A signal alone does not end a wait. A
/// handler may end the process with _exit(), even in the middle of a call. Memory: a call that is
/// not noexcept may throw std::bad_alloc; in that case it has changed nothing.
/// Formats: attach() finds out whether the bus is of our own format or of NetBSD's
/// (docs/netbsd.md), and logs once what the latter does not promise. There, a port has no slot;
/// frames are numbered as the port sees them, and name no sender; two ports can have the same name
/// or MAC address, and no call reports it; lost_frames counts one for each overrun.
class Port {
 public:
  /// Makes a detached port. attach() checks the options. If they have no MAC address, it is drawn
  /// here, and the port keeps it on every bus.
  explicit Port(PortOptions options = {});
  Port(Port&&) noexcept;             ///< see Moves above
  Port& operator=(Port&&) noexcept;  ///< see Moves above
  ~Port();                           ///< detaches, also while up

  /// Attaches to the bus at `path`. If a disk holds its file, logs a warning, once for each bus. In
  /// an empty file, and in one of 1 MiB with only zeros, it makes a bus of NetBSD's format first,
  /// as a rump kernel does. Errors: path_empty, path_too_long, already_linked (also when down),
  /// bad_argument for a MAC address that is not unicast, name_taken, mac_taken, table_full, and the
  /// errors of Bus::open. Blocks: while the ring's pages are prefaulted (1 ms for a ring of 4 MiB).
  /// If another port has the name or the MAC address, it also waits, for up to
  /// PortOptions::name_patience, until that port is gone.
  Result<void> attach(const std::string& path);
  /// Attaches to a bus that is already open, even if its path now leads to another file. For
  /// callers that have inspected or created a bus and mean exactly that one.
  Result<void> attach(const Bus& bus);
  /// Leaves the bus; does nothing when not attached. The counters are 0 while detached, and start
  /// from 0 on the next bus. The descriptor is closed, and lent frames must no longer be read. Stop
  /// a Receiver first: it must not run during this call. Errors: port_up, forked.
  [[nodiscard]] std::error_code detach() noexcept;

  /// What link() returns.
  struct LinkState {
    std::string path;  ///< as given to attach
    /// False if the path no longer names the mapped file. A relative path starts from the working
    /// directory at the time of attach().
    bool still_named;
  };
  /// The bus to which this port is attached. Errors: ENOENT if it is not attached to a bus (as in
  /// NetBSD's if_shmem.c, where every other call without a bus fails with ENXIO); forked.
  Result<LinkState> link() const;

  /// Errors: not_linked, forked. up() does nothing if the port is up, and down() if it is down.
  /// down() ends another thread's wait(), and its send() that waits for room; that send() returns
  /// port_down. When down() returns, no other thread is inside a call that sends, receives or waits
  /// for frames. You need not stop a Receiver first: it waits until the port is up again. Blocks:
  /// down() waits while another thread is inside send() of this port; that send() may be waiting
  /// for the bus's lock.
  [[nodiscard]] std::error_code up() noexcept;
  /// See up().
  [[nodiscard]] std::error_code down() noexcept;
  bool is_up() const noexcept;  ///< false when not attached; threads: any

  /// Sends frames in order, in batches. A batch has as many frames as fit in a quarter of the ring.
  /// Each batch takes the bus's lock once, and wakes each sleeping port that gets frames from it
  /// once.
  /// Errors: not_linked, port_down, bus_lost, frame_too_short, frame_too_long, forked, interrupted;
  ///   - no_room: several senders were suspended in the middle of a send(), and what they have
  ///     claimed of the ring leaves no room for the frame. Try again later: they free it when they
  ///     go on or end;
  ///   - corrupt: the shared memory holds wrong values. Try again after a repair;
  ///   - lock_held, on a bus of NetBSD's format: somebody has held its lock for a second. Unless
  ///     that process goes on, only a forced repair helps. receive() reports it, too;
  ///   - not_supported for an unfinished checksum or a super-frame when takes_offloads() is false;
  ///   - bad_argument for offload fields that make no sense.
  /// Blocks: for the lock; if the holder of the lock stalls, send() takes the lock from it
  /// (docs/theory-of-operation.md). On a bus with Flow::pause, send() also waits until slow ports
  /// have made room. For ports that go on reading it waits without a time limit. For ports that
  /// have stopped reading, all together, it waits for at most the bus's patience; then it overruns
  /// them, and does not wait for them again in the next nine times the patience. (A port has
  /// stopped reading if, while senders wait for it, it reads less than the next frame needs during
  /// the patience, or less than a 256th of the ring in ten times the patience.) down() and
  /// interrupt() end such a wait, and the remaining frames are not sent.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Sends one frame: `taken` is 1, or it is 0 and the error says why. It is a template so that
  /// `send({frames, count})` still selects the overload for a span.
  template <std::same_as<FrameView> Frame>
  [[nodiscard]] SendResult send(const Frame& frame) noexcept {
    return send(std::span<const FrameView>(&frame, 1));
  }
  /// As send(), but where send() would wait for a slow port, it takes fewer frames and returns no
  /// error. Blocks: for the lock only, even if another thread waits in send().
  SendResult try_send(std::span<const FrameView> frames) noexcept;
  /// How long send() would wait for a port that has stopped reading; 0 if senders do not wait.
  std::chrono::nanoseconds patience() const noexcept;
  /// Appends frames that have arrived to `into`, until `into` is full. Blocks: never.
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// As receive(), but without a copy: appends views of frames where they lie in the bus, in up to
  /// 32 records per call. The frames are lent until release(). Use it if you read only part of each
  /// frame. A sender that has gone once round the ring overwrites lent frames, even while you read
  /// them. So use what you computed from them only after release() has said that they were whole.
  /// On a bus with Flow::pause, senders first wait for release(), but not longer than the patience.
  /// Without PortOptions::take_offloads, frames with an unfinished checksum and super-frames are
  /// copied: the views show a frame with its checksum finished, or the segments of a super-frame.
  /// The segments of a super-frame come in a call of their own; those for which `into` has no room
  /// come with the next call. counters() includes lent frames only after their release. The next
  /// receive, wait() or prepare_wait() also releases them, but does not say which were whole. After
  /// down(), frames stay lent, but senders no longer wait for them. After up(), release()
  /// reports all of them as overwritten. After detach() the views are invalid. Threads: as
  /// receive(). Blocks: never.
  ReceiveResult receive_in_place(FrameBatch& into) noexcept;
  /// Gives back the frames that receive_in_place() lent. Result: N: the first N of these frames
  /// were overwritten and must not be used; the others are whole. 0: all are whole, or no frames
  /// were lent. After one of these events, release() reports all lent frames as overwritten, even
  /// whole ones: an overrun with Resume::newest (the port goes on with the next frame that is
  /// sent), a repair, a truncation of the file (Errc::bus_lost), up(). After a repair, and after
  /// up() with Start::oldest, the port may deliver the lent frames a second time. Threads: as
  /// receive(). Blocks: never.
  [[nodiscard]] std::size_t release() noexcept;
  /// Waits until receive() would return something, at most `timeout`. Result: false on timeout,
  /// after interrupt(), when down or not attached.
  bool wait(std::chrono::nanoseconds timeout) noexcept;
  /// Waits while the port is down, until up() or interrupt(). Result: whether it is up; false at
  /// once if the port is not attached or the bus is lost.
  bool wait_until_up() noexcept;
  /// Makes the current wait() or wait_until_up(), or else the next one, return false. Makes each
  /// current send() return Errc::interrupted instead of waiting for room. Threads: any, and signal
  /// handlers; wakes only this port.
  void interrupt() noexcept;

  /// For poll and epoll, see Link. The descriptor stays the same while attached. It is -1 when not
  /// attached, or if no descriptor is available; descriptor_error() gives the reason.
  int descriptor() noexcept;
  /// Why descriptor() has no descriptor, or needs a thread to wake it. No error if neither is so.
  /// Errors: not_linked.
  std::error_code descriptor_error() const noexcept;
  WaitHint prepare_wait() noexcept;  ///< as Link; `ready` when not attached
  void finish_wait() noexcept;       ///< as Link
  /// A descriptor for event loops that make no call before they sleep. It is level-triggered:
  /// readable while frames wait for receive(), and quiet otherwise. It is also readable if
  /// receive() would return an error, but only 50 ms after the last error, and after interrupt()
  /// while the port is up. Rarely it is readable although receive() returns no frame yet; that call
  /// makes it quiet. While lent frames (receive_in_place()) are not released, it does not show
  /// further frames. The first call starts a thread: while the program sleeps in its event loop,
  /// this thread looks at the ring now and then (docs/theory-of-operation.md). From then on you
  /// need not call prepare_wait() and finish_wait(), and a receive that empties the ring makes the
  /// system calls that they would make. The descriptor stays the same while attached, and is not
  /// descriptor() on kernels without futexes in io_uring. Do not read from it. Errors: not_linked,
  /// forked, and those of the system if no descriptor or thread can be made. Threads: as receive().
  /// Blocks: never.
  Result<int> level_descriptor();

  /// MTU of the bus + 22: an Ethernet header and two VLAN tags, no FCS. On a bus of NetBSD's
  /// format: 1514. When detached: the value for the largest MTU. Super-frames may be longer.
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "bus:PATH"

  std::string name() const;  ///< as given, or as chosen by the bus
  /// Its present address: the last of set_mac(), or that of the options, or the random one.
  MacAddress mac() const noexcept;
  /// Its row in the bus's port table; 0xffff if it has no row, or when not attached.
  unsigned slot() const noexcept;
  /// The MTU of the bus, in bytes of layer 3. Empty when not attached: the port itself has no MTU.
  std::optional<std::uint32_t> mtu() const noexcept;
  /// How many frames were sent on the bus so far: each of them has a smaller FrameView::number. So
  /// a loop that is told to end can first receive the frames that were sent before. 0 when not
  /// attached, or if the bus is corrupt or lost. Threads: as attach().
  std::uint64_t bus_frames() const noexcept;
  /// About sending: whether send() accepts unfinished checksums and super-frames. It does if the
  /// bus can carry them (BusOptions::carries_offloads). False when not attached.
  /// (PortOptions::take_offloads is about receiving: whether this port receives them as they are.)
  bool takes_offloads() const noexcept;
  /// Takes effect before the call returns, also while up. Blocks: as down(), while another thread
  /// is inside send(), because the addresses that the port has learned change, too. It does not
  /// wait for a send() that waits for room. Errors: bad_argument for an address that is not unicast
  /// (a group address, or all zeros), mac_taken.
  [[nodiscard]] std::error_code set_mac(MacAddress mac) noexcept;
  /// The port also receives frames for these addresses, as a network card does for its unicast
  /// list. They replace the addresses of the last call. An address that is no longer among them is
  /// forgotten, even if the port has learned it (PortOptions::learn); it is learned again when the
  /// port sends from it. With more than 16 addresses, including the learned ones, the port receives
  /// all frames. A newly attached port has no such addresses. Takes effect before the call returns.
  /// Blocks: as set_mac(). Errors: not_linked, forked, bad_argument for a group address.
  [[nodiscard]] std::error_code set_other_macs(std::span<const MacAddress> macs) noexcept;
  /// Whether the port also receives frames for other MAC addresses. The default is
  /// PortOptions::promiscuous, false. Takes effect before the call returns. Errors: forked.
  [[nodiscard]] std::error_code set_promiscuous(bool on) noexcept;
  /// Records in the port table whether the network interface behind this port is usable: up, with
  /// carrier. `stat` shows `no-carrier` if it is not. This is not the port's own up or down, and
  /// does not affect sending or receiving. A newly attached port has carrier. Errors: not_linked,
  /// forked.
  [[nodiscard]] std::error_code set_carrier(bool on) noexcept;
  /// Records the carrier as unknown, until the next set_carrier(): the interface is in a namespace
  /// into which this process may not look. `stat` shows `carrier?`. Errors: as set_carrier().
  [[nodiscard]] std::error_code set_carrier_unknown() noexcept;
  /// Whether there is carrier, as far as is known. Also false when not attached.
  bool has_carrier() const noexcept;
  /// What the port did since it was attached, including times when it was down; all 0 when not
  /// attached.
  PortCounters counters() const noexcept;

 private:
  friend class Receiver;
  friend struct ::shmif_port;  // the C facade, which keeps frames for its program
  /// As receive(), but the level-triggered descriptor stays as it is until settle().
  ReceiveResult receive_unsettled(FrameBatch& into) noexcept;
  void settle(bool holds_frames) noexcept;
  void interrupt_receiver() noexcept;  ///< as interrupt(), but does not end send()
  struct Impl;
  template <typename Attach>
  Result<void> link_to(const std::string& path, const Attach& attach_with);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<Port>);

/// Reads a bus without being one of its ports, so read permission on the file is enough. It
/// receives the frames of all ports for all addresses. Senders never wait for it, even with
/// Flow::pause, so it can lose frames on every bus. It cannot announce that it sleeps, so wait()
/// polls every 1 to 50 ms; a signal ends it. Threads: one at a time.
class Follower {
 public:
  /// Also opens a copy of a bus, and a bus on a file system where processes may see different data.
  /// In these two cases it logs a warning. `take_offloads`: as in PortOptions.
  static Result<Follower> open(const std::string& path, Start start, Resume resume = Resume::first,
                               bool take_offloads = false);
  Follower(Follower&&) noexcept;  ///< the other may then only be assigned to or destroyed
  Follower& operator=(Follower&&) noexcept;  ///< closes the bus that it read before
  ~Follower();

  /// As Port::receive(). Errors: corrupt, bus_lost, forked, lock_held.
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// Waits until receive() would return frames, at most `timeout`. Result: whether it would; false
  /// at once in the child of a fork, and when the bus is lost. A signal ends the wait.
  bool wait(std::chrono::nanoseconds timeout) noexcept;

  /// For poll and epoll; wait as Link says. The descriptor is a timer. prepare_wait() sets it to
  /// the time when the Follower should look for frames again, 1 to 50 ms later. So the caller may
  /// ignore `at_most`. It is -1 if no descriptor is available; then `at_most` alone says how long
  /// to sleep. Blocks: never.
  int descriptor() noexcept;
  /// See descriptor().
  [[nodiscard]] WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;  ///< as Link
  /// What it received and lost since open(). The members about sending and sleeping are 0.
  PortCounters counters() const noexcept;
  std::uint64_t bus_frames() const noexcept;     ///< as Port::bus_frames()
  std::size_t max_frame_bytes() const noexcept;  ///< as Port::max_frame_bytes()

 private:
  struct Impl;
  explicit Follower(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
