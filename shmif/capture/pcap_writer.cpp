#include <algorithm>
#include <cstring>
#include <utility>

#include "base/wall_clock.hpp"
#include "shmif/capture/capture_file.hpp"
#include "shmif/capture/pcap_link.hpp"

namespace shmif {
namespace {

// The format pcap: pcap-savefile(5). Numbers are in the writer's byte order, which the magic shows.
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

// The format pcapng: draft-ietf-opsawg-pcapng. A file is a series of blocks. A block is its type,
// its length, fields, options, and its length again. Each option is a code, a length and a value,
// padded to four bytes. Numbers are in the writer's byte order, which the section header shows.
enum class BlockType : std::uint32_t {
  interface_description = 1,
  interface_statistics = 5,
  enhanced_packet = 6,
  section_header = 0x0a0d0d0a,
};

constexpr std::uint16_t kComment = 1;           // of every block
constexpr std::uint16_t kShbApplication = 4;    // shb_userappl
constexpr std::uint16_t kIfName = 2;            // if_name
constexpr std::uint16_t kIfDescription = 3;     // if_description
constexpr std::uint16_t kIfMacAddress = 6;      // if_MACaddr
constexpr std::uint16_t kIfTimeResolution = 9;  // if_tsresol
constexpr std::uint16_t kIfHardware = 15;       // if_hardware
constexpr std::uint16_t kEpbFlags = 2;          // epb_flags
constexpr std::uint16_t kEpbDropCount = 4;      // epb_dropcount
constexpr std::uint16_t kEpbPacketId = 5;       // epb_packetid
constexpr std::uint16_t kIsbReceived = 4;       // isb_ifrecv
constexpr std::uint16_t kIsbDropped = 5;        // isb_ifdrop
constexpr std::uint16_t kIsbAccepted = 6;       // isb_filteraccept

constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
constexpr std::uint16_t kEthernet = 1;         // LINKTYPE_ETHERNET
constexpr std::uint32_t kMaxBytes = 262144;    // of a frame: the most that Wireshark accepts
constexpr std::uint8_t kNanoseconds = 9;       // times count units of 10^-9 s
constexpr std::size_t kMaxTextBytes = 60'000;  // an option's length has 16 bits
constexpr std::size_t kFixedBytes = 96;        // more than any block has without data and texts
constexpr std::size_t kOptionBytes = 4;        // of an option's head; also the end of options

constexpr std::size_t padded(std::size_t bytes) noexcept {
  return (bytes + 3U) & ~std::size_t{3};
}

std::string_view fitting(std::string_view text) noexcept {
  return text.substr(0, kMaxTextBytes);
}

/// Properties that no frame on a wire has: an unfinished checksum, a TCP super-frame.
std::uint32_t flags_of(const FrameView& frame) noexcept {
  constexpr std::uint32_t kChecksumNotReady = 1U << 9U;
  constexpr std::uint32_t kSegmentationOffloaded = 1U << 11U;
  const auto type = frame.offload.gso_type & static_cast<std::uint8_t>(~Offload::kGsoEcn);
  const bool tcp = type == Offload::kGsoTcp4 || type == Offload::kGsoTcp6;
  return (frame.offload.needs_checksum() ? kChecksumNotReady : 0) |
         (tcp ? kSegmentationOffloaded : 0);
}

/// Whether FrameView::number is that of its bus. The first frame of a bus has the number 0.
bool is_numbered(const FrameView& frame) noexcept {
  return frame.sender != FrameView().sender;
}

/// Room for a text as an option, and for the end of options.
std::size_t room_for(std::string_view text) noexcept {
  return 2 * kOptionBytes + padded(fitting(text).size());
}

/// Makes one block in memory that is large enough for it.
class Block {
 public:
  Block(std::byte* to, BlockType type) noexcept : begin_(to), at_(to) {
    number(static_cast<std::uint32_t>(type));
    number(std::uint32_t{0});  // the length, filled in later
  }
  template <class Number>
  void number(Number value) noexcept {
    std::memcpy(at_, &value, sizeof value);
    at_ += sizeof value;
  }
  /// A time: the high half comes first, in either byte order.
  void time(std::uint64_t ns) noexcept {
    number(static_cast<std::uint32_t>(ns >> 32U));
    number(static_cast<std::uint32_t>(ns));
  }
  void data(const void* bytes, std::size_t size) noexcept {
    if (size != 0) std::memcpy(at_, bytes, size);
    at_ += size;
    while ((at_ - begin_) % 4 != 0) *at_++ = std::byte{0};
  }
  void option(std::uint16_t code, const void* value, std::size_t size) noexcept {
    number(code);
    number(static_cast<std::uint16_t>(size));
    data(value, size);
    has_options_ = true;
  }
  void option(std::uint16_t code, std::string_view text) noexcept {
    if (!text.empty()) option(code, fitting(text).data(), fitting(text).size());
  }
  void option(std::uint16_t code, std::uint64_t value) noexcept {
    option(code, &value, sizeof value);
  }
  /// Result: the bytes of the whole block.
  std::size_t finish() noexcept {
    if (has_options_) number(std::uint32_t{0});  // opt_endofopt
    const auto bytes = static_cast<std::uint32_t>(at_ - begin_) + sizeof(std::uint32_t);
    number(static_cast<std::uint32_t>(bytes));
    std::memcpy(begin_ + sizeof(std::uint32_t), at_ - sizeof(std::uint32_t), sizeof(std::uint32_t));
    return bytes;
  }

 private:
  std::byte* begin_;
  std::byte* at_;
  bool has_options_ = false;
};

/// A section header: the beginning of a file, or of a later part of it. `to` has room for the
/// block. Result: its bytes.
std::size_t make_section(std::byte* to, std::string_view comment,
                         std::string_view application) noexcept {
  Block section(to, BlockType::section_header);
  section.number(kByteOrder);
  section.number(std::uint16_t{1});  // version 1.0
  section.number(std::uint16_t{0});
  section.number(std::int64_t{-1});  // the length of the section: unknown
  section.option(kComment, comment);
  section.option(kShbApplication, application);
  return section.finish();
}

}  // namespace

struct CaptureWriter::Impl {
  std::unique_ptr<CaptureFile> file;
  std::uint32_t snap_bytes = 0;
  std::uint32_t interfaces = 0;

  /// How much of the frame is recorded.
  std::size_t kept(const FrameView& frame) const noexcept {
    return snap_bytes == 0 ? frame.size() : std::min<std::size_t>(snap_bytes, frame.size());
  }

  template <class Options>
  static Result<std::unique_ptr<Impl>> create(const std::string& path, const Options& options,
                                              std::span<const std::byte> header) {
    auto file = CaptureFile::create(path,
                                    {.buffer_bytes = options.buffer_bytes,
                                     .replace = replaceable(options.replace),
                                     .stop_descriptor = options.stop_descriptor},
                                    header);
    if (!file) return std::move(file).error();
    return std::make_unique<Impl>(Impl{.file = *std::move(file), .snap_bytes = options.snap_bytes});
  }
};

CaptureWriter::CaptureWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
CaptureWriter::CaptureWriter(CaptureWriter&&) noexcept = default;
CaptureWriter& CaptureWriter::operator=(CaptureWriter&& other) noexcept {
  if (this != &other) {
    if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
    impl_ = std::move(other.impl_);
  }
  return *this;
}
CaptureWriter::~CaptureWriter() {
  if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
}

ReceiveResult CaptureWriter::receive(FrameBatch&) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  ReceiveResult result;
  if (impl_->file->failed()) result.error = Errc::link_ended;
  return result;
}

int CaptureWriter::descriptor() noexcept {
  return impl_->file->descriptor();
}

WaitHint CaptureWriter::prepare_wait() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return {.ready = impl_->file->failed()};
}

void CaptureWriter::finish_wait() noexcept {}
std::size_t CaptureWriter::max_frame_bytes() noexcept {
  return kMaxFrameBytes;
}
std::string CaptureWriter::address() {
  return "pcap:" + impl_->file->path();
}

std::error_code CaptureWriter::flush() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return impl_->file->report();
}

Result<void> CaptureWriter::status() const {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->status();
}

std::uint64_t CaptureWriter::written() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->written();
}

std::uint64_t CaptureWriter::bytes() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->bytes();
}

Result<PcapWriter> PcapWriter::create(const std::string& path, const PcapWriteOptions& options) {
  FileHeader header;
  if (options.snap_bytes != 0) header.snap_bytes = options.snap_bytes;
  auto impl = Impl::create(path, options, std::as_bytes(std::span(&header, 1)));
  if (!impl) return std::move(impl).error();
  return PcapWriter(*std::move(impl));
}

PcapWriter::PcapWriter(std::unique_ptr<Impl> impl) noexcept : CaptureWriter(std::move(impl)) {}

SendResult PcapWriter::send(std::span<const FrameView> frames) noexcept {
  CaptureFile& file = *impl_->file;
  const std::lock_guard lock(file.mutex);
  return file.send(frames, [&](const FrameView& frame) {
    const std::uint64_t time = frame.time_ns != 0 ? frame.time_ns : base::wall_clock_ns();
    const std::size_t kept = impl_->kept(frame);
    std::byte* const to = file.reserve(sizeof(RecordHeader) + kept);
    if (to == nullptr) return;
    const RecordHeader record{.seconds = static_cast<std::uint32_t>(time / 1'000'000'000U),
                              .nanoseconds = static_cast<std::uint32_t>(time % 1'000'000'000U),
                              .captured_bytes = static_cast<std::uint32_t>(kept),
                              .true_bytes = frame.truncated()
                                                ? frame.true_bytes
                                                : static_cast<std::uint32_t>(frame.size())};
    std::memcpy(to, &record, sizeof record);
    std::memcpy(to + sizeof record, frame.bytes.data(), kept);
    file.commit(sizeof record + kept, CaptureFile::Holds::frame);
  });
}

bool names_pcapng(std::string_view path) noexcept {
  return path.ends_with(".pcapng");
}

Result<PcapngWriter> PcapngWriter::create(const std::string& path,
                                          const PcapngWriteOptions& options) {
  std::vector<std::byte> header(kFixedBytes + room_for(options.comment) +
                                room_for(options.application));
  header.resize(make_section(header.data(), options.comment, options.application));
  auto impl = Impl::create(path, options, header);
  if (!impl) return std::move(impl).error();
  return PcapngWriter(*std::move(impl));
}

PcapngWriter::PcapngWriter(std::unique_ptr<Impl> impl) noexcept : CaptureWriter(std::move(impl)) {}

/// The caller holds the lock, as for record().
std::uint32_t PcapngWriter::add(const PcapngInterface& about) noexcept {
  std::byte* const to = impl_->file->reserve(
      kFixedBytes + room_for(about.name) + room_for(about.description) + room_for(about.hardware));
  if (to != nullptr) {
    Block block(to, BlockType::interface_description);
    block.number(kEthernet);
    block.number(std::uint16_t{0});
    block.number(impl_->snap_bytes != 0 ? impl_->snap_bytes : kMaxBytes);
    block.option(kIfName, about.name);
    block.option(kIfDescription, about.description);
    if (about.mac) block.option(kIfMacAddress, about.mac->bytes.data(), about.mac->bytes.size());
    block.option(kIfTimeResolution, &kNanoseconds, sizeof kNanoseconds);
    block.option(kIfHardware, about.hardware);
    impl_->file->commit(block.finish(), CaptureFile::Holds::no_frame);
  }
  return impl_->interfaces++;
}

void PcapngWriter::record(std::uint32_t interface, const FrameView& frame,
                          const PcapngNotes& notes) noexcept {
  const std::uint64_t time = frame.time_ns != 0 ? frame.time_ns : base::wall_clock_ns();
  const std::size_t kept = impl_->kept(frame);
  std::byte* const to = impl_->file->reserve(kFixedBytes + padded(kept) + room_for(notes.comment));
  if (to == nullptr) return;
  Block block(to, BlockType::enhanced_packet);
  block.number(interface);
  block.time(time);
  block.number(static_cast<std::uint32_t>(kept));
  block.number(frame.truncated() ? frame.true_bytes : static_cast<std::uint32_t>(frame.size()));
  block.data(frame.bytes.data(), kept);
  block.option(kComment, notes.comment);
  if (const std::uint32_t flags = flags_of(frame); flags != 0)
    block.option(kEpbFlags, &flags, sizeof flags);
  if (is_numbered(frame)) block.option(kEpbPacketId, frame.number);
  if (notes.lost_before != 0) block.option(kEpbDropCount, notes.lost_before);
  impl_->file->commit(block.finish(), CaptureFile::Holds::frame);
}

std::uint32_t PcapngWriter::add_interface(const PcapngInterface& about) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return add(about);
}

std::error_code PcapngWriter::put(std::uint32_t interface, const FrameView& frame,
                                  const PcapngNotes& notes) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->send({&frame, 1}, [&](const FrameView& f) { record(interface, f, notes); })
      .error;
}

void PcapngWriter::put_statistics(std::uint32_t interface,
                                  const PcapngStatistics& statistics) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  std::byte* const to = impl_->file->reserve(2 * kFixedBytes);
  if (to == nullptr) return;
  Block block(to, BlockType::interface_statistics);
  block.number(interface);
  block.time(base::wall_clock_ns());
  block.option(kIsbReceived, statistics.received);
  block.option(kIsbDropped, statistics.lost);
  block.option(kIsbAccepted, statistics.accepted);
  impl_->file->commit(block.finish(), CaptureFile::Holds::no_frame);
}

void PcapngWriter::put_section(std::string_view comment) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  std::byte* const to = impl_->file->reserve(kFixedBytes + room_for(comment));
  if (to == nullptr) return;
  impl_->file->commit(make_section(to, comment, {}), CaptureFile::Holds::no_frame);
}

SendResult PcapngWriter::send(std::span<const FrameView> frames) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  if (impl_->interfaces == 0) static_cast<void>(add({}));
  return impl_->file->send(frames, [this](const FrameView& frame) { record(0, frame, {}); });
}

}  // namespace shmif
