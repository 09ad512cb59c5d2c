// The file format: pcap-savefile(5). Numbers are in the writer's byte order, which the magic shows.

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/wall_clock.hpp"
#include "shmif/capture/capture_file.hpp"
#include "shmif/capture/pcap_link.hpp"

namespace shmif {
namespace {

struct FileHeader {
  std::uint32_t magic = 0xa1b23c4d;  // times in nanoseconds
  std::uint16_t version_major = 2;
  std::uint16_t version_minor = 4;
  std::uint32_t zone = 0;
  std::uint32_t accuracy = 0;
  std::uint32_t snap_bytes = 262144;  // the most that Wireshark accepts
  std::uint32_t link_type = 1;        // LINKTYPE_ETHERNET
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  std::uint32_t seconds;
  std::uint32_t nanoseconds;
  std::uint32_t captured_bytes;
  std::uint32_t true_bytes;
};
static_assert(sizeof(RecordHeader) == 16);

}  // namespace

struct PcapWriter::Impl {
  std::unique_ptr<CaptureFile> file;
  std::size_t snap_bytes = 0;

  void put(const FrameView& frame) noexcept {
    const std::uint64_t time = frame.time_ns != 0 ? frame.time_ns : base::wall_clock_ns();
    const std::size_t kept = snap_bytes == 0 ? frame.size() : std::min(snap_bytes, frame.size());
    std::byte* const to = file->reserve(sizeof(RecordHeader) + kept);
    if (to == nullptr) return;
    const RecordHeader record{.seconds = static_cast<std::uint32_t>(time / 1'000'000'000U),
                              .nanoseconds = static_cast<std::uint32_t>(time % 1'000'000'000U),
                              .captured_bytes = static_cast<std::uint32_t>(kept),
                              .true_bytes = frame.truncated()
                                                ? frame.true_bytes
                                                : static_cast<std::uint32_t>(frame.size())};
    std::memcpy(to, &record, sizeof record);
    std::memcpy(to + sizeof record, frame.bytes.data(), kept);
    file->commit(sizeof record + kept, CaptureFile::Holds::frame);
  }
};

Result<PcapWriter> PcapWriter::create(const std::string& path, const PcapWriteOptions& options) {
  FileHeader header;
  if (options.snap_bytes != 0) header.snap_bytes = options.snap_bytes;
  auto file = CaptureFile::create(path,
                                  {.buffer_bytes = options.buffer_bytes,
                                   .replace = replaceable(options.replace),
                                   .stop_descriptor = options.stop_descriptor},
                                  std::as_bytes(std::span(&header, 1)));
  if (!file) return std::move(file).error();
  auto impl = std::make_unique<Impl>();
  impl->file = *std::move(file);
  impl->snap_bytes = options.snap_bytes;
  return PcapWriter(std::move(impl));
}

PcapWriter::PcapWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapWriter::PcapWriter(PcapWriter&&) noexcept = default;
PcapWriter& PcapWriter::operator=(PcapWriter&& other) noexcept {
  if (this != &other) {
    if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
    impl_ = std::move(other.impl_);
  }
  return *this;
}
PcapWriter::~PcapWriter() {
  if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
}

SendResult PcapWriter::send(std::span<const FrameView> frames) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->send(frames, [this](const FrameView& frame) { impl_->put(frame); });
}

ReceiveResult PcapWriter::receive(FrameBatch&) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  ReceiveResult result;
  if (impl_->file->failed()) result.error = Errc::link_ended;
  return result;
}

int PcapWriter::descriptor() noexcept {
  return impl_->file->descriptor();
}

WaitHint PcapWriter::prepare_wait() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return {.ready = impl_->file->failed()};
}

void PcapWriter::finish_wait() noexcept {}
std::size_t PcapWriter::max_frame_bytes() noexcept {
  return kMaxFrameBytes;
}
std::string PcapWriter::address() {
  return "pcap:" + impl_->file->path();
}

std::error_code PcapWriter::flush() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return impl_->file->report();
}

Result<void> PcapWriter::status() const {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->status();
}

std::uint64_t PcapWriter::written() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->written();
}

std::uint64_t PcapWriter::bytes() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->bytes();
}

}  // namespace shmif
