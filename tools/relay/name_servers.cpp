#include "tools/relay/name_servers.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace shmif::tools {

std::vector<tap::IpAddress> name_servers(const std::string& path) {
  std::vector<tap::IpAddress> servers;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::string text;
    if (!(words >> word >> text) || word != "nameserver") continue;
    const auto address = tap::IpAddress::parse(text.substr(0, text.find('%')));
    if (address) servers.push_back(*address);
  }
  return servers;
}

bool is_loopback(const tap::IpAddress& address) noexcept {
  if (!address.is_v6()) return address.bytes[0] == IN_LOOPBACKNET;
  return std::ranges::all_of(address.bytes.begin(), address.bytes.end() - 1,
                             [](std::uint8_t byte) { return byte == 0; }) &&
         address.bytes[15] == 1;
}

}  // namespace shmif::tools
