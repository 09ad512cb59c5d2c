#pragma once
// Port: one host's attachment to a bus. A Link.

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

namespace shmif {

/// A port exists independently of a bus: it is linked to one or not, and it is up or down.
/// Moves: a move transfers the bus, the state, the counters, the lent frames and the descriptor. A
/// port that was moved from may only be assigned to or destroyed. Do not move a port while a
/// Receiver, or a thread inside a call, uses it. Assigning to a port first detaches it from its
/// bus, as destroying does.
///
/// Threads: send from any number of threads; receive and the wait calls from one at a time; attach,
/// detach, up and down from one at a time. Do not attach or detach while another thread is inside a
/// call (stop the Receiver first; down() ends a send() that waits). Counters and setters from any
/// thread.
/// Fork: in the child, every call returns Errc::forked. The child may destroy its copy, and makes
/// ports of its own. A daemon attaches after its last fork. Signals: a handler may call interrupt()
/// and nothing else. A signal alone does not end a wait. A process may exit in a handler, even in
/// the middle of a call. Memory: a call that is not noexcept may throw std::bad_alloc; it has then
/// changed nothing.
class Port {
 public:
  explicit Port(PortOptions options = {});
  Port(Port&&) noexcept;
  Port& operator=(Port&&) noexcept;
  ~Port();  ///< detaches

  /// Attaches to the bus at `path`. Errors: path_empty, path_too_long, already_linked (also when
  /// down), bad_argument for a MAC address that is not unicast, name_taken, mac_taken, table_full,
  /// and the errors of Bus::open. Blocks: while the ring's pages are prefaulted (about 1 ms for
  /// 4 MiB); and for up to `name_patience` if the name or the MAC address is taken.
  Result<void> attach(const std::string& path);
  /// Attaches to a bus that is already open, whatever its path names by now. For callers that have
  /// inspected or created a bus and mean exactly that one.
  Result<void> attach(const Bus& bus);
  /// Leaves the bus; does nothing when not linked. The counters are 0 while detached, and start
  /// from 0 on the next bus. The descriptor is closed, and lent frames must no longer be read. Stop
  /// a Receiver first: it must not run during this call. Errors: port_up, forked.
  [[nodiscard]] std::error_code detach() noexcept;

  struct LinkState {
    std::string path;  ///< as given to attach
    /// False: the path no longer names the mapped file. A relative path starts from the working
    /// directory at the time of attach().
    bool still_named;
  };
  /// The bus this port is linked to. Errors: not_linked, forked.
  Result<LinkState> link() const;

  /// Errors: not_linked, forked. up() does nothing if the port is up, and down() if it is down.
  /// down() ends another thread's wait(), and its send() that waits for room; that send() returns
  /// port_down. down() returns when no other thread is receiving, waiting or sending, so a Receiver
  /// may keep running. Blocks: down() for the bus lock, while another thread sends.
  [[nodiscard]] std::error_code up() noexcept;
  [[nodiscard]] std::error_code down() noexcept;
  bool is_up() const noexcept;

  /// Sends frames in order, in batches of one lock hold and one doorbell each. Errors: not_linked,
  /// port_down, frame_too_short, frame_too_long, no_room, corrupt, forked; not_supported for an
  /// unfinished checksum or a super-frame when takes_offloads() is false; bad_argument for offload
  /// fields that make no sense; interrupted. Blocks: for the lock, which others take over when its
  /// holder stalls (docs/theory-of-operation.md). On a bus with Flow::pause, also for ports that
  /// read slowly: each time until there is room. All ports that read nothing together delay send()
  /// by the bus's patience at most; then they are overrun. down() and interrupt() end such a wait,
  /// and the remaining frames are not sent.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Sends one frame: `taken` is 1, or it is 0 and the error says why. This is a template so that
  /// braces still mean a span.
  template <std::same_as<FrameView> Frame>
  [[nodiscard]] SendResult send(const Frame& frame) noexcept {
    return send(std::span<const FrameView>(&frame, 1));
  }
  /// As send(), but where send() would wait for a slow port, it takes fewer frames and returns no
  /// error. Blocks: for the lock only, even if another thread waits in send().
  SendResult try_send(std::span<const FrameView> frames) noexcept;
  /// How long send() would wait for a port that reads nothing; 0 if senders do not wait.
  std::chrono::nanoseconds patience() const noexcept;
  /// Appends the frames that have arrived to `into`, until it is full. Blocks: never.
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// As receive(), but without a copy: appends views of frames where they lie in the bus, up to 32
  /// per call. The frames are lent until release(). For callers that read little of each frame. A
  /// sender that has gone once round the ring overwrites lent frames, even while they are being
  /// read. So use what was computed from them only after release() has said that they were whole.
  /// On a pausing bus (Flow::pause), senders wait for lent frames instead, within the patience. A
  /// checksum is finished in a copy of the frame. The segments of a super-frame come in a call of
  /// their own, as many as there is room for. Lent frames are counted when they are released. The
  /// next receive, wait() or prepare_wait() also releases them, but does not say which were whole.
  /// After down(), frames stay lent, though senders do not wait for a port that is down; up() ends
  /// that. After detach() the views are invalid. Threads: as receive(). Blocks: never.
  ReceiveResult receive_in_place(FrameBatch& into) noexcept;
  /// Gives back the frames that receive_in_place() lent. Result: how many of these frames, counted
  /// from the first, were overwritten meanwhile: they are lost and must not be used. All lent
  /// frames count as overwritten, whole or not, after an overrun with Resume::newest, a repair, the
  /// loss of the bus, or up(); those that the port has not passed are then delivered again. 0 when
  /// none are lent. Threads: as receive(). Blocks: never.
  [[nodiscard]] std::size_t release() noexcept;
  /// Waits until receive() would return something, at most `timeout`. Result: false on timeout,
  /// after interrupt(), when down or not linked.
  bool wait(std::chrono::nanoseconds timeout) noexcept;
  /// Waits while the port is down, until up() or interrupt(). Result: whether it is up; false at
  /// once when not linked and when the bus is lost.
  bool wait_until_up() noexcept;
  /// Makes the current wait() or wait_until_up(), or else the next one, return false. Makes each
  /// current send() return Errc::interrupted instead of waiting for room. Threads: any, and signal
  /// handlers; wakes only this port.
  void interrupt() noexcept;

  /// For poll and epoll, see Link. The descriptor stays the same while attached. It is -1 when not
  /// linked, or when none is available; descriptor_error() gives the reason.
  int descriptor() noexcept;
  std::error_code descriptor_error() const noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;

  std::size_t
  max_frame_bytes() noexcept;  ///< MTU of the bus + 22; the largest of any bus when unlinked
  std::string address();       ///< "bus:PATH"

  std::string name() const;  ///< as given, or as the bus chose it
  MacAddress mac() const noexcept;
  unsigned slot() const noexcept;  ///< 0xffff when not linked
  std::uint32_t mtu() const noexcept;
  /// Whether this bus may carry unfinished checksums and super-frames: it may if its ring holds
  /// eight super-frames. False when not linked.
  bool takes_offloads() const noexcept;
  /// Takes effect before the call returns, also while up. Errors: bad_argument for an address that
  /// is not unicast (a group address, or all zeros), mac_taken.
  [[nodiscard]] std::error_code set_mac(MacAddress mac) noexcept;
  [[nodiscard]] std::error_code set_promiscuous(bool on) noexcept;
  /// Shows in the port table whether the network interface behind this port is up and has carrier.
  /// A newly attached port has carrier. The setting does not affect sending or receiving. Errors:
  /// not_linked, forked.
  [[nodiscard]] std::error_code set_carrier(bool on) noexcept;
  bool has_carrier() const noexcept;  ///< false when not linked, too
  /// What the port did since it was attached, across down() and up(); all 0 when not linked.
  PortCounters counters() const noexcept;

 private:
  friend class Receiver;
  void interrupt_receiver() noexcept;  ///< as interrupt(), but ends no send()
  struct Impl;
  template <typename Attach>
  Result<void> link_to(const std::string& path, const Attach& attach_with);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<Port>);

/// Listens without a slot, so read permission on the file is enough. It cannot announce that it
/// sleeps, so wait() polls every 1 to 50 ms. It receives every frame. Threads: one at a time.
class Follower {
 public:
  /// Also follows a copy of a bus, or a bus on a file system where processes may see different
  /// data, and logs a warning. `take_offloads`: as in PortOptions.
  static Result<Follower> open(const std::string& path, Start start, Resume resume = Resume::first,
                               bool take_offloads = false);
  Follower(Follower&&) noexcept;
  Follower& operator=(Follower&&) noexcept;
  ~Follower();

  ReceiveResult receive(FrameBatch& into) noexcept;
  bool wait(std::chrono::nanoseconds timeout) noexcept;

  /// For poll and epoll, as with a Port: prepare_wait(); unless ready, poll descriptor() for
  /// POLLIN; finish_wait(). The descriptor is a timer that prepare_wait() sets to its next look, 1
  /// to 50 ms away, so the caller may ignore `at_most`. If no descriptor is available, it is -1,
  /// and `at_most` alone says how long to sleep. Blocks: never.
  int descriptor() noexcept;
  [[nodiscard]] WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  PortCounters counters() const noexcept;
  std::size_t max_frame_bytes() const noexcept;

 private:
  struct Impl;
  explicit Follower(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
