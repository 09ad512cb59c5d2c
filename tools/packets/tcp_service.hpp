#pragma once
// A TCP service in the form in which people write it.

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "tap/cidr.hpp"

namespace shmif::tools {

struct TcpService {
  tap::IpAddress address;
  std::uint16_t port = 0;

  /// Reads "198.18.0.1:80" or "[fd00::1]:80". Errors: bad_argument.
  static Result<TcpService> parse(const std::string& text);
  std::string to_string() const;
};

}  // namespace shmif::tools
