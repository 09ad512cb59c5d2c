// Wishes for a guest that cannot be fulfilled: each is refused by name, before anything is made.

#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

/// What is wrong with a host of these addresses and gateways, or "nothing". No host is made: the
/// caller has threads, and that is what Guest::start complains of last.
std::string wrong_with(const std::vector<const char*>& addresses,
                       const std::vector<const char*>& gateways) {
  auto o = guest_running({"true"});
  for (const char* each : addresses) o.interfaces[0].addresses.push_back(*Cidr::parse(each));
  for (const char* each : gateways) o.interfaces[0].gateways.push_back(*IpAddress::parse(each));
  const auto guest = Guest::start(o);
  if (guest) return "started";
  const std::string& message = guest.error().message;
  return message.find("threads") != std::string::npos ? "nothing" : message;
}

TEST(Guest, AGatewayIsTakenWhereItIsInOneOfTheNetworksToTheBit) {
  std::atomic<bool> over{false};
  std::jthread other([&] { over.wait(false); });
  struct Case {
    std::vector<const char*> addresses;
    const char* inside;
    const char* outside;
  };
  for (const Case& each :
       {Case{{"198.18.0.2/25"}, "198.18.0.126", "198.18.0.129"},
        Case{{"198.18.0.2/23"}, "198.18.1.1", "198.18.2.1"},
        Case{{"198.18.0.2/31"}, "198.18.0.3", "198.18.0.1"},
        Case{{"198.18.0.2/24", "198.19.0.2/24"}, "198.19.0.1", "198.17.0.1"},
        Case{{"fd00::2/65"}, "fd00::7fff:0:0:1", "fd00::8000:0:0:1"},
        Case{{"198.18.0.2/24"}, "198.18.0.1", "c612::1"}, Case{{}, "fe80::1", "fec0::1"},
        Case{{"198.18.0.2/24"}, "febf::1", "fe7f::1"}}) {
    EXPECT_EQ(wrong_with(each.addresses, {each.inside}), "nothing") << each.inside;
    const std::string why = wrong_with(each.addresses, {each.outside});
    EXPECT_NE(why.find("is not in any network"), std::string::npos) << each.outside << why;
    EXPECT_EQ(wrong_with(each.addresses, {each.inside, each.outside}), why) << "each is looked at";
  }
  EXPECT_EQ(wrong_with({"198.18.0.2/32"}, {"198.19.0.1"}), "nothing") << "where it is on the link";
  EXPECT_EQ(wrong_with({"fd00::2/128", "198.18.0.2/24"}, {"fd01::1"}), "nothing");
  EXPECT_NE(wrong_with({"fd00::2/128", "198.18.0.2/24"}, {"198.19.0.1"}), "nothing");
  EXPECT_EQ(wrong_with({"198.18.0.2/24", "198.18.0.2/25", "198.18.0.3/24"}, {}), "nothing");
  const std::string twice = wrong_with({"198.18.0.2/24", "198.18.0.3/24", "198.18.0.2/24"}, {});
  EXPECT_NE(twice.find("198.18.0.2/24 twice"), std::string::npos) << twice;
  over = true;
  over.notify_all();
}

TEST(Guest, ProcessWithThreadsIsRefused) {
  std::atomic<bool> over{false};
  std::thread other([&] { over.wait(false); });
  auto guest = Guest::start(guest_running({"true"}));
  over = true;
  over.notify_all();
  other.join();
  ASSERT_FALSE(guest);
  EXPECT_EQ(guest.error().code, make_error_code(Errc::bad_argument));
  EXPECT_NE(guest.error().message.find("threads"), std::string::npos);
}

/// Three interfaces, of which the last two are right alone.
GuestOptions with_three() {
  auto o = guest_running({"true"});
  for (const char* name : {"tap1", "tap2"}) o.interfaces.emplace_back().name = name;
  for (unsigned i = 0; i < 3; ++i) {
    const std::string network = "198.18." + std::to_string(i);
    o.interfaces[i].mac = MacAddress::parse("b2:a0:00:00:00:0" + std::to_string(i));
    o.interfaces[i].addresses = {Cidr::parse(network + ".2/24").value()};
    o.interfaces[i].gateways = {IpAddress::parse(network + ".1").value()};
  }
  return o;
}

TEST(Guest, WhatIsWrongWithAnyOfItsInterfacesIsSaid) {
  std::atomic<bool> over{false};
  std::jthread other([&] { over.wait(false); });  // see wrong_with()
  const auto why = [](const GuestOptions& o) {
    const auto guest = Guest::start(o);
    return guest ? std::string("started") : guest.error().message;
  };
  EXPECT_NE(why(with_three()).find("threads"), std::string::npos) << why(with_three());
  for (unsigned i = 0; i < 3; ++i) {
    const unsigned next = (i + 1) % 3;
    const std::string name = "tap" + std::to_string(i);
    auto o = with_three();
    o.interfaces[i].name = "a b";
    EXPECT_NE(why(o).find("\"a b\" is not a name"), std::string::npos) << why(o);
    o = with_three();
    o.interfaces[i].name = o.interfaces[next].name;
    EXPECT_NE(why(o).find("two interfaces named \"" + o.interfaces[next].name + '"'),
              std::string::npos)
        << why(o);
    const auto with_bridge = [&](const char* bridge, const std::vector<std::string>& taps) {
      auto wish = with_three();
      wish.interfaces[i].lan = GuestLan{.bridge = bridge, .taps = taps};
      return why(wish);
    };
    EXPECT_NE(with_bridge("lan0", {"a", "b"}).find("threads"), std::string::npos);
    for (const auto& [bridge, taps, twice] :
         {std::tuple(name.c_str(), std::vector<std::string>{"a"}, name),
          {"lan0", {"a", "lan0"}, "lan0"},
          {"lan0", {"a", "b", "a"}, "a"},
          {"lan0", {"a", o.interfaces[next].name}, o.interfaces[next].name}}) {
      const std::string said = with_bridge(bridge, taps);
      EXPECT_NE(said.find("two interfaces named \"" + twice + '"'), std::string::npos) << said;
    }
    EXPECT_NE(with_bridge("lan0", {"a", "b c"}).find("\"b c\" is not a name"), std::string::npos);
    o = with_three();
    o.interfaces[i].mac = MacAddress::parse("01:00:5e:00:00:01");
    EXPECT_NE(why(o).find('"' + name + "\" cannot have the MAC address 01:00:5e:00:00:01"),
              std::string::npos)
        << why(o);
    o = with_three();
    o.interfaces[i].addresses.push_back(o.interfaces[i].addresses[0]);
    EXPECT_NE(why(o).find('"' + name + "\" cannot have the address 198.18."), std::string::npos)
        << why(o);
    o = with_three();
    o.interfaces[i].gateways.push_back(o.interfaces[next].gateways[0]);  // of a neighbour's network
    EXPECT_NE(why(o).find("gateway " + o.interfaces[next].gateways[0].to_string() +
                          " is not in any network of interface \"" + name),
              std::string::npos)
        << why(o);
  }
  over = true;
  over.notify_all();
}

}  // namespace
}  // namespace shmif::tap::test
