#pragma once
// What a host and its neighbours say about addresses, by ARP and neighbour discovery.
//
// AddressClaim claims the IP addresses of a host on a bus, through the host's port. It asks
// whether another host has one of them (RFC 5227, RFC 4862 section 5.4). It announces the others,
// so that neighbours that knew the host under another MAC address learn the new one.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "bus/frame.hpp"
#include "bus/mac.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"
#include "shmif/port.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// Threads: one at a time. Blocks: never. If there is no room for a frame, it is not sent again.
class AddressClaim {
 public:
  /// Called when the host with the MAC address `owner` says that it has `address`. Result: whether
  /// that is another host. If so, the listener is not called again for this address.
  using Listener = std::function<bool(const IpAddress& address, MacAddress owner)>;

  AddressClaim(const std::vector<Cidr>& addresses, Listener on_conflict);

  /// Sends an ARP probe for each IPv4 address, and a neighbour solicitation for each IPv6 address.
  void probe(Port& port) const;
  /// Sends a gratuitous ARP request or an unsolicited neighbour advertisement for each address that
  /// no other host has claimed so far.
  void announce(Port& port) const;
  /// Tells the host with the MAC address `owner`, and no other, that this host has `address`, too.
  static void tell(Port& port, const IpAddress& address, MacAddress owner);
  /// Looks at a frame from the bus. `own`: the MAC address of this host. Result: whether the frame
  /// is what tell() of another host sent. It must not reach this host: while a kernel looks for
  /// duplicates of an IPv6 address, it would give the address up, although its host had it first.
  bool look(const FrameView& frame, MacAddress own);
  /// Answers in place of the host's kernel, if the frame asks whether somebody has an IPv6 address
  /// (its sender wants to take it), and this host has that address. While the kernel itself looks
  /// for duplicates, it would mistake the question for a duplicate, and give the address up.
  /// Result: whether it has answered; then the frame must not reach the host.
  bool defend(const FrameView& frame, Port& port) const;

 private:
  struct Claimed {
    IpAddress address;
    bool told = false;      ///< the listener knows of another host
    bool disputed = false;  ///< another host had it before
  };
  /// How this host heard of another one with its address: from what that one says to everybody, or
  /// from its tell().
  enum class Heard : std::uint8_t { claimed, told };
  bool hear_of(std::span<const std::byte> address, MacAddress owner, Heard how);

  std::vector<Claimed> all_;
  Listener on_conflict_;
};

// VainQuestions: finds the questions for addresses that need not be asked of a host again.
//
// Every host hears each ARP request, and each solicitation of a neighbour, although only one host
// has the address. To give a frame to a TAP device takes about 1.5 us. If 200 hosts ask each other
// at once, each hears 39,800 questions, and together they would keep two CPUs busy for six seconds.
// Answers would wait behind the questions, and nearly everything would be asked again. So a host
// that is far behind is asked for an address that it does not have only once a second.
//
// Which addresses a host has, it tells itself: they are the senders of its ARP packets and of its
// solicitations, and the targets of its advertisements (RFC 826, RFC 4861). A host that has not
// told of an address yet is asked for it again until it has had the time to answer. Who knows the
// addresses of a host better (its kernel tells them to exec) notes them with note_own().
//
// Neighbours must not make a host deaf. They choose some of its addresses (IPv6 routers do), and
// ask for any address. So its addresses are in a list, in which none takes the place of another; a
// host with more than the list holds sees every question. What was asked before, and by whom, is in
// tables where an address can take the place of another: then the host sees one question more.
//
// A question can do more than ask, and then a host sees it:
//   - In IPv6, a sender without an address looks for a duplicate, once (RFC 4862). A host that
//     looks for the same one does not answer it, but must know of it. (In IPv4 whoever has looked
//     for duplicates announces the address, RFC 5227, and announcements are never left out.)
//   - An ARP request says where its sender is. A host that knew another place takes the new one.

/// Threads: one at a time. Blocks: never.
class VainQuestions {
 public:
  /// The bridge writes a batch of at most 64 frames to the host, and then reads what the host sent.
  /// So after as many frames as two batches, it has read the answer to the first of them.
  static constexpr std::uint64_t kFramesToAnswer = 128;
  /// So long after the host saw a question in vain, it sees it again.
  static constexpr std::uint64_t kAgainNs = 1'000'000'000;
  /// A host is far behind if this many frames wait to be read.
  static constexpr std::uint64_t kFarBehind = 256;

  static constexpr std::size_t kMaxOwn = 512;

  /// An IPv4 address has twelve zeros behind it.
  using Address = std::array<std::byte, 16>;

  /// Call it for each frame to the host, in order. Whether the host need not see the frame, because
  /// that only asks for an address that the host was asked for in vain. `frames_on_bus`: how many
  /// frames were sent on the bus until now; called only for questions.
  template <typename FramesOnBus>
  bool is_vain(const FrameView& frame, const FramesOnBus& frames_on_bus) noexcept {
    ++seen_;
    if (!frame.destination().is_group()) return false;
    Known* const known = asked_in_vain(frame);
    if (known == nullptr) return false;
    // Senders write this number all the time, so it is read only if the last one does not tell. It
    // was wrong if the bus was corrupt then, so it counts for 256 frames at most.
    if (!is_far_behind(frame) || seen_ - looked_ >= kFarBehind) {
      sent_ = frames_on_bus();
      looked_ = seen_;
    }
    if (is_far_behind(frame)) return true;
    known->last_ns = frame.time_ns;
    return false;
  }
  /// Learns the addresses of the host from a frame that it sends.
  void learn(const FrameView& frame) noexcept;
  /// The host has this address, so it sees each question for it from now on. If it has had more
  /// than kMaxOwn, it sees each question for any address.
  void note_own(const Address& address) noexcept;
  /// The host may have got any address: it sees each question again until it has had the time to
  /// answer.
  void forget() noexcept { known_ = {}; }

 private:
  struct Known {
    Address address{};
    std::uint64_t first = 0;    // frame to the host that asked it first; the first has number 1
    std::uint64_t last_ns = 0;  // when the question that the host saw last was sent
  };
  struct Sender {
    Address address{};
    MacAddress mac;
  };
  static constexpr std::size_t kPlaces = 512;
  static constexpr std::size_t kWays = 4;  // so many senders share a group of places

  bool is_far_behind(const FrameView& frame) const noexcept {
    return sent_ > frame.number && sent_ - frame.number > kFarBehind;
  }
  bool may_be_own(const Address& address) const noexcept;
  Known* asked_in_vain(const FrameView& frame) noexcept;
  bool is_news_of_sender(const FrameView& frame) noexcept;

  std::uint64_t seen_ = 0;
  std::uint64_t sent_ = 0;    // frames on the bus when it was looked at last
  std::uint64_t looked_ = 0;  // seen_ at that time
  std::array<Known, kPlaces> known_{};
  std::array<Address, kMaxOwn> own_{};  // sorted
  std::size_t own_count_ = 0;
  bool has_more_ = false;  // than own_ has room for
  std::array<Sender, kPlaces> senders_{};
  std::size_t next_way_ = 0;
};

}  // namespace shmif::tap
