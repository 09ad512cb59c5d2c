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

#include "bus/result.hpp"
#include "shmif/bus.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

namespace shmif {

/// Where a port that goes up begins to read.
enum class Start : std::uint8_t {
  now,     ///< with the next frame
  oldest,  ///< with the oldest frame still in the ring (what NetBSD's shmif does)
};
/// Where a port that was overrun goes on.
enum class Resume : std::uint8_t {
  first,   ///< with the oldest frame still in the ring: loses least
  newest,  ///< with the next frame: catches up at once
};

struct PortOptions {
  std::string name =
      {};  ///< 1 to 31 printable characters, unique among live ports; empty: next "portN"
  std::optional<MacAddress> mac = std::nullopt;  ///< nothing: random b2:a0:xx:xx:xx:xx
  LinkKind kind = LinkKind::library;
  Start start = Start::now;
  Resume resume = Resume::first;
  bool promiscuous = false;
  /// Accept also what is addressed to any source MAC this port has sent from (for a link behind
  /// which other hosts live, as a guest or a bridge).
  bool learn = false;
  /// Take frames with work left to do as they are (FrameView::offload), for a link that can pass
  /// them on; else each arrives whole, a super-frame as the frames it stands for. In the counters a
  /// super-frame is one frame, however it arrives.
  bool take_offloads = false;
  bool lock_memory = false;  ///< mlock the mapping; attach fails where RLIMIT_MEMLOCK is too small
  /// How long attach waits for a name or a MAC address that another port has. The kernel takes a
  /// while to bury a killed process (half a second was seen), and till then its port has both.
  std::chrono::milliseconds name_patience{0};
};

/// A port exists by itself; it is linked to a bus or not, and up or down.
/// Moves: a move takes the link, the state, the counters, what is lent and the descriptor along,
/// and what was moved from may be assigned to or destroyed, no more. A Receiver, and a thread
/// inside a call, hold on to the object that they were given: move it only when there is none. A
/// port that is assigned to leaves its bus first, as if it were destroyed.
///
/// Threads: send from any number of threads; receive and the wait calls from one at a time; attach,
/// detach, up and down from one at a time; attach and detach not while another thread is inside a
/// call (stop the Receiver first; down() ends a send() that waits). Counters and setters from any
/// thread.
/// Fork: every call in the child answers Errc::forked, and the child's copy may be destroyed; it
/// makes ports of its own. A daemon attaches after its last fork. Signals: a handler may call
/// interrupt(), and nothing else. A signal ends no wait by itself. A process may end in a handler,
/// also in the middle of a call. Memory: a call that is not noexcept may throw std::bad_alloc, and
/// has changed nothing then.
class Port {
 public:
  explicit Port(PortOptions options = {});
  Port(Port&&) noexcept;
  Port& operator=(Port&&) noexcept;
  ~Port();  ///< detaches

  /// Attaches to the bus at `path`. Errors: path_empty, path_too_long, already_linked (also when
  /// down), bad_argument for a MAC address that is not a unicast one, name_taken, mac_taken,
  /// table_full, and all that Bus::open may answer. Blocks: while the
  /// ring's pages are prefaulted (about 1 ms for 4 MiB); and for the `name_patience` of the
  /// options, where the name or the MAC address is taken.
  Result<void> attach(const std::string& path);
  /// The same to a bus that is open already, whatever its path names by now: for who has looked at
  /// the bus, or made it, and means that one.
  Result<void> attach(const Bus& bus);
  /// Leaves the bus; nothing when not linked. The counters are gone with the link: they are 0 while
  /// there is none, and count from 0 on the next. The descriptor is closed, and what was lent may
  /// not be looked at any more. Stop a Receiver before: it must not run meanwhile. Errors: port_up,
  /// forked.
  [[nodiscard]] std::error_code detach() noexcept;

  struct LinkState {
    std::string path;  ///< as given to attach
    /// False: the path no longer names the mapped file. A relative path is that of the working
    /// directory at the time of attach().
    bool still_named;
  };
  /// The bus this port is linked to. Errors: not_linked, forked.
  Result<LinkState> link() const;

  /// Errors: not_linked, forked. Do nothing when already so. down() ends a wait() of another
  /// thread, and a send() that waits for room, which answers port_down. It returns when no other
  /// thread is inside receive or a wait, or sends, so a Receiver may go on running. Blocks: down()
  /// for the bus lock, while another thread sends.
  [[nodiscard]] std::error_code up() noexcept;
  [[nodiscard]] std::error_code down() noexcept;
  bool is_up() const noexcept;

  /// Sends frames in order, in batches of one lock hold and one doorbell each. Errors: not_linked,
  /// port_down, frame_too_short, frame_too_long, no_room, corrupt, forked; not_supported for a
  /// frame that leaves work to others where the bus takes_offloads() says false, bad_argument where
  /// what it leaves makes no sense; interrupted. Blocks: for the lock, which no holder can keep
  /// (docs/theory-of-operation.md); and on a bus whose flow is Flow::pause for ports that are slow
  /// to read, each time until there is room, but not longer than the bus's patience for all those
  /// together that read nothing: these are overrun. down() and interrupt() end such a wait, and
  /// what is not sent yet is not sent.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// The same for one frame: `taken` is 1, or 0 and the error says why. A template, so that braces
  /// still mean a span.
  template <std::same_as<FrameView> Frame>
  [[nodiscard]] SendResult send(const Frame& frame) noexcept {
    return send(std::span<const FrameView>(&frame, 1));
  }
  /// The same, but takes fewer frames, and answers no error, where send() would wait for a slow
  /// port. Blocks: for the lock only, also while another thread waits in send().
  SendResult try_send(std::span<const FrameView> frames) noexcept;
  /// How long it would wait for a port that reads nothing; 0 where senders do not wait.
  std::chrono::nanoseconds patience() const noexcept;
  /// Appends to `into` what has arrived, until it is full. Blocks: never.
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// The same without a copy: appends views of frames where they lie in the bus, up to 32 for a
  /// call, until release(). For who reads little of each frame. A sender that has gone once round
  /// the ring overwrites them even while they are looked at, so what was made of them counts only
  /// when release() has said that they were whole; a pausing bus (Flow::pause) waits for them
  /// instead, within its patience. Work that was left to the receiver is done in copies, and the
  /// segments of a super-frame come by themselves, as many as there is room for. The counters count
  /// what is lent when it is released. The next receive, wait() or prepare_wait() releases it too,
  /// but does not tell. down() leaves it lent, though senders do not wait for a port that is down;
  /// up() takes it back. After detach() nothing is there for a view to show. Threads: as receive().
  /// Blocks: never.
  ReceiveResult receive_in_place(FrameBatch& into) noexcept;
  /// Gives back what receive_in_place() lent. Result: how many of these frames, from the first on,
  /// do not count, since they were overwritten meanwhile: they are lost. It is all of them, whole
  /// or not, after an overrun where the port goes on with the newest, a repair, a bus that is lost,
  /// or up(); then those that the port has not passed come again. 0 when none are lent. Threads: as
  /// receive(). Blocks: never.
  [[nodiscard]] std::size_t release() noexcept;
  /// Waits until receive() would bring something, at most `timeout`. Result: false on timeout,
  /// after interrupt(), when down or not linked.
  bool wait(std::chrono::nanoseconds timeout) noexcept;
  /// Waits while the port is down, until up() or interrupt(). Result: whether it is up; false at
  /// once when not linked, when the bus is lost, and when a peer has overwritten what up() said.
  bool wait_until_up() noexcept;
  /// Makes a wait() or wait_until_up() that is going on, or the next one, return false; and each
  /// send() that is going on return Errc::interrupted instead of waiting for room. Threads: any,
  /// and signal handlers; wakes only this port.
  void interrupt() noexcept;

  /// For poll and epoll, see Link. The descriptor stays the same while attached; -1 when not
  /// linked, or when none can be had, with the reason in descriptor_error().
  int descriptor() noexcept;
  std::error_code descriptor_error() const noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;

  std::size_t
  max_frame_bytes() noexcept;  ///< MTU + 22 of the bus; the largest of any bus when unlinked
  std::string address();       ///< "bus:PATH"

  std::string name() const;  ///< as given, or as the bus chose it
  MacAddress mac() const noexcept;
  unsigned slot() const noexcept;  ///< 0xffff when not linked
  std::uint32_t mtu() const noexcept;
  /// Whether frames on this bus may leave work to their receivers: its ring holds eight
  /// super-frames. False when not linked.
  bool takes_offloads() const noexcept;
  /// In force before the call returns, also while up. Errors: bad_argument for an address that is
  /// not a unicast one (a group's, or all zeros), mac_taken.
  [[nodiscard]] std::error_code set_mac(MacAddress mac) noexcept;
  [[nodiscard]] std::error_code set_promiscuous(bool on) noexcept;
  /// Shows in the port table whether the network interface behind this port is up and has carrier.
  /// A port that was just attached has it. It changes nothing of what is sent and received. Errors:
  /// not_linked, forked.
  [[nodiscard]] std::error_code set_carrier(bool on) noexcept;
  bool has_carrier() const noexcept;  ///< false when not linked, too
  /// What the port did since it was attached, also over down() and up(); all 0 when not linked.
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

/// Listens without a slot, so also where the file may only be read. It cannot announce that it
/// sleeps; wait() polls, 1 to 50 ms apart. Hears every frame. Threads: one at a time.
class Follower {
 public:
  /// A copy of a bus, and one on a file system where processes may see different data, can be
  /// followed too; that is logged as a warning.
  /// `take_offloads`: as in PortOptions.
  static Result<Follower> open(const std::string& path, Start start, Resume resume = Resume::first,
                               bool take_offloads = false);
  Follower(Follower&&) noexcept;
  Follower& operator=(Follower&&) noexcept;
  ~Follower();

  ReceiveResult receive(FrameBatch& into) noexcept;
  bool wait(std::chrono::nanoseconds timeout) noexcept;

  /// For poll and epoll, as those of a Port: prepare_wait(); unless ready, poll descriptor() for
  /// POLLIN; finish_wait(). The descriptor is a timer that prepare_wait() sets to the next look, 1
  /// to 50 ms away, so `at_most` need not be heeded as long as there is one. -1 when none can be
  /// had; then `at_most` alone says how long to sleep. Blocks: never.
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
