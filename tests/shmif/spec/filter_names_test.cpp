// Filters that make nobody wait for a resolver. The resolver of this program is below: it knows no
// names, and keeps the questions.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/ether.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "shmif/faults.hpp"
#include "shmif/filter.hpp"
#include "shmif/pcap_library.hpp"

namespace {

/// The names that were asked for. libpcap also has numeric addresses converted; those are left out.
std::vector<std::string>& asked() {
  static std::vector<std::string> names;
  return names;
}

void ask(const char* name) {
  std::array<unsigned char, sizeof(in6_addr)> ignored{};
  const bool is_address = name == nullptr || ::inet_pton(AF_INET, name, ignored.data()) == 1 ||
                          ::inet_pton(AF_INET6, name, ignored.data()) == 1;
  if (!is_address) asked().emplace_back(name);
}

}  // namespace

// This program exports these functions, so libpcap calls them instead of those of the C library.
extern "C" {
int getaddrinfo(const char* node, const char* service, const addrinfo*, addrinfo**) {
  ask(node);
  ask(service);
  return EAI_NONAME;
}
hostent* gethostbyname(const char* name) {
  ask(name);
  return nullptr;
}
int getnetbyname_r(const char* name, netent*, char*, size_t, netent** result, int* why) {
  ask(name);
  *result = nullptr;
  *why = HOST_NOT_FOUND;
  return 0;
}
int getprotobyname_r(const char* name, protoent*, char*, size_t, protoent** result) {
  ask(name);
  *result = nullptr;
  return 0;
}
int ether_hostton(const char* name, ether_addr*) {
  ask(name);
  return -1;
}
}

namespace shmif::test {
namespace {

/// The names that libpcap itself asks for when it compiles a filter.
std::vector<std::string> asked_by(const std::string& filter) {
  asked().clear();
  const PcapLibrary& pcap = *pcap_library().value();
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> ethernet(pcap.open_dead(DLT_EN10MB, 65536),
                                                            pcap.close);
  bpf_program code{};
  static_cast<void>(pcap.compile(ethernet.get(), &code, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN));
  pcap.free_code(&code);
  return asked();
}

bool has_libpcap() {
  return FrameFilter::compile("udp").has_value();
}

TEST(FilterNames, AreTheWordsForWhichLibpcapAsks) {
  if (!has_libpcap()) GTEST_SKIP() << FrameFilter::compile("udp").error().message;
  for (const auto& [filter, word] : {std::pair{"host example.invalid", "example.invalid"},
                                     {"udp and src cafe", "cafe"},
                                     {"host \\udp", "\\udp"},
                                     {"net loopback", "loopback"},
                                     {"host 0xbad.example", "0xbad.example"},
                                     {"ether host box-1", "box-1"},
                                     {"host Box_A", "Box_A"},
                                     {"src host 1and1.invalid", "1and1.invalid"},
                                     {"dst(box)", "box"},
                                     {"host 1.2.3.4.5", "1.2.3.4.5"},
                                     {"host 1.", "1."},
                                     {"host 7-9", "7-9"},
                                     {"portrange 1-9 or src 7-9", "7-9"},
                                     {"tcp port http", "http"},
                                     {"portrange http-https", "http-https"},
                                     {"ip proto ospf", "ospf"}}) {
    EXPECT_EQ(name_in_filter(filter), word) << filter;
    EXPECT_FALSE(asked_by(filter).empty()) << filter;
    asked().clear();
    const auto refused = FrameFilter::compile(filter);
    ASSERT_FALSE(refused) << filter;
    EXPECT_EQ(refused.error().code, Errc::bad_argument) << filter;
    EXPECT_EQ(refused.error().message,
              "cannot compile the filter \"" + std::string(filter) + "\": \"" + word +
                  "\" is no number and no word of pcap-filter(7), and names are not looked up "
                  "(write addresses and ports as numbers)");
    EXPECT_EQ(asked(), std::vector<std::string>{}) << filter << ": a filter asked a resolver";
  }
  EXPECT_EQ(name_in_filter("host ab:1"), "ab:1");
  EXPECT_EQ(name_in_filter("gateway gw"), "gw");
  EXPECT_EQ(name_in_filter("host \xc3\xa4.invalid"), ".invalid");
}

TEST(FilterNames, NumbersAddressesAndWordsOfTheLanguageAreNone) {
  if (!has_libpcap()) GTEST_SKIP() << FrameFilter::compile("udp").error().message;
  for (const char* const filter : {"udp",
                                   "host 198.18.0.1",
                                   "net 198.18.0.0/15 and not port 53",
                                   "ip6 host fd00::1",
                                   "net fd00::/8",
                                   "ether host b2:a0:00:00:00:01",
                                   "net 10",
                                   "net 10.1 or net 10.1.2",
                                   "(tcp[tcpflags] & (tcp-syn|tcp-fin)) != 0",
                                   "portrange 1-100 or less 0x40",
                                   "greater 0X2f",
                                   "udp[8:4] = 0x73686d66",
                                   "ether[12:2]==0x88b5",
                                   "ip[2:2]-20 > 40",
                                   "ip[2] - 5 = 1",
                                   "icmp6[icmp6type] == icmp6-echo",
                                   "icmp[icmptype] = icmp-redirect",
                                   "vlan 5 and geneve",
                                   "ip6 host ::ffff:198.18.0.1",
                                   "len <= 100 and length >= 60",
                                   "atalk or aarp or es-is"}) {
    EXPECT_EQ(name_in_filter(filter), "") << filter;
    const auto compiled = FrameFilter::compile(filter);
    // getaddrinfo() above knows not even addresses of IPv6.
    const bool needs_answer = std::string_view(filter).find("fd00") != std::string_view::npos ||
                              std::string_view(filter).find("::") != std::string_view::npos;
    EXPECT_TRUE(compiled || needs_answer) << compiled.error().message;
    EXPECT_EQ(asked_by(filter), std::vector<std::string>{}) << filter;
  }
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

/// Words of the language, numbers, and texts that only look like these.
std::string any_filter(std::mt19937& random) {
  static const std::vector<std::string> kParts = words_of(
      "host net port portrange src dst gateway proto ether ip ip6 tcp udp arp and or not ( ) [ ] : "
      "- = / $ \\ 1 80 0x1f 1.2 1.2.3 1.2.3.4 1.2.3.4.5 1-2 1-2-3 :: fd00::1 1:2:3:4:5:6:7:: 1:2 "
      "ab ab:1 b2:0:0:0:0:1 1. 2- -5 a.b tcp-syn len vlan 0x 0xg 1e5 \xff");
  std::string filter;
  for (unsigned count = 1 + random() % 8; count > 0; --count) {
    filter += kParts[random() % kParts.size()];
    if (random() % 3 != 0) filter += ' ';
  }
  return filter;
}

TEST(FilterNames, AFilterInWhichNoneWasFoundAsksNobody) {
  if (!has_libpcap()) GTEST_SKIP() << FrameFilter::compile("udp").error().message;
  constexpr unsigned kFilters = 200'000;
  std::mt19937 random(1);
  unsigned without = 0;
  unsigned asking = 0;
  for (unsigned i = 0; i < kFilters; ++i) {
    const std::string filter = any_filter(random);
    const bool has_name = !name_in_filter(filter).empty();
    if (has_name && random() % 8 != 0) continue;
    const std::vector<std::string> names = asked_by(filter);
    if (has_name) {
      asking += names.empty() ? 0 : 1;
      continue;
    }
    ++without;
    ASSERT_EQ(names, std::vector<std::string>{}) << '"' << filter << '"';
  }
  EXPECT_GT(without, kFilters / 20) << "the test looks at some";
  EXPECT_GT(asking, 100U) << "and would notice questions";
}

TEST(FilterNames, AreRefusedInFaultsBeforeAnybodyIsAsked) {
  asked().clear();
  for (const char* const faults :
       {"match='host example.invalid',loss=1%", "loss=1%,match=host example.invalid",
        "match=\"host example.invalid\",loss=1%", "in:match='host example.invalid',loss=1%",
        "out:match=host example.invalid,loss=1%"}) {
    const auto line = parse_line_faults(faults);
    ASSERT_FALSE(line) << faults;
    EXPECT_EQ(line.error().code, Errc::bad_argument);
    EXPECT_NE(line.error().message.find(
                  "cannot compile the filter \"host example.invalid\": \"example.invalid\" is "
                  "no number and no word of pcap-filter(7), and names are not looked up (write "
                  "addresses and ports as numbers)"),
              std::string::npos)
        << line.error().message;
  }
  EXPECT_EQ(asked(), std::vector<std::string>{});
}

}  // namespace
}  // namespace shmif::test
