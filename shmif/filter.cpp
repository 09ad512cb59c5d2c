#include "shmif/filter.hpp"

#include <pcap/pcap.h>

#include <utility>

namespace shmif {

struct FrameFilter::Program {
  bpf_program code{};

  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { pcap_freecode(&code); }  // does nothing where nothing was compiled
};

Result<FrameFilter> FrameFilter::compile(const std::string& expression) {
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> ethernet(
      pcap_open_dead(DLT_EN10MB, static_cast<int>(kMaxFrameBytes)), pcap_close);
  if (!ethernet)
    return Error(std::make_error_code(std::errc::not_enough_memory), "cannot compile a filter");
  auto program = std::make_unique<Program>();
  if (pcap_compile(ethernet.get(), &program->code, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) !=
      0) {
    return Error(Errc::bad_argument, "cannot compile the filter \"" + expression +
                                         "\": " + pcap_geterr(ethernet.get()) +
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
  pcap_pkthdr header{};
  header.caplen = static_cast<bpf_u_int32>(frame.size());
  header.len = frame.truncated() ? frame.true_bytes : header.caplen;
  return pcap_offline_filter(&program_->code, &header,
                             reinterpret_cast<const unsigned char*>(frame.bytes.data())) != 0;
}

}  // namespace shmif
