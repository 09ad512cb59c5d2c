#include "shmif/filter.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "shmif/pcap_library.hpp"

namespace shmif {

struct FrameFilter::Program {
  const PcapLibrary& pcap;
  bpf_program code{};

  explicit Program(const PcapLibrary& library) : pcap(library) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { pcap.free_code(&code); }  // does nothing if no program was compiled
};

namespace {

/// Whether a program loads facts about a packet that only the kernel knows: its direction, its
/// interface. It loads them from negative offsets (linux/filter.h, SKF_AD_OFF). Outside the kernel
/// such a load fails, and then the filter matches no frame.
bool asks_the_kernel(const bpf_program& code) noexcept {
  constexpr bpf_u_int32 kFirst = 0xfffff000;
  for (u_int i = 0; i < code.bf_len; ++i) {
    const bpf_insn& each = code.bf_insns[i];
    const bool loads = BPF_CLASS(each.code) == BPF_LD || BPF_CLASS(each.code) == BPF_LDX;
    if (loads && BPF_MODE(each.code) == BPF_ABS && each.k >= kFirst) return true;
  }
  return false;
}

/// The words of the language, in ascending order. libpcap makes a name of every other word that
/// begins with a letter.
constexpr auto kWords = std::to_array<std::string_view>({
    "aarp",
    "ah",
    "and",
    "arp",
    "atalk",
    "broadcast",
    "carp",
    "clnp",
    "decnet",
    "dst",
    "es-is",
    "esis",
    "esp",
    "ether",
    "gateway",
    "geneve",
    "greater",
    "host",
    "icmp",
    "icmp-echo",
    "icmp-echoreply",
    "icmp-redirect",
    "icmp-routeradvert",
    "icmp-routersolicit",
    "icmp-timxceed",
    "icmp-unreach",
    "icmp6",
    "icmp6-echo",
    "icmp6-echoreply",
    "icmp6-neighboradvert",
    "icmp6-neighborsolicit",
    "icmp6-packettoobig",
    "icmp6-routeradvert",
    "icmp6-routersolicit",
    "icmp6-timeexceeded",
    "icmp6code",
    "icmp6type",
    "icmpcode",
    "icmptype",
    "ifindex",
    "igmp",
    "igrp",
    "inbound",
    "ip",
    "ip6",
    "ipx",
    "is-is",
    "isis",
    "iso",
    "lat",
    "len",
    "length",
    "less",
    "link",
    "llc",
    "mask",
    "mopdl",
    "moprc",
    "mpls",
    "multicast",
    "net",
    "netbeui",
    "not",
    "or",
    "outbound",
    "pim",
    "port",
    "portrange",
    "pppoed",
    "pppoes",
    "proto",
    "protochain",
    "rarp",
    "sctp",
    "src",
    "stp",
    "tcp",
    "tcp-ack",
    "tcp-cwr",
    "tcp-ece",
    "tcp-fin",
    "tcp-push",
    "tcp-rst",
    "tcp-syn",
    "tcp-urg",
    "tcpflags",
    "udp",
    "vlan",
    "vrrp",
});
static_assert(std::ranges::is_sorted(kWords));

constexpr std::size_t kMaxDottedParts = 4;
constexpr std::size_t kMacParts = 6;

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHexDigits = "0123456789abcdefABCDEF";

bool consists_of(std::string_view text, std::string_view characters) noexcept {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

/// How many parts a text has between separators, if each has 1 to `longest` of the characters.
/// Otherwise 0.
std::size_t parts_in(std::string_view text, char separator, std::string_view characters,
                     std::size_t longest) noexcept {
  for (std::size_t count = 1;; ++count) {  // one part in each round
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > longest || !consists_of(text.substr(0, end), characters)) return 0;
    if (end == text.size()) return count;
    text.remove_prefix(end + 1);
  }
}

bool is_ip6_address(std::string_view word) noexcept {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (word.size() >= text.size()) return false;
  std::ranges::copy(word, text.begin());
  in6_addr ignored{};
  return ::inet_pton(AF_INET6, text.data(), &ignored) == 1;
}

/// Whether libpcap takes a word for a number, an address, or a slice of a packet ("12:2"). If it
/// cannot, it looks the word up. So "1.2.3.4.5", "7-9" and "cafe" are none.
bool is_number(std::string_view word) noexcept {
  if (word.starts_with("0x") || word.starts_with("0X"))
    return consists_of(word.substr(2), kHexDigits);
  if (word.find(':') != std::string_view::npos) {
    return parts_in(word, ':', kDigits, word.size()) == 2 ||
           parts_in(word, ':', kHexDigits, 2) == kMacParts || is_ip6_address(word);
  }
  const std::size_t dotted = parts_in(word, '.', kDigits, word.size());
  return dotted > 0 && dotted <= kMaxDottedParts;
}

/// Whether a character belongs to a word. The others separate words.
bool is_of_word(char c) noexcept {
  // libpcap takes what follows a backslash for a name, even if it is a word of the language.
  return consists_of({&c, 1}, kDigits) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         c == '-' || c == '_' || c == '.' || c == ':' || c == '\\';
}

}  // namespace

std::string_view name_in_filter(std::string_view filter) noexcept {
  std::string_view before;
  for (const char* at = filter.begin(); at != filter.end();) {
    at = std::find_if(at, filter.end(), is_of_word);
    const char* const end = std::find_if_not(at, filter.end(), is_of_word);
    const std::string_view word(at, end);
    at = end;
    // In "ip[2:2]-20", the word "-20" is a sign and a number.
    const std::size_t signs = std::min(word.find_first_not_of('-'), word.size());
    const std::string_view unsigned_word = word.substr(signs);
    const bool is_range = before == "portrange" && parts_in(word, '-', kDigits, word.size()) == 2;
    const bool is_known = unsigned_word.empty() || std::ranges::binary_search(kWords, word) ||
                          is_number(unsigned_word) || is_range;
    if (!is_known) return word;
    before = word;
  }
  return {};
}

Result<FrameFilter> FrameFilter::compile(const std::string& expression) {
  if (expression.empty()) return FrameFilter(nullptr);
  const std::string what = "cannot compile the filter \"" + expression + "\": ";
  if (const std::string_view name = name_in_filter(expression); !name.empty()) {
    return Error(Errc::bad_argument,
                 what + '"' + std::string(name) +
                     "\" is no number and no word of pcap-filter(7), and names are not looked up "
                     "(write addresses and ports as numbers)");
  }
  const Result<const PcapLibrary*> library = pcap_library();
  if (!library) return Error(library.error().code, what + library.error().message);
  const PcapLibrary& pcap = **library;
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> ethernet(
      pcap.open_dead(DLT_EN10MB, static_cast<int>(kMaxFrameBytes)), pcap.close);
  if (!ethernet)
    return Error(std::make_error_code(std::errc::not_enough_memory), "cannot compile a filter");
  auto program = std::make_unique<Program>(pcap);
  if (pcap.compile(ethernet.get(), &program->code, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) !=
      0) {
    return Error(Errc::bad_argument, what + pcap.error(ethernet.get()) +
                                         " (write it as for tcpdump, see pcap-filter(7))");
  }
  if (asks_the_kernel(program->code)) {
    return Error(Errc::bad_argument,
                 what +
                     "frames of a bus have no direction and no interface, so it would match none "
                     "(leave out inbound, outbound and ifindex)");
  }
  return FrameFilter(std::move(program));
}

FrameFilter::FrameFilter(std::unique_ptr<Program> program) noexcept
    : program_(std::move(program)) {}
FrameFilter::FrameFilter(FrameFilter&&) noexcept = default;
FrameFilter& FrameFilter::operator=(FrameFilter&&) noexcept = default;
FrameFilter::~FrameFilter() = default;

bool FrameFilter::matches(const FrameView& frame) const noexcept {
  if (!program_) return true;
  pcap_pkthdr header{};
  header.caplen = static_cast<bpf_u_int32>(frame.size());
  header.len = frame.truncated() ? frame.true_bytes : header.caplen;
  return program_->pcap.matches(&program_->code, &header,
                                reinterpret_cast<const unsigned char*>(frame.bytes.data())) != 0;
}

}  // namespace shmif
