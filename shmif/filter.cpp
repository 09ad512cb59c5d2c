#include "shmif/filter.hpp"

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

}  // namespace

Result<FrameFilter> FrameFilter::compile(const std::string& expression) {
  if (expression.empty()) return FrameFilter(nullptr);
  const std::string what = "cannot compile the filter \"" + expression + "\": ";
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
