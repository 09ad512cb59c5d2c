// `shmifctl wait --tcp`: how the probe finds the service's host, and what it
// takes for an answer.

#include "tools/packets/tcp_probe.hpp"

#include <gtest/gtest.h>
#include <tins/tins.h>

#include <optional>
#include <vector>

#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;
using tools::TcpProbe;
using tools::TcpService;

/// A probe on a bus, and beside it a host that the test plays.
class TcpProbes : public ::testing::Test {
 protected:
  using Sent = std::vector<Tins::EthernetII>;

  /// What the probe has sent since the last look.
  Sent sent() {
    Sent all;
    FrameBatch batch;
    EXPECT_FALSE(host.receive(batch).error);
    for (const FrameView& frame : batch.frames()) {
      EXPECT_GE(frame.size(), 60U);
      all.emplace_back(reinterpret_cast<const std::uint8_t*>(frame.bytes.data()),
                       static_cast<std::uint32_t>(frame.size()));
    }
    return all;
  }
  /// The same, where that is one frame; else an empty one.
  Tins::EthernetII one_sent() {
    Sent all = sent();
    EXPECT_EQ(all.size(), 1U);
    return all.size() == 1 ? all[0] : Tins::EthernetII();
  }
  static void give(TcpProbe& probe, Tins::EthernetII frame) {
    std::vector<std::uint8_t> bytes = frame.serialize();
    bytes.resize(std::max<std::size_t>(bytes.size(), 60));
    probe.take({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  }
  Tins::EthernetII arp_from_host(const std::string& says, const std::string& wants,
                                 Tins::ARP::Flags kind) const {
    Tins::ARP arp(wants, says, Tins::HWAddress<6>(), theirs);
    arp.opcode(kind);
    return Tins::EthernetII(ours, theirs) / arp;
  }
  static TcpService service(const std::string& text) { return TcpService::parse(text).value(); }
  /// A segment of the host, from its port to the other one, that acknowledges
  /// up to there.
  template <class Ip>
  void answer(TcpProbe& probe, const Ip& ip, std::uint16_t from, std::uint16_t to,
              std::uint32_t acknowledged, int flags) {
    Tins::TCP tcp(to, from);
    tcp.seq(77);
    tcp.ack_seq(acknowledged);
    tcp.flags(static_cast<std::uint16_t>(flags));
    give(probe, Tins::EthernetII(ours, theirs) / ip / tcp);
  }
  /// Where a neighbour is, from it; `named` is the option that says so.
  void advertise(TcpProbe& probe, const Tins::IPv6Address& to, const char* target,
                 const Tins::HWAddress<6>& from,
                 const std::optional<Tins::HWAddress<6>>& named = {}) const {
    Tins::ICMPv6 told(Tins::ICMPv6::NEIGHBOUR_ADVERT);
    told.target_addr(target);
    if (named) told.target_link_layer_addr(*named);
    give(probe, Tins::EthernetII(ours, from) / Tins::IPv6(to, target) / told);
  }
  void ask_for(TcpProbe& probe, const Tins::IPv6Address& self, const char* asker_address) const {
    Tins::ICMPv6 asked(Tins::ICMPv6::NEIGHBOUR_SOLICIT);
    asked.target_addr(self);
    give(probe, Tins::EthernetII(ours, theirs) / Tins::IPv6(self, asker_address) / asked);
  }
  static constexpr int kSynAck = Tins::TCP::SYN | Tins::TCP::ACK;
  static constexpr int kRefused = Tins::TCP::RST | Tins::TCP::ACK;

  BusRig rig;
  Port asker = rig.port("asker");
  Port host = rig.port("host");
  const Tins::HWAddress<6> ours{asker.mac().bytes.data()};
  const Tins::HWAddress<6> theirs{host.mac().bytes.data()};
  TcpProbe::Clock::time_point now{};
};

TEST_F(TcpProbes, AskThreeTimesWhetherAnybodyHasTheAddressTheyTake) {
  TcpProbe probe(asker, service("198.18.0.1:80"), {});
  const auto claim = [&] {
    now += milliseconds(100);
    EXPECT_EQ(probe.tick(now), now + milliseconds(100));
    const Tins::EthernetII frame = one_sent();
    const Tins::ARP& arp = frame.rfind_pdu<Tins::ARP>();
    EXPECT_EQ(frame.dst_addr().to_string(), "ff:ff:ff:ff:ff:ff");
    EXPECT_EQ(arp.opcode(), Tins::ARP::REQUEST);
    EXPECT_EQ(arp.sender_hw_addr(), ours);
    EXPECT_EQ(arp.sender_ip_addr().to_string(), "0.0.0.0") << "nobody is to remember it";
    return arp.target_ip_addr().to_string();
  };
  const auto asks_from = [&](const std::string& self) {
    now += milliseconds(100);
    probe.tick(now);
    const Tins::EthernetII frame = one_sent();
    const Tins::ARP& arp = frame.rfind_pdu<Tins::ARP>();
    EXPECT_EQ(arp.sender_ip_addr().to_string(), self);
    EXPECT_EQ(arp.target_ip_addr().to_string(), "198.18.0.1");
  };
  std::string self = claim();
  EXPECT_TRUE(self.starts_with("198.18.0.")) << self;
  EXPECT_NE(self, "198.18.0.1");
  EXPECT_EQ(claim(), self);
  // Somebody has it, and somebody else is about to take it: each time begins
  // anew.
  give(probe, arp_from_host(self, "198.18.0.77", Tins::ARP::REPLY));
  self = claim();
  EXPECT_EQ(claim(), self);
  give(probe, arp_from_host("0.0.0.0", self, Tins::ARP::REQUEST));
  self = claim();
  // Its own question, which an echo brings back, is no claim; nor is what
  // others say of others.
  Tins::ARP own(self, "0.0.0.0", Tins::HWAddress<6>(), ours);
  own.opcode(Tins::ARP::REQUEST);
  give(probe, Tins::EthernetII("ff:ff:ff:ff:ff:ff", ours) / own);
  give(probe, arp_from_host("198.18.0.1", "198.18.0.1", Tins::ARP::REPLY));
  give(probe, arp_from_host("0.0.0.0", "198.18.1.1", Tins::ARP::REQUEST));
  EXPECT_EQ(claim(), self);
  EXPECT_EQ(claim(), self);
  asks_from(self);
  EXPECT_EQ(probe.why(), "no host on the bus has the address 198.18.0.1");
}

TEST_F(TcpProbes, NeverTakeTheAddressOfTheNetworkOrOfEverybody) {
  for (int i = 0; i < 2000; ++i) {
    TcpProbe probe(asker, service("198.18.0.1:80"), {});
    probe.tick(now);
    const std::string taken = one_sent().rfind_pdu<Tins::ARP>().target_ip_addr().to_string();
    ASSERT_TRUE(taken != "198.18.0.0" && taken != "198.18.0.1" && taken != "198.18.0.255") << taken;
  }
}

TEST_F(TcpProbes, TakeTheAnswerToTheirOwnQuestionAndResetTheConnection) {
  TcpProbe probe(asker, service("198.18.0.1:80"), tap::IpAddress::parse("198.18.0.250").value());
  // Nobody answers: it asks again, at twice the distance each time, up to a
  // fifth of a second.
  for (const int pause : {20, 40, 80, 160, 200, 200}) {
    EXPECT_EQ(probe.tick(now), now + milliseconds(pause));
    EXPECT_EQ(probe.tick(now + milliseconds(pause - 1)), now + milliseconds(pause)) << "too early";
    const Tins::ARP arp = one_sent().rfind_pdu<Tins::ARP>();
    EXPECT_EQ(arp.sender_ip_addr().to_string(), "198.18.0.250");
    EXPECT_EQ(arp.target_ip_addr().to_string(), "198.18.0.1");
    now += milliseconds(pause);
  }
  // Who asks for it is answered, or nobody could answer it.
  give(probe, arp_from_host("198.18.0.1", "198.18.0.250", Tins::ARP::REQUEST));
  const Tins::EthernetII told = one_sent();
  EXPECT_EQ(told.dst_addr(), theirs);
  EXPECT_EQ(told.rfind_pdu<Tins::ARP>().opcode(), Tins::ARP::REPLY);
  EXPECT_EQ(told.rfind_pdu<Tins::ARP>().sender_ip_addr().to_string(), "198.18.0.250");
  EXPECT_EQ(told.rfind_pdu<Tins::ARP>().sender_hw_addr(), ours);

  EXPECT_EQ(probe.tick(now), now + milliseconds(20)) << "and the host is known by its question";
  const Tins::EthernetII first = one_sent();
  EXPECT_EQ(first.dst_addr(), theirs);
  EXPECT_EQ(first.rfind_pdu<Tins::IP>().src_addr().to_string(), "198.18.0.250");
  EXPECT_EQ(first.rfind_pdu<Tins::IP>().dst_addr().to_string(), "198.18.0.1");
  const Tins::TCP old = first.rfind_pdu<Tins::TCP>();
  EXPECT_EQ(old.dport(), 80);
  EXPECT_GE(old.sport(), 49152);
  EXPECT_EQ(old.flags(), Tins::TCP::SYN);
  EXPECT_EQ(probe.why(),
            "198.18.0.1 is at " + host.mac().to_string() + ", but does not answer 198.18.0.250");

  now += milliseconds(20);
  EXPECT_EQ(probe.tick(now), now + milliseconds(40));
  const Tins::TCP syn = one_sent().rfind_pdu<Tins::TCP>();
  const std::uint16_t port = syn.sport();
  const std::uint32_t next = syn.seq() + 1;
  const Tins::IP back("198.18.0.250", "198.18.0.1");
  answer(probe, Tins::IP("198.18.0.250", "198.18.0.2"), 80, port, next, kSynAck);
  answer(probe, Tins::IP("198.18.0.251", "198.18.0.1"), 80, port, next, kSynAck);
  answer(probe, back, 81, port, next, kSynAck);
  answer(probe, back, 80, static_cast<std::uint16_t>(port ^ 1U), next, kSynAck);
  answer(probe, back, 80, port, syn.seq(), kSynAck);
  answer(probe, back, 80, port, next, Tins::TCP::ACK);
  EXPECT_FALSE(probe.answered());
  EXPECT_TRUE(sent().empty());
  answer(probe, back, 80, port, syn.seq(), Tins::TCP::RST);
  EXPECT_FALSE(contains(probe.why(), "nothing listens")) << "that was another's";
  answer(probe, back, 80, port, next, kRefused);
  EXPECT_EQ(probe.why(),
            "198.18.0.1 is at " + host.mac().to_string() + ", but nothing listens on port 80");

  answer(probe, back, 80, port, next, kSynAck);
  EXPECT_TRUE(probe.answered());
  const Tins::TCP reset = one_sent().rfind_pdu<Tins::TCP>();
  EXPECT_EQ(reset.flags(), Tins::TCP::RST);
  EXPECT_EQ(reset.seq(), syn.seq() + 1);
  EXPECT_EQ(reset.sport(), syn.sport());
  EXPECT_EQ(reset.dport(), 80);
}

TEST_F(TcpProbes, SpeakIpv6FromTheLinkLocalAddressOfTheirMac) {
  TcpProbe probe(asker, service("[fd00::1:2345]:8080"), {});
  probe.tick(now);
  const Tins::EthernetII question = one_sent();
  EXPECT_EQ(question.dst_addr().to_string(), "33:33:ff:01:23:45");
  const Tins::IPv6 asked = question.rfind_pdu<Tins::IPv6>();
  EXPECT_EQ(asked.dst_addr().to_string(), "ff02::1:ff01:2345");
  EXPECT_EQ(asked.hop_limit(), 255) << "others are not believed";
  const Tins::IPv6Address self = asked.src_addr();
  EXPECT_TRUE(self.to_string().starts_with("fe80::")) << self.to_string();
  const Tins::ICMPv6 solicit = question.rfind_pdu<Tins::ICMPv6>();
  EXPECT_EQ(solicit.type(), Tins::ICMPv6::NEIGHBOUR_SOLICIT);
  EXPECT_EQ(solicit.target_addr().to_string(), "fd00::1:2345");
  EXPECT_EQ(solicit.source_link_layer_addr(), ours);

  advertise(probe, self, "fd00::1:2346", theirs, theirs);
  EXPECT_EQ(probe.why(), "no host on the bus has the address fd00::1:2345");
  advertise(probe, self, "fd00::1:2345", theirs, theirs);
  EXPECT_EQ(probe.why(), "fd00::1:2345 is at " + host.mac().to_string() + ", but does not answer " +
                             self.to_string());
  ask_for(probe, self, "fd00::1:2345");
  const Tins::EthernetII told_frame = one_sent();
  EXPECT_EQ(told_frame.dst_addr(), theirs);
  const Tins::ICMPv6 told = told_frame.rfind_pdu<Tins::ICMPv6>();
  EXPECT_EQ(told.type(), Tins::ICMPv6::NEIGHBOUR_ADVERT);
  EXPECT_EQ(told.target_addr(), self);
  EXPECT_EQ(told.target_link_layer_addr(), ours);
  EXPECT_EQ(told_frame.rfind_pdu<Tins::IPv6>().hop_limit(), 255);

  probe.tick(now);
  const Tins::EthernetII frame = one_sent();
  EXPECT_EQ(frame.dst_addr(), theirs);
  const Tins::TCP syn = frame.rfind_pdu<Tins::TCP>();
  EXPECT_EQ(syn.dport(), 8080);
  answer(probe, Tins::IPv6(self, "fd00::1:2345"), 8080, syn.sport(), syn.seq() + 1, kSynAck);
  EXPECT_TRUE(probe.answered());
}

TEST_F(TcpProbes, StayWithTheHostThatAnsweredFirst) {
  TcpProbe probe(asker, service("198.18.0.1:80"), tap::IpAddress::parse("198.18.0.250").value());
  const Tins::HWAddress<6> other("02:00:00:00:00:99");
  const auto claims = [&](const Tins::HWAddress<6>& mac) {
    Tins::ARP arp("198.18.0.250", "198.18.0.1", ours, mac);
    arp.opcode(Tins::ARP::REPLY);
    give(probe, Tins::EthernetII(ours, mac) / arp);
  };
  probe.tick(now);
  one_sent();
  claims(theirs);
  EXPECT_EQ(probe.tick(now), now + milliseconds(20));
  EXPECT_EQ(one_sent().dst_addr(), theirs);
  claims(other);
  EXPECT_EQ(probe.tick(now), now + milliseconds(20)) << "and asks no sooner for it";
  EXPECT_TRUE(sent().empty());
  EXPECT_TRUE(probe.why().starts_with("198.18.0.1 is at " + host.mac().to_string())) << probe.why();
}

TEST_F(TcpProbes, AnswerOnlyQuestionsForTheirOwnAddress) {
  TcpProbe probe(asker, service("198.18.0.1:80"), tap::IpAddress::parse("198.18.0.250").value());
  give(probe, arp_from_host("198.18.0.9", "198.18.0.251", Tins::ARP::REQUEST));
  give(probe, arp_from_host("198.18.0.9", "198.18.0.250", Tins::ARP::REPLY));
  EXPECT_TRUE(sent().empty()) << "a question for another host, and no question";
  give(probe, arp_from_host("198.18.0.9", "198.18.0.250", Tins::ARP::REQUEST));
  const Tins::ARP told = one_sent().rfind_pdu<Tins::ARP>();
  EXPECT_EQ(told.target_ip_addr().to_string(), "198.18.0.9");
  EXPECT_EQ(told.target_hw_addr(), theirs);
  EXPECT_EQ(probe.why(), "no host on the bus has the address 198.18.0.1")
      << "it was another one that asked";
}

TEST_F(TcpProbes, ThatLookForAnotherHostBeginAnew) {
  TcpProbe probe(asker, service("198.18.0.1:80"), tap::IpAddress::parse("198.18.0.250").value());
  const auto asks = [&] {
    EXPECT_EQ(probe.tick(now), now + milliseconds(20));
    return one_sent();
  };
  probe.look_for_another();  // it has not found a first host yet
  (void)asks();
  now += milliseconds(20);
  EXPECT_EQ(probe.tick(now), now + milliseconds(40));
  (void)one_sent();
  probe.look_for_another();
  EXPECT_EQ(probe.tick(now), now + milliseconds(40)) << "nor has it now";
  EXPECT_TRUE(sent().empty());
  give(probe, arp_from_host("198.18.0.1", "198.18.0.250", Tins::ARP::REPLY));
  const Tins::TCP syn = asks().rfind_pdu<Tins::TCP>();
  const Tins::IP back("198.18.0.250", "198.18.0.1");
  answer(probe, back, 80, syn.sport(), syn.seq() + 1, kRefused);
  EXPECT_TRUE(probe.why().ends_with(", but nothing listens on port 80")) << probe.why();

  probe.look_for_another();
  EXPECT_FALSE(probe.host());
  EXPECT_EQ(probe.why(), "no host on the bus has the address 198.18.0.1");
  EXPECT_EQ(asks().rfind_pdu<Tins::ARP>().target_ip_addr().to_string(), "198.18.0.1");
  give(probe, arp_from_host("198.18.0.1", "198.18.0.250", Tins::ARP::REPLY));
  EXPECT_TRUE(probe.why().ends_with(", but does not answer 198.18.0.250"))
      << "what the one before refused, this one did not: " << probe.why();

  const Tins::TCP again = asks().rfind_pdu<Tins::TCP>();
  answer(probe, back, 80, again.sport(), again.seq() + 1, kSynAck);
  EXPECT_TRUE(probe.answered());
  probe.look_for_another();
  EXPECT_TRUE(probe.answered()) << "the service has answered, whatever became of its host since";
}

/// Without the option that names it, a neighbour is who sends.
TEST_F(TcpProbes, OverIpv6AskWhereTheFirstAnswerSaysWhoeverSentIt) {
  const Tins::HWAddress<6> other("02:00:00:00:00:77");
  for (const bool is_named : {true, false}) {
    TcpProbe probe(asker, service("[fd00::1]:80"), {});
    probe.tick(now);
    const Tins::IPv6Address self = one_sent().rfind_pdu<Tins::IPv6>().src_addr();
    advertise(probe, self, "fd00::1", theirs, is_named ? std::optional(other) : std::nullopt);
    advertise(probe, self, "fd00::1", "02:00:00:00:00:99");
    const std::string mac = is_named ? other.to_string() : host.mac().to_string();
    EXPECT_TRUE(probe.why().starts_with("fd00::1 is at " + mac + ", ")) << probe.why();
  }
}

TEST_F(TcpProbes, OverIpv6AnswerAsAHostDoesAndBelieveNobodyElse) {
  TcpProbe probe(asker, service("[fd00::1]:80"), {});
  probe.tick(now);
  const Tins::IPv6Address self = one_sent().rfind_pdu<Tins::IPv6>().src_addr();
  const auto& m = asker.mac().bytes;
  const std::array<std::uint8_t, 16> eui64{
      0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<std::uint8_t>(m[0] ^ 2U),
      m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  EXPECT_EQ(self, Tins::IPv6Address(eui64.data()));

  // Of no meaning over IPv6, though its first four bytes are the service's.
  give(probe, arp_from_host("253.0.0.0", "253.0.0.0", Tins::ARP::REPLY));
  // What is cut short or is no frame at all.
  const std::array<std::byte, 60> zeros{};
  for (const std::size_t size : {0U, 5U, 14U, 60U}) probe.take({zeros.data(), size});
  EXPECT_EQ(probe.why(), "no host on the bus has the address fd00::1");

  ask_for(probe, self, "::");
  EXPECT_TRUE(sent().empty()) << "that one only wants to have the address itself";
  ask_for(probe, self, "fd00::1");
  const Tins::ICMPv6 advert = one_sent().rfind_pdu<Tins::ICMPv6>();
  EXPECT_EQ(advert.solicited(), 1);
  EXPECT_EQ(advert.override(), 1);

  advertise(probe, self, "fd00::1", theirs);
  probe.tick(now);
  const Tins::TCP syn = one_sent().rfind_pdu<Tins::TCP>();
  const auto answers = [&](const Tins::IPv6Address& from, const Tins::IPv6Address& to) {
    answer(probe, Tins::IPv6(to, from), 80, syn.sport(), syn.seq() + 1, kSynAck);
    return probe.answered();
  };
  EXPECT_FALSE(answers("fd00::2", self));
  EXPECT_FALSE(answers("fd00::1", "fd00::3"));
  EXPECT_TRUE(answers("fd00::1", self));
}

}  // namespace
}  // namespace shmif::test
