// engine=pcap: a capture file. What is sent is recorded; or what is in it is received, flat out,
// and then the end has ended.

#include <utility>

#include "perf/engine/link_end.hpp"
#include "perf/engine/wires.hpp"
#include "shmif/pcap_link.hpp"

namespace shmif::perf {
namespace {

WireCounters count_written(PcapWriter& file) {
  WireCounters counted;
  (void)file.flush();  // what is still in the buffer is not in the file
  counted.tx_frames = file.written();
  return counted;
}

class PcapWire final : public Wire {
 public:
  PcapWire(std::string filename, bool records)
      : filename_(std::move(filename)), records_(records) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = capabilities_of(EngineKind::pcap);
    can.sends = can.counts = records_;
    can.receives = !records_;
    return can;
  }
  std::string address() const override { return "pcap:" + filename_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, 1, address()); !fits) return std::move(fits).error();
    if (records_) {
      auto file = PcapWriter::create(filename_);
      if (!file) return std::move(file).error();
      return make_end(*std::move(file), options, WhenFull::sleep, count_written);
    }
    auto file = PcapReader::open(filename_);
    if (!file) return std::move(file).error();
    return make_end(*std::move(file), options, WhenFull::sleep,
                    [](const PcapReader&) { return WireCounters{}; });
  }

 private:
  std::string filename_;
  bool records_;
};

}  // namespace

Result<std::unique_ptr<Wire>> make_pcap_wire(const JobOptions& job) {
  if (job.filename.empty()) {
    return Error(Errc::bad_argument, "engine=pcap has no file (give 'filename')");
  }
  if (job.rw != Role::tx && job.rw != Role::rx) {
    return Error(Errc::bad_argument,
                 "engine=pcap records into " + job.filename +
                     ", or its frames are received, but not both (give rw=tx or rw=rx)");
  }
  const bool records = job.rw == Role::tx;
  if (!records && job.filename != "-") {
    // Said before any job starts; each opens it again, from its beginning.
    if (auto file = PcapReader::open(job.filename); !file) return std::move(file).error();
  }
  return std::unique_ptr<Wire>(std::make_unique<PcapWire>(job.filename, records));
}

}  // namespace shmif::perf
