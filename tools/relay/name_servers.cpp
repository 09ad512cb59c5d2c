#include "tools/relay/name_servers.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <utility>

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

bool stays_in(std::span<const std::filesystem::path> directories, std::filesystem::path path) {
  namespace fs = std::filesystem;
  constexpr unsigned kMaxLinks = 40;  // as many as the kernel follows
  for (unsigned links = 0; links <= kMaxLinks; ++links) {
    path = path.lexically_normal();
    const auto inside = std::ranges::find_if(directories, [&](const fs::path& each) {
      return std::ranges::mismatch(each, path).in1 == each.end();
    });
    if (inside == directories.end()) return false;
    // The directories themselves are where they are, however that path leads there.
    fs::path at = *inside;
    auto part = std::next(path.begin(), std::distance(inside->begin(), inside->end()));
    std::error_code unknown;
    while (part != path.end() && !fs::is_symlink(at / *part, unknown)) at /= *part++;
    if (part == path.end()) return true;
    fs::path target = at / fs::read_symlink(at / *part, unknown);  // an absolute one replaces `at`
    for (++part; part != path.end(); ++part) target /= *part;
    path = std::move(target);
  }
  return false;
}

bool is_loopback(const tap::IpAddress& address) noexcept {
  if (!address.is_v6()) return address.bytes[0] == IN_LOOPBACKNET;
  return std::ranges::all_of(address.bytes.begin(), address.bytes.end() - 1,
                             [](std::uint8_t byte) { return byte == 0; }) &&
         address.bytes[15] == 1;
}

}  // namespace shmif::tools
