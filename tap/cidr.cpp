#include "tap/cidr.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace shmif::tap {
namespace {

Error bad(std::string_view text, const std::string& why) {
  return {Errc::bad_argument, "\"" + std::string(text) + "\" " + why};
}

std::uint32_t as_u32(const IpAddress& a) {
  std::uint32_t v = 0;
  for (unsigned i = 0; i < 4; ++i) v = v << 8U | a.bytes[i];
  return v;
}

/// Why no interface can have the address; empty if an interface can.
std::string unusable(const Cidr& c) {
  const bool zero = c.address.bytes == decltype(c.address.bytes){};
  if (zero) return "is the unspecified address, which no interface can have";
  if (c.address.is_v6()) {
    return c.address.bytes[0] == 0xff ? "is a multicast address, which no interface can have" : "";
  }
  const std::uint32_t v = as_u32(c.address);
  if (v >= 0xe0000000U) return "is a multicast or reserved address, which no interface can have";
  if (c.prefix >= 31) return "";  // RFC 3021: both addresses of a /31 are hosts
  const std::uint32_t hosts = 0xffffffffU >> c.prefix;
  if ((v & hosts) == 0) {
    return "is the address of the network itself; give a host in it, such as " +
           std::to_string(v >> 24U) + "." + std::to_string(v >> 16U & 255U) + "." +
           std::to_string(v >> 8U & 255U) + "." + std::to_string((v & 255U) + 1) + "/" +
           std::to_string(c.prefix);
  }
  if ((v & hosts) == hosts) return "is the broadcast address of its network; give a host in it";
  return "";
}

}  // namespace

std::string IpAddress::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(family, bytes.data(), text.data(), text.size());
  return text.data();
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress a;
  a.family = text.find(':') == std::string_view::npos ? AF_INET : AF_INET6;
  // inet_pton would ignore the text after a NUL.
  if (text.find('\0') != std::string_view::npos ||
      ::inet_pton(a.family, terminated.c_str(), a.bytes.data()) != 1) {
    return bad(text, "is not an IP address; write 198.18.0.1 or fd00::1");
  }
  return a;
}

std::string Cidr::to_string() const {
  return address.to_string() + "/" + std::to_string(prefix);
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return bad(text,
               "has no prefix length; write ADDRESS/PREFIX, such as 198.18.0.2/24 or fd00::2/64");
  }
  auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) {
    return bad(text, "does not begin with an IP address; write 198.18.0.2/24 or fd00::2/64");
  }
  Cidr c{*address, 0};
  const std::string_view digits = text.substr(slash + 1);
  const auto [end, problem] =
      std::from_chars(digits.data(), digits.data() + digits.size(), c.prefix);
  if (digits.empty() || problem != std::errc{} || end != digits.data() + digits.size() ||
      c.prefix < 1 || c.prefix > c.address.bits()) {
    return bad(text, "has a prefix length that is not a number from 1 to " +
                         std::to_string(c.address.bits()));
  }
  if (const std::string why = unusable(c); !why.empty()) return bad(text, why);
  return c;
}

namespace {

bool is_in(const IpAddress& address, const Cidr& network) {
  if (network.address.family != address.family) return false;
  for (unsigned bit = 0; bit < network.prefix; ++bit) {
    const unsigned differs = static_cast<unsigned>(network.address.bytes[bit / 8]) ^
                             static_cast<unsigned>(address.bytes[bit / 8]);
    if ((differs & (0x80U >> bit % 8)) != 0) return false;
  }
  return true;
}

}  // namespace

bool is_on_link(const IpAddress& gateway, const std::vector<Cidr>& addresses) {
  const bool link_local =
      gateway.is_v6() && gateway.bytes[0] == 0xfe && (gateway.bytes[1] & 0xc0U) == 0x80;
  return link_local || std::any_of(addresses.begin(), addresses.end(), [&](const Cidr& network) {
           return is_in(gateway, network) || (network.address.family == gateway.family &&
                                              network.prefix == network.address.bits());
         });
}

}  // namespace shmif::tap
