#pragma once
// IP addresses and networks as people write them.

#include <netinet/in.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace shmif::tap {

/// An IPv4 or IPv6 address in network byte order.
struct IpAddress {
  int family = AF_INET;                  ///< AF_INET or AF_INET6
  std::array<std::uint8_t, 16> bytes{};  ///< the first 4, or all 16

  bool operator==(const IpAddress&) const = default;  ///< compares family and address
  /// Whether it is an address of IPv6.
  bool is_v6() const noexcept { return family == AF_INET6; }
  /// The length of the address in bits: the longest prefix.
  unsigned bits() const noexcept { return is_v6() ? 128 : 32; }
  std::string to_string() const;  ///< as parse() accepts it

  /// Accepts "198.18.0.1" and "fd00::1", without surrounding text or zone. Does not accept short
  /// forms such as "198.18". Errors: bad_argument.
  static Result<IpAddress> parse(std::string_view text);
};

/// An interface's address with the prefix length of its network: "198.18.0.2/24", "fd00::2/64".
struct Cidr {
  IpAddress address;    ///< of the interface, not of the network
  unsigned prefix = 0;  ///< of the network, in bits; at least 1 if it was parsed

  /// Compares the address, too, not only the network.
  bool operator==(const Cidr&) const = default;
  std::string to_string() const;  ///< as parse() accepts it

  /// Accepts ADDRESS/PREFIX. The prefix is required, and at least 1. An address that no interface
  /// can have is refused, because it is surely a typing error: unspecified, multicast, reserved, or
  /// the network or broadcast address of an IPv4 network of more than two addresses. Errors:
  /// bad_argument; the message says what is wrong and how to write it.
  static Result<Cidr> parse(std::string_view text);
};

/// Whether `gateway` can be reached in one of the networks of `addresses`. A network of one address
/// has no room for a gateway, so with such an address every gateway counts as on the link.
bool is_on_link(const IpAddress& gateway, const std::vector<Cidr>& addresses);

}  // namespace shmif::tap
