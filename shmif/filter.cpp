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
  ~Program() { pcap.free_code(&code); }  // does nothing where nothing was compiled
};

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
