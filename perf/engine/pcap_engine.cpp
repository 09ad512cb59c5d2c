// engine=pcap: a capture file. Sent frames are recorded; or the frames of the file are received at
// full speed, and then the end has ended.

#include <filesystem>
#include <utility>

#include "perf/engine/link_end.hpp"
#include "shmif/capture/pcap_link.hpp"

namespace shmif::perf {
namespace {

template <class Writer>
WireCounters count_written(Writer& file) {
  WireCounters counted;
  (void)file.flush();  // buffered frames are not in the file
  counted.tx_frames = file.written();
  return counted;
}

/// A capture. If a part of the file cannot be read, it ends with an error, because the part before
/// it would look like the whole capture.
class WholeCapture {
 public:
  explicit WholeCapture(PcapReader file) : file_(std::move(file)) {}

  SendResult send(std::span<const FrameView> frames) noexcept { return file_.send(frames); }
  ReceiveResult receive(FrameBatch& into) noexcept {
    ReceiveResult result = file_.receive(into);
    if (result.error == Errc::link_ended && !told_) {
      told_ = true;
      if (const Result<void> status = file_.status(); !status) {
        const std::error_code why = status.error().code;
        const bool sound = why == Errc::frame_too_long || why == std::errc::not_supported;
        result.error = sound ? why : Errc::corrupt;
      }
    }
    return result;
  }
  int descriptor() noexcept { return file_.descriptor(); }
  WaitHint prepare_wait() noexcept { return file_.prepare_wait(); }
  void finish_wait() noexcept { file_.finish_wait(); }
  std::size_t max_frame_bytes() noexcept { return file_.max_frame_bytes(); }
  std::string address() { return file_.address(); }

 private:
  PcapReader file_;
  bool told_ = false;  // the error was reported
};

class PcapWire final : public Wire {
 public:
  PcapWire(std::string filename, bool records)
      : filename_(std::move(filename)), records_(records) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = kPcapEngine.capabilities;
    can.counts = records_;
    return can;
  }
  std::string address() const override { return "pcap:" + filename_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, 1, address()); !fits) return std::move(fits).error();
    if (records_) {
      return names_pcapng(filename_) ? open_writer<PcapngWriter>(options)
                                     : open_writer<PcapWriter>(options);
    }
    auto file = PcapReader::open(filename_);
    if (!file) return std::move(file).error();
    return make_end(WholeCapture(*std::move(file)), options, RoomWait::sleep,
                    [](const WholeCapture&) { return WireCounters{}; });
  }

 private:
  template <class Writer>
  Result<std::unique_ptr<End>> open_writer(const EndOptions& options) {
    auto file = Writer::create(filename_);
    if (!file) return std::move(file).error();
    return make_end(*std::move(file), options, RoomWait::sleep, count_written<Writer>);
  }

  std::string filename_;
  bool records_;
};

Result<std::unique_ptr<Wire>> make_pcap_wire(const JobOptions& job, std::size_t /*ends*/) {
  const bool records = job.rw == Role::tx;
  std::error_code unknown;
  if (!records && job.filename != "-" && !std::filesystem::is_fifo(job.filename, unknown)) {
    // Reports errors before any job starts. Each job opens the file again, from its beginning. A
    // FIFO has only one beginning, and a job that waits for it can be ended.
    if (auto file = PcapReader::open(job.filename); !file) return std::move(file).error();
  }
  return std::unique_ptr<Wire>(std::make_unique<PcapWire>(job.filename, records));
}

}  // namespace

const Engine kPcapEngine{
    .kind = EngineKind::pcap,
    .name = "pcap",
    .wire = "a capture file that a job writes or reads",
    .capabilities = {.addresses = false, .counts = true, .has_latency = false, .max_ends = 1},
    .through = Through::files,
    .passes_network = false,
    .has_receiver = false,
    .make_wire = make_pcap_wire};

}  // namespace shmif::perf
