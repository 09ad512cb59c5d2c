#include "tools/uplink/uplink_wish.hpp"

#include <algorithm>
#include <initializer_list>

namespace shmif::tools {

namespace {

constexpr std::uint64_t kMaxAsn = 0xffff'fffe;

/// Refuses options that have no meaning for this way. `why`: "needs --vxlan".
void refuse_options(const Arguments& args, std::initializer_list<const char*> options,
                    const std::string& why) {
  for (const char* const option : options) {
    if (args.given(option)) throw UsageError{std::string("--") + option + ' ' + why};
  }
}

tap::IpAddress read_ip(const std::string& option, const std::string& text) {
  auto address = tap::IpAddress::parse(text);
  if (!address) throw UsageError{option + ": " + address.error().message};
  return *address;
}

UplinkWay read_way(const Arguments& args) {
  const int ways = static_cast<int>(args.given("vxlan")) + static_cast<int>(args.given("ssh")) +
                   static_cast<int>(args.given("stdio"));
  if (ways == 0 && (args.given("remote") || args.given("evpn")))
    throw UsageError{std::string(args.given("remote") ? "--remote" : "--evpn") +
                     " needs --vxlan ID"};
  if (ways != 1) {
    throw UsageError{
        std::string(ways == 0 ? "no way to another machine is given" : "several ways are given") +
        " (give one of --vxlan ID, --ssh HOST:PATH and --stdio)"};
  }
  if (args.given("ssh")) return UplinkWay::ssh;
  if (args.given("stdio")) return UplinkWay::stdio;
  return args.given("evpn") ? UplinkWay::evpn : UplinkWay::vxlan;
}

/// What an address is that cannot be that of one machine; empty: it can.
std::string why_not_one_machine(const tap::IpAddress& address) {
  const auto has_only = [&](std::uint8_t value) {
    const std::uint32_t bytes = address.bits() / 8;
    return std::all_of(address.bytes.begin(), address.bytes.begin() + bytes,
                       [value](std::uint8_t b) { return b == value; });
  };
  if (has_only(0)) return "the unspecified address";
  if (address.is_v6()) return address.bytes[0] == 0xff ? "a multicast address" : "";
  if (has_only(0xff)) return "a broadcast address";
  if (address.bytes[0] >= 240) return "a reserved address";
  return address.bytes[0] >= 224 ? "a multicast address" : "";
}

void check_remotes(const UplinkWish& wish) {
  const std::string option = wish.way == UplinkWay::evpn ? "--evpn" : "--remote";
  for (const tap::IpAddress& each : wish.remotes) {
    if (const std::string why = why_not_one_machine(each); !why.empty()) {
      std::string text = option;
      text.append(1, ' ').append(each.to_string()).append(" is ").append(why);
      text.append(", and not the address of one machine (give ").append(option);
      throw UsageError{text.append(" once for each machine)")};
    }
    if (each.family != wish.remotes.front().family)
      throw UsageError{option + ": " + wish.remotes.front().to_string() + " and " +
                       each.to_string() + " (give only IPv4 or only IPv6 addresses)"};
    if (std::ranges::count(wish.remotes, each) > 1)
      throw UsageError{option + ' ' + each.to_string() + " is given twice"};
    if (wish.way == UplinkWay::evpn && each.is_v6())
      throw UsageError{"--evpn " + each.to_string() +
                       ": FRR knows VXLAN over IPv4 only (give an IPv4 address)"};
  }
  if (wish.local && wish.local->family != wish.remotes.front().family)
    throw UsageError{"--local " + wish.local->to_string() + " and " + option + ' ' +
                     wish.remotes.front().to_string() + " (give addresses of one family)"};
}

void read_vxlan(const Arguments& args, UplinkWish& wish) {
  refuse_options(args, {"ssh-option", "far-program"}, "needs --ssh");
  wish.vxlan_id = static_cast<std::uint32_t>(*args.count("vxlan", 0, tap::kMaxVxlanId));
  wish.udp_port =
      static_cast<std::uint16_t>(args.count("udp-port", 1, 65535).value_or(tap::kVxlanPort));
  if (const auto text = args.text("local")) wish.local = read_ip("--local", *text);
  const bool evpn = wish.way == UplinkWay::evpn;
  if (evpn && args.given("remote"))
    throw UsageError{
        "--remote and --evpn exclude each other (with --evpn, the peers tell which machines there "
        "are)"};
  if (evpn != args.given("asn"))
    throw UsageError{evpn ? "--evpn needs --asn N, the number of the autonomous system, such as "
                            "65000"
                          : "--asn needs --evpn"};
  if (evpn && wish.udp_port != tap::kVxlanPort)
    throw UsageError{"--udp-port is for --remote (EVPN uses port " +
                     std::to_string(tap::kVxlanPort) + ')'};
  for (const std::string& text : args.all(evpn ? "evpn" : "remote"))
    wish.remotes.push_back(read_ip(evpn ? "--evpn" : "--remote", text));
  if (wish.remotes.empty())
    throw UsageError{
        "--vxlan needs the other machines (give --remote ADDRESS for each, or --evpn "
        "PEER)"};
  if (evpn) wish.asn = static_cast<std::uint32_t>(*args.count("asn", 1, kMaxAsn));
  check_remotes(wish);
}

}  // namespace

FarBus FarBus::parse(const std::string& text) {
  const std::size_t bracket = text.find('[');
  FarBus far;
  std::size_t colon = std::string::npos;
  if (bracket != std::string::npos && bracket < text.find(':')) {
    const std::size_t end = text.find("]:", bracket);
    if (end != std::string::npos) {
      far.host = text.substr(0, bracket) + text.substr(bracket + 1, end - bracket - 1);
      colon = end + 1;
    }
  } else {
    colon = text.find(':');
    if (colon != std::string::npos) far.host = text.substr(0, colon);
  }
  if (colon != std::string::npos) far.path = text.substr(colon + 1);
  if (far.host.empty() || far.host.ends_with('@') || far.path.empty())
    throw UsageError{"--ssh \"" + text +
                     "\" is not HOST:PATH (for example user@b:/dev/shm/bus0, or "
                     "[fd00::2]:/dev/shm/bus0)"};
  if (far.host.starts_with('-'))
    throw UsageError{"--ssh \"" + text + "\": a name of a host does not begin with '-'"};
  return far;
}

UplinkWish read_uplink_wish(const Arguments& args) {
  UplinkWish wish;
  wish.path = args.positional()[0];
  wish.bus = bus_wish(args);
  wish.port_name = args.text("port-name").value_or("");
  wish.offload = !args.flag("no-offload");
  wish.faults = line_faults_option(args).value_or(LineFaults());
  wish.way = read_way(args);
  switch (wish.way) {
    case UplinkWay::vxlan:
    case UplinkWay::evpn: read_vxlan(args, wish); break;
    case UplinkWay::ssh:
      refuse_options(args, {"remote", "evpn", "asn", "local", "udp-port"}, "needs --vxlan");
      refuse_options(args, {"no-offload"},
                     "needs --vxlan (frames are whole on the way through ssh)");
      wish.far_text = *args.text("ssh");
      wish.far = FarBus::parse(wish.far_text);
      wish.ssh_options = args.all("ssh-option");
      wish.far_program = args.text("far-program").value_or(wish.far_program);
      break;
    case UplinkWay::stdio:
      refuse_options(args, {"remote", "evpn", "asn", "local", "udp-port", "no-offload"},
                     "needs --vxlan");
      refuse_options(args, {"ssh-option", "far-program"}, "needs --ssh");
      refuse_options(args, {"json"}, "is not for --stdio, whose output is the line");
      break;
  }
  return wish;
}

}  // namespace shmif::tools
