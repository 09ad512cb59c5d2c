#include <string>

#include "base/quantity.hpp"
#include "bus/attachment.hpp"
#include "bus/file/geometry.hpp"
#include "bus/port/port_table.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/faults.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/uplink/ssh_session.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::fuzz {

void text(Bytes bytes) {
  const std::string words(bytes.begin(), bytes.end());
  if (const auto mac = MacAddress::parse(words)) {
    require(MacAddress::parse(mac->to_string()) == mac, "an address that does not come back");
  }
  if (const auto cidr = tap::Cidr::parse(words)) {
    require(*tap::Cidr::parse(cidr->to_string()) == *cidr, "a network that does not come back");
  }
  if (const auto ip = tap::IpAddress::parse(words)) {
    require(*tap::IpAddress::parse(ip->to_string()) == *ip, "an address that does not come back");
  }
  if (const auto size = base::read_size(words)) {
    require(!tools::format_bytes(*size).empty(), "a size without a text");
    require(*base::read_size(bus::size_text(*size)) == *size, "a size that does not come back");
    require(*base::read_size(base::size_text(*size)) == *size, "a size that does not come back");
  }
  if (const auto time = base::read_time(words, base::TimeUnit::seconds)) {
    require(time->count() >= 0, "less than no time");
  }
  if (const auto share = base::read_share(words)) require(*share >= 0 && *share <= 1, "no share");
  if (const auto mode = tools::parse_mode(words)) require(*mode <= 0777, "no such mode");
  static_cast<void>(base::read_count(words));
  static_cast<void>(base::read_packet_bytes(words));
  // A filter may have a host name, and would ask the resolver; target_filter.cpp is about filters.
  const bool has_filter = words.find("match") != std::string_view::npos;
  if (const auto line = has_filter ? Error(Errc::bad_argument, "") : parse_line_faults(words)) {
    const auto again = parse_line_faults(to_string(*line));
    require(again.has_value(), "faults of a line that do not come back");
    require(again->sent.drop == line->sent.drop, "other frames are dropped");
  }
  if (const auto faults = has_filter ? Error(Errc::bad_argument, "") : parse_faults(words)) {
    const std::string again = to_string(*faults);
    require(again == "none" || parse_faults(again).has_value(), "faults that do not come back");
    require(faults->jitter <= faults->delay, "a frame that arrives before it was sent");
  }
  if (const auto change = parse_change(words)) {
    const std::string again = to_text(*change);
    const auto second = parse_change(again);
    require(second && to_text(*second) == again, "a change that does not come back");
  }
  if (const auto hello = tools::Hello::parse(words)) {
    const std::string line = hello->to_line();
    const auto again = tools::Hello::parse(line.substr(0, line.size() - 1));
    require(again && again->name == hello->name && again->mtu == hello->mtu, "another greeting");
  }
  if (const auto counts = tools::FarCounts::parse(words))
    require(tools::FarCounts::parse(counts->to_line()).has_value(), "counts that do not come back");
  try {
    const tools::FarBus far = tools::FarBus::parse(words);
    require(!far.host.starts_with('-') && !far.path.empty(), "an option for ssh");
  } catch (const tools::UsageError& error) {
    require(!error.what.empty(), "a refusal without a reason");
  }
  if (bus::is_valid_name(words)) require(words.size() < bus::kNameBytes, "a name that is too long");
  static const std::array<std::string, 3> known{"interval", "timeout", "count"};
  static_cast<void>(tools::nearest(words, known));
}

}  // namespace shmif::fuzz
