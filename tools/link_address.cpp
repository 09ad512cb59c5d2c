#include "tools/link_address.hpp"

#include <array>
#include <utility>

namespace shmif::tools {

std::optional<LinkAddress> parse_link(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, LinkAddress::Kind>, 4> kKinds = {
      {{"bus:", LinkAddress::Kind::bus},
       {"tap:", LinkAddress::Kind::tap},
       {"packet:", LinkAddress::Kind::packet},
       {"pcap:", LinkAddress::Kind::pcap}}};
  for (const auto& [prefix, kind] : kKinds) {
    if (text.starts_with(prefix) && text.size() > prefix.size()) {
      return LinkAddress{kind, std::string(text.substr(prefix.size()))};
    }
  }
  return std::nullopt;
}

}  // namespace shmif::tools
