#include "tools/relay/name_servers.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <list>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/files.hpp"

namespace shmif::tools {

std::vector<tap::IpAddress> name_servers(const std::string& path) {
  std::vector<tap::IpAddress> servers;
  std::istringstream file(base::text_of_regular_file(path));
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

namespace {

bool is_below(const std::filesystem::path& directory, const std::filesystem::path& path) {
  return std::ranges::mismatch(directory, path).in1 == directory.end();
}

}  // namespace

bool stays_in(std::span<const std::filesystem::path> directories,
              const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  constexpr unsigned kMaxLinks = 40;  // the kernel follows as many
  if (!path.is_absolute()) return false;
  const auto is_inside = [&](const fs::path& at) {
    return std::ranges::any_of(directories,
                               [&](const fs::path& each) { return is_below(each, at); });
  };
  // Links on the way to the directories themselves do not matter: the program has each directory
  // under its given name.
  const auto leads_there = [&](const fs::path& at) {
    return std::ranges::any_of(directories,
                               [&](const fs::path& each) { return is_below(at, each); });
  };
  std::list<fs::path> parts(path.begin(), path.end());
  fs::path at = path.root_path();
  std::error_code unknown;
  for (unsigned links = 0; !parts.empty();) {
    const fs::path part = std::move(parts.front());
    parts.pop_front();
    if (part.empty() || part == "." || part == "/") continue;
    // ".." is the parent of the place to which a link led, as in the kernel, and not the parent of
    // the link.
    fs::path next = part == ".." ? at.parent_path() : at / part;
    if (!leads_there(next)) {
      if (!is_inside(next)) return false;
      if (fs::is_symlink(next, unknown)) {
        if (++links > kMaxLinks) return false;
        const fs::path target = fs::read_symlink(next, unknown);
        parts.insert(parts.begin(), target.begin(), target.end());
        next = target.is_absolute() ? path.root_path() : at;
      }
    }
    at = std::move(next);
  }
  return is_inside(at);
}

bool is_loopback(const tap::IpAddress& address) noexcept {
  if (!address.is_v6()) return address.bytes[0] == IN_LOOPBACKNET;
  return std::ranges::all_of(address.bytes.begin(), address.bytes.end() - 1,
                             [](std::uint8_t byte) { return byte == 0; }) &&
         address.bytes[15] == 1;
}

}  // namespace shmif::tools
