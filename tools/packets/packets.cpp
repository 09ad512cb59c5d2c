#include "tools/packets/packets.hpp"

#include <charconv>
#include <system_error>

namespace shmif::tools {

Result<TcpService> TcpService::parse(const std::string& text) {
  const auto bad = [&](const std::string& why) {
    return Error(Errc::bad_argument, "\"" + text + "\" is not a TCP service: " + why +
                                         " (ADDRESS:PORT, such as 198.18.0.1:80 or [fd00::1]:80)");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return bad("the port is missing");
  std::string host = text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  TcpService service;
  const auto [end, problem] =
      std::from_chars(text.data() + colon + 1, text.data() + text.size(), service.port);
  if (problem != std::errc{} || end != text.data() + text.size() || service.port == 0) {
    return bad("the port must be a number from 1 to 65535");
  }
  const Result<tap::IpAddress> address = tap::IpAddress::parse(host);
  if (!address || address->is_v6() != brackets) {
    return bad(host.find(':') != std::string::npos && !brackets
                   ? "an IPv6 address needs brackets"
                   : "the address is neither IPv4 nor IPv6");
  }
  service.address = *address;
  return service;
}

std::string TcpService::to_string() const {
  const std::string host = address.to_string();
  return (address.is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

}  // namespace shmif::tools
