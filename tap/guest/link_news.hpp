#pragma once
// What the kernel says about the interfaces of a network namespace: news, and answers to questions.
// Internal to tap/guest.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"

namespace shmif::tap {

/// What a message says about an interface.
struct LinkNews {
  unsigned index = 0;
  bool gone = false;         ///< the rest says nothing then
  unsigned promiscuity = 0;  ///< see Interface::promiscuity
  bool carrier = false;      ///< up and with carrier
  std::uint32_t mtu = 0;
  MacAddress mac{};  ///< zero if the interface has none
};
struct LinkNewsBatch {
  std::vector<LinkNews> links;
  bool lists = false;  ///< the list of an interface has changed
};
/// Reads the rtnetlink messages of one datagram, and ignores malformed ones.
LinkNewsBatch read_link_news(std::span<const std::byte> datagram);

/// The *unicast list* of an interface: the addresses besides its own for which it receives frames,
/// because a macvlan, a VLAN, a program or the administrator has asked for that.
struct UnicastList {
  /// More addresses than a port can keep.
  static constexpr std::size_t kMaxMacs = 16;
  std::vector<MacAddress> macs{};  ///< at most one more than kMaxMacs
  bool ended = false;              ///< all messages of the answer have come
  bool failed = false;             ///< there is no list, or it changed while it was read
};
/// Reads the messages of one datagram that belong to the answer to question number `question`,
/// about interface `index`.
void read_unicast_list(std::span<const std::byte> datagram, std::uint32_t question, unsigned index,
                       UnicastList& list);

/// Asks the kernel about the interfaces of a namespace.
/// Threads: one at a time. Blocks: for the kernel's answer (microseconds; while an interface is
/// being unregistered elsewhere, up to milliseconds). The work for one question is bounded, however
/// many addresses somebody has put into a list.
class InterfaceQuestions {
 public:
  /// `socket`: of rtnetlink, not blocking, in no multicast group.
  explicit InterfaceQuestions(UniqueFd socket) : socket_(std::move(socket)) {}

  /// Result: empty if there is no such interface.
  std::optional<LinkNews> link(unsigned index);
  /// Result: empty if the kernel gives no answer. A result with more than kMaxMacs addresses, or
  /// one that has not ended, is only the beginning of the list.
  std::optional<UnicastList> unicast_list(unsigned index);

 private:
  bool ask(std::uint16_t type, std::uint16_t flags, std::uint8_t family, unsigned index);
  bool read();

  UniqueFd socket_;
  std::uint32_t questions_ = 0;  ///< asked so far: the number of the last one
  std::uint32_t link_question_ = 0;
  std::optional<LinkNews> link_;
  std::uint32_t list_question_ = 0;
  unsigned list_of_ = 0;
  UnicastList list_{.ended = true};
};

}  // namespace shmif::tap
