#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/relay/nat_filter.hpp"

namespace shmif::fuzz {
namespace {

using tools::NatFilter;
using tools::NatWay;
using Frame = std::vector<std::uint8_t>;
using NatTime = tools::NatFlows::Time;

// The network 10.0.2.0/24, as addresses of hosts see it.
constexpr std::uint32_t kNetwork = 0x0a000200, kServed = 0x0a000202, kNames = 0x0a000203;
/// What the fuzzed kernel calls a broadcast address.
bool is_many(std::uint32_t address) {
  return address == 0xc6124dff || (address & 0xfff) == 0x7ff;
}

struct Setting {
  bool passt = false, loopback = false, link_local = false;
};

/// What this target reads in a frame that passed, by itself.
class Reading {
 public:
  Reading(const Frame& frame, NatWay way, const Setting& setting)
      : frame_(frame), out_(way == NatWay::out), setting_(setting) {}

  std::uint32_t byte(std::size_t at) const { return at < frame_.size() ? frame_[at] : 256; }
  std::uint32_t two(std::size_t at) const { return byte(at) * 256 + byte(at + 1); }
  std::uint32_t four(std::size_t at) const { return two(at) * 65536 + two(at + 2); }

  std::uint32_t near() const { return four(out_ ? 26 : 30); }
  std::uint32_t far() const { return four(out_ ? 30 : 26); }
  std::uint32_t near_port() const { return two(out_ ? 34 : 36); }
  std::uint32_t far_port() const { return two(out_ ? 36 : 34); }
  bool is_arp() const { return two(12) == 0x0806; }
  bool is_tcp() const { return byte(23) == 6; }
  bool is_ping() const { return byte(23) == 1; }
  bool is_dhcp() const {
    return byte(23) == 17 && near_port() == 68 && far_port() == 67 &&
           (far() == kServed || (out_ && far() == 0xffffffff));
  }
  bool is_error() const { return is_ping() && !out_ && byte(34) != 0; }

  bool serves(std::uint32_t address) const {
    return address == kServed || (!setting_.passt && address == kNames);
  }
  bool is_host(std::uint32_t address) const {
    return address > kNetwork && address < kNetwork + 255 && !serves(address);
  }

  void check() const {
    require(frame_.size() >= 34, "a short frame");
    const std::uint32_t to = two(0) * 65536 + two(2);
    const bool to_gateway = to == 0x52550a00 && two(4) == 0x0202;
    const bool to_names = !setting_.passt && to == 0x52550a00 && two(4) == 0x0203;
    const bool to_group = (byte(0) & 1) != 0;
    require(!out_ || to_gateway || to_names || to_group, "for others");
    if (is_arp()) return check_arp();
    require(two(12) == 0x0800 && byte(14) == 0x45, "no plain IPv4");
    require(two(16) >= 28 && two(16) <= frame_.size() - 14, "a wrong length");
    require((byte(20) & 0xbfU) == 0 && byte(21) == 0, "a fragment");
    require(!to_group || is_dhcp(), "for a group");
    const std::uint32_t inner = two(16) - 20;
    switch (byte(23)) {
      case 1: break;
      case 6:
        require(inner >= 20 && byte(46) / 16 >= 5 && byte(46) / 16 * 4 <= inner, "half of TCP");
        break;
      case 17: require(two(38) >= 8 && two(38) <= inner, "half of UDP"); break;
      default: require(false, "another protocol");
    }
    if (is_dhcp()) {
      require(is_host(near()) || near() == (out_ ? 0 : 0xffffffff), "DHCP of a stranger");
      return;
    }
    require(is_host(near()), "of a stranger");
    if (is_ping()) {
      require(out_ ? byte(34) == 8 : byte(34) == 0 || byte(34) == 3 || byte(34) == 11,
              "ICMP but no ping");
    }
    require(is_tcp() && !out_ ? (byte(47) & 0x12) != 0x02 : true, "a connection from outside");
    check_far();
  }

 private:
  void check_arp() const {
    require(frame_.size() >= 42 && two(14) == 1 && two(16) == 0x0800 && two(18) == 0x0604 &&
                (two(20) == 1 || two(20) == 2),
            "no ARP");
    const std::uint32_t sender = four(28);
    const std::uint32_t target = four(38);
    if (!out_) return require(serves(sender), "ARP for a host's address");
    require(is_host(sender) || (sender == 0 && two(20) == 1), "ARP of a stranger");
    require(serves(target) || (target == sender && sender != 0), "ARP for others");
  }
  void check_far() const {
    const std::uint32_t far = this->far();
    if (far >= kNetwork && far < kNetwork + 256) {
      require(serves(far), "between hosts");
      if (is_error() || (setting_.loopback && far == kServed)) return;
      const bool names = far == kNames && (is_ping() || far_port() == 53);
      require(names || (far == kServed && !setting_.passt && is_ping()) ||
                  (far == kServed && byte(23) == 17 && far_port() == 67),
              "what is not served");
      return;
    }
    require(far >> 24 != 127 && far >> 24 != 0, "the loopback");
    require(far >> 16 != 0xa9fe || setting_.link_local, "link-local");
    require(far >> 28 != 14 && far != 0xffffffff, "multicast or broadcast");
    require(!out_ || !is_many(far), "broadcast of a network here");
  }

  const Frame& frame_;
  bool out_;
  const Setting& setting_;
};

/// Protocol, addresses, ports.
using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
struct Seen {
  NatTime last;
  bool reset = false;     ///< and the host has sent nothing since
  bool answered = false;  ///< TCP can have been established
};

Key key_of(const Reading& frame) {
  if (frame.is_ping()) return {1, frame.near(), frame.far(), frame.two(38), 0};
  return {frame.byte(23), frame.near(), frame.far(), frame.near_port(), frame.far_port()};
}
/// The packet that an ICMP error quotes.
Key quoted_by(const Reading& frame) {
  require(frame.byte(42) == 0x45 && frame.two(16) >= 56, "an error about nothing");
  require((frame.byte(48) & 0x3fU) == 0 && frame.byte(49) == 0, "an error about a fragment");
  require(frame.four(54) == frame.near(), "an error about another's packet");
  if (frame.byte(51) == 1) {
    require(frame.byte(62) == 8, "an error about what is no ping");
    return {1, frame.four(54), frame.four(58), frame.two(66), 0};
  }
  return {frame.byte(51), frame.four(54), frame.four(58), frame.two(62), frame.two(64)};
}

std::chrono::seconds longest_of(const Key& key, const Seen& seen) {
  using tools::NatFlows;
  const auto time = std::get<0>(key) == 17         ? NatFlows::kDatagrams
                    : std::get<0>(key) == 1        ? NatFlows::kEcho
                    : seen.answered && !seen.reset ? NatFlows::kEstablished
                                                   : NatFlows::kTransitory;
  return time + NatFlows::kGrain;
}

/// A frame that can pass, with what `in` chooses; some of its bytes are then overwritten.
Frame make_frame(Input& in, bool out) {
  constexpr std::array<std::uint32_t, 16> kFar{0xc6120901, 0xc6120902, kServed,    kNames,
                                               0x7f000001, 0,          0xa9fea9fe, 0xe00000fb,
                                               0xffffffff, 0x0a0002ff, 0x0a000210, 0xc6124dff,
                                               0xc61207ff, 0x7f000035, 0x0a000200, 0x08080808};
  constexpr std::array<std::uint32_t, 8> kNear{0x0a00020f, 0x0a000210, 0x0a00020f, 0x0a000264,
                                               0,          kServed,    0xffffffff, 0x0a000310};
  constexpr std::array<std::uint16_t, 8> kPorts{4000, 53, 67, 68, 80, 4001, 0, 65535};
  constexpr std::array<std::uint8_t, 4> kProtocols{6, 17, 1, 17};
  const std::uint8_t who = in.byte();
  const std::uint8_t ports = in.byte();
  const std::uint8_t how = in.byte();
  Frame f(14 + 20 + 20 + 28, 0);
  const auto put16 = [&](std::size_t at, std::uint32_t number) {
    f.at(at) = static_cast<std::uint8_t>(number >> 8);
    f.at(at + 1) = static_cast<std::uint8_t>(number);
  };
  const auto put32 = [&](std::size_t at, std::uint32_t number) {
    put16(at, number >> 16);
    put16(at + 2, number);
  };
  const std::uint32_t host = kNear[who / 16 % 8];
  const std::uint32_t far = kFar[who % 16];
  const std::uint16_t near_port = kPorts[ports / 8 % 8];
  const std::uint16_t far_port = kPorts[ports % 8];
  put32(0, 0x52550a00);
  put16(4, 0x0202);
  if ((how & 0x80) != 0) f[0] = 0xff;  // a group
  put16(12, 0x0800);
  const auto put_ip = [&](std::size_t at, bool to_far, std::size_t bytes, std::uint8_t protocol,
                          std::uint32_t near) {
    f.at(at) = 0x45;
    put16(at + 2, static_cast<std::uint32_t>(bytes));
    f.at(at + 9) = protocol;
    put32(at + 12, to_far ? near : far);
    put32(at + 16, to_far ? far : near);
    put16(at + 20, to_far ? near_port : far_port);
    put16(at + 22, to_far ? far_port : near_port);
  };
  const std::uint8_t protocol = kProtocols[how & 3];
  put_ip(14, out, f.size() - 14, protocol, host);
  if (protocol == 17) put16(38, 20);
  if (protocol == 6) {
    constexpr std::array<std::uint8_t, 8> kFlags{0x02, 0x10, 0x12, 0x18, 0x11, 0x04, 0x14, 0x10};
    f[46] = 0x50;
    f[47] = kFlags[how >> 2 & 7];
  }
  if (protocol == 1) {
    const bool error = !out && (how & 4) != 0;
    put16(34, out ? 0x0800U : error ? 0x0301U : 0U);
    put16(38, near_port);
    if (error) {
      const std::size_t other = (who & 0x80) != 0 ? 1 : 0;  // quotes what another host sent
      put_ip(42, true, 28, kProtocols[how >> 3 & 3], kNear[(who / 16 + other) % 8]);
      if (kProtocols[how >> 3 & 3] == 1) {
        put16(62, 0x0800);
        put16(66, near_port);
      }
    }
  }
  if ((how & 0x60) == 0x60) {  // ARP
    put16(12, 0x0806);
    put16(14, 1);
    put16(16, 0x0800);
    put16(18, 0x0604);
    put16(20, 1 + (ports & 1));
    put32(28, out ? host : far);
    put32(38, out ? far : host);
  }
  if ((how & 0x60) == 0x20) {
    for (std::size_t n = in.below(4) + 1; n > 0; --n) f[in.below(f.size())] = in.byte();
  }
  if ((how & 0x60) == 0x40) f.resize(in.below(f.size() + 1));
  return f;
}

}  // namespace

/// Frames both ways through the filter of a gateway. What passes is read here once more.
void nat(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const Setting setting{(options & 1U) != 0, (options & 2U) != 0, (options & 4U) != 0};
  tools::NatWish wish;
  wish.program = setting.passt ? tools::NatProgram::passt : tools::NatProgram::slirp4netns;
  wish.loopback = setting.loopback;
  wish.link_local = setting.link_local;
  NatFilter filter(wish, is_many, {.hosts = 4, .of_host = 32});
  std::map<Key, Seen> flows;
  NatTime now{std::chrono::hours(1)};
  for (unsigned steps = 0; !in.empty() && steps < 24; ++steps) {
    const std::uint8_t step = in.byte();
    constexpr std::array<int, 8> kPauses{0, 0, 0, 0, 59, 239, 299, 7439};
    now += std::chrono::seconds(kPauses[step >> 1 & 7] + ((step & 16) != 0 ? 2 : 0));
    const NatWay way = (step & 1) != 0 ? NatWay::in : NatWay::out;
    const Frame frame = make_frame(in, way == NatWay::out);
    const auto refusal = filter.judge(way, FrameView(frame.data(), frame.size()), now);
    const Reading reading(frame, way, setting);
    const bool is_flow = frame.size() >= 42 && !reading.is_arp() && !reading.is_dhcp();
    if (refusal) {
      if (!is_flow || refusal != tools::NatRefusal::unasked || reading.is_error()) continue;
      const auto seen = flows.find(key_of(reading));
      const bool begins = reading.is_tcp() && (reading.byte(47) & 0x12) == 0x02;
      const auto time = std::chrono::seconds(reading.is_ping()        ? 60
                                             : reading.byte(23) == 17 ? 300
                                                                      : 240);
      require(seen == flows.end() || begins || now - seen->second.last >= time,
              "an answer that was refused");
      continue;
    }
    reading.check();
    if (!is_flow) continue;
    const bool reset = reading.is_tcp() && (reading.byte(47) & 0x04) != 0;
    if (way == NatWay::in) {
      const Key key = reading.is_error() ? quoted_by(reading) : key_of(reading);
      const auto seen = flows.find(key);
      require(seen != flows.end(), "what no host asked for");
      require(now - seen->second.last < longest_of(key, seen->second), "an answer too late");
      if (reading.is_error()) continue;
      seen->second.answered = true;
      if (reset && !seen->second.reset) {
        seen->second.reset = true;
        seen->second.last = now;  // it lives on for kTransitory
      }
      continue;
    }
    Seen& seen = flows[key_of(reading)];
    seen.last = now;
    seen.reset = reset;
  }
  require(filter.refused(NatWay::out) + filter.refused(NatWay::in) == 0, "judging that counts");
}

}  // namespace shmif::fuzz
