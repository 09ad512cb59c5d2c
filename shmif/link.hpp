#pragma once
// The Link concept: anything that sends and receives frames, with a descriptor to wait on.
//
// The bus port, the TAP device, the packet socket, capture files and the wrappers around any of
// them are Links. tests/shmif/link_conformance.hpp is the suite that each of them passes.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include "base/error.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// Whether a loop that uses the link should give up, because after this error the link carries no
/// frames. (A Port whose bus is lost can be detached and attached again.)
inline bool is_final(std::error_code error) noexcept {
  return error == Errc::link_ended || error == Errc::bus_lost || error == Errc::forked ||
         error == Errc::not_linked;
}

/// Anything that sends and receives frames, with a descriptor to wait on.
/// Calls: send() sends frames, and says how many of them the link took. receive() appends frames
/// that have arrived to a batch. descriptor() is for poll and epoll; the link keeps it.
/// prepare_wait() announces a sleep, and finish_wait() ends what it began. max_frame_bytes() is the
/// length of the longest frame that send() takes, in bytes without FCS. address() says for messages
/// what the link leads to: "tap:tap0", "bus:/tmp/b0".
/// To wait: (1) Call prepare_wait(). (2) If its result does not say `ready`, poll descriptor() for
/// POLLIN, no longer than the result's `at_most`. (3) Call finish_wait() in any case.
/// If descriptor() is -1 and the result does not say `ready`, no descriptor was available: in step
/// 2, sleep for `at_most` instead of polling. (A link that is always ready, or has ended, says
/// `ready`.)
/// Room: receive() appends whole frames, and stops at one for which there is no room. Only the
/// first frame of an empty batch may be cut short, to the room that there is; its true_bytes shows
/// this. With room for less than an Ethernet header (14 bytes), receive() returns no frame:
/// the frame is not lost, and waits for a batch with more room.
/// Threads: one thread may send while another receives and waits, unless a link says that it allows
/// more or less.
/// Blocks: no call waits for the peer, with two exceptions. send() of a Port on a bus with
/// Flow::pause waits for slow ports; Port::try_send() does not. A capture file that is a pipe waits
/// for the process at the pipe's other end.
template <class L>
concept Link = requires(L& link, std::span<const FrameView> out, FrameBatch& in) {
  { link.send(out) } noexcept -> std::same_as<SendResult>;
  { link.receive(in) } noexcept -> std::same_as<ReceiveResult>;  // appends to `in`
  { link.descriptor() } noexcept -> std::same_as<int>;
  { link.prepare_wait() } noexcept -> std::same_as<WaitHint>;
  { link.finish_wait() } noexcept -> std::same_as<void>;
  { link.max_frame_bytes() } noexcept -> std::same_as<std::size_t>;
  { link.address() } -> std::convertible_to<std::string>;  // "tap:tap0", "bus:/tmp/b0"
};

/// A Link may also have try_send() and bus_frames(), as Port describes them, and patience(),
/// takes_offloads() and room_descriptor(), as AnyLink describes them. (FaultLink, for example, has
/// takes_offloads(). It has no room_descriptor(), because it keeps frames that cannot go yet.)

/// Holds any Link behind one type, for code that learns only at run time which link it has (the
/// bridge). It costs one virtual call per batch. It is a Link itself. Its send() does not wait for
/// slow ports: it calls try_send() if the link has that.
class AnyLink {
 public:
  /// Takes over `link`, which must not be null.
  template <Link L>
  explicit AnyLink(std::unique_ptr<L> link) : self_(std::make_unique<Model<L>>(std::move(link))) {}

  /// As Link, but it calls try_send() if the link has that.
  SendResult send(std::span<const FrameView> frames) noexcept { return self_->send(frames); }
  /// As Link.
  ReceiveResult receive(FrameBatch& into) noexcept { return self_->receive(into); }
  /// As Link.
  int descriptor() noexcept { return self_->descriptor(); }
  /// As Link.
  WaitHint prepare_wait() noexcept { return self_->prepare_wait(); }
  /// As Link.
  void finish_wait() noexcept { self_->finish_wait(); }
  /// When a port on the bus has stopped reading, send() takes fewer frames than given, without an
  /// error, for at most this time. The time begins with the first such send(). After it, send()
  /// takes the frames, and that port loses frames. 0: send() never takes fewer for this reason.
  std::chrono::nanoseconds patience() noexcept { return self_->patience(); }
  /// Whether send() accepts unfinished checksums and super-frames (struct Offload, bus/frame.hpp).
  bool takes_offloads() noexcept { return self_->takes_offloads(); }
  /// After send() took fewer frames than given: a descriptor that polls as POLLOUT when send() may
  /// take frames again; sometimes send() still takes no frame. It is not descriptor(), and the link
  /// keeps it. After the next such send() it may be another one. -1: there is no such descriptor,
  /// so try again after some time.
  int room_descriptor() noexcept { return self_->room_descriptor(); }
  /// As Port::bus_frames(); 0 if the link's frames have no numbers.
  std::uint64_t bus_frames() noexcept { return self_->bus_frames(); }
  /// As Link.
  std::size_t max_frame_bytes() noexcept { return self_->max_frame_bytes(); }
  /// As Link.
  std::string address() { return self_->address(); }

 private:
  struct Interface {
    Interface() = default;
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;
    virtual ~Interface() = default;
    virtual SendResult send(std::span<const FrameView>) noexcept = 0;
    virtual ReceiveResult receive(FrameBatch&) noexcept = 0;
    virtual int descriptor() noexcept = 0;
    virtual WaitHint prepare_wait() noexcept = 0;
    virtual void finish_wait() noexcept = 0;
    virtual std::chrono::nanoseconds patience() noexcept = 0;
    virtual bool takes_offloads() noexcept = 0;
    virtual int room_descriptor() noexcept = 0;
    virtual std::uint64_t bus_frames() noexcept = 0;
    virtual std::size_t max_frame_bytes() noexcept = 0;
    virtual std::string address() = 0;
  };
  template <Link L>
  struct Model final : Interface {
    explicit Model(std::unique_ptr<L> l) : link(std::move(l)) {}
    SendResult send(std::span<const FrameView> f) noexcept override {
      if constexpr (requires { link->try_send(f); }) {
        return link->try_send(f);  // a loop that forwards both ways must not wait for one side
      } else {
        return link->send(f);
      }
    }
    ReceiveResult receive(FrameBatch& b) noexcept override { return link->receive(b); }
    int descriptor() noexcept override { return link->descriptor(); }
    WaitHint prepare_wait() noexcept override { return link->prepare_wait(); }
    void finish_wait() noexcept override { link->finish_wait(); }
    std::chrono::nanoseconds patience() noexcept override {
      if constexpr (requires { link->patience(); }) return link->patience();
      return {};
    }
    bool takes_offloads() noexcept override {
      if constexpr (requires { link->takes_offloads(); }) return link->takes_offloads();
      return false;
    }
    int room_descriptor() noexcept override {
      if constexpr (requires { link->room_descriptor(); }) return link->room_descriptor();
      return -1;
    }
    std::uint64_t bus_frames() noexcept override {
      if constexpr (requires { link->bus_frames(); }) return link->bus_frames();
      return 0;
    }
    std::size_t max_frame_bytes() noexcept override { return link->max_frame_bytes(); }
    std::string address() override { return link->address(); }
    std::unique_ptr<L> link;
  };
  std::unique_ptr<Interface> self_;
};

static_assert(Link<AnyLink>);

}  // namespace shmif
