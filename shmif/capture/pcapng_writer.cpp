// The file format: draft-ietf-opsawg-pcapng. A file is a series of blocks. A block is its type, its
// length, fields, options, and its length again. Each option is a code, a length and a value,
// padded to four bytes. Numbers are in the writer's byte order, which the section header shows.

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/wall_clock.hpp"
#include "shmif/capture/capture_file.hpp"
#include "shmif/capture/pcap_link.hpp"

namespace shmif {
namespace {

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

bool names_pcapng(std::string_view path) noexcept {
  return path.ends_with(".pcapng");
}

struct PcapngWriter::Impl {
  std::unique_ptr<CaptureFile> file;
  std::uint32_t snap_bytes = 0;
  std::uint32_t interfaces = 0;

  std::uint32_t add(const PcapngInterface& about) noexcept {
    std::byte* const to = file->reserve(kFixedBytes + room_for(about.name) +
                                        room_for(about.description) + room_for(about.hardware));
    if (to != nullptr) {
      Block block(to, BlockType::interface_description);
      block.number(kEthernet);
      block.number(std::uint16_t{0});
      block.number(snap_bytes != 0 ? snap_bytes : kMaxBytes);
      block.option(kIfName, about.name);
      block.option(kIfDescription, about.description);
      if (about.mac) block.option(kIfMacAddress, about.mac->bytes.data(), about.mac->bytes.size());
      block.option(kIfTimeResolution, &kNanoseconds, sizeof kNanoseconds);
      block.option(kIfHardware, about.hardware);
      file->commit(block.finish(), CaptureFile::Holds::no_frame);
    }
    return interfaces++;
  }

  void put(std::uint32_t interface, const FrameView& frame, const PcapngNotes& notes) noexcept {
    const std::uint64_t time = frame.time_ns != 0 ? frame.time_ns : base::wall_clock_ns();
    const std::size_t kept =
        snap_bytes == 0 ? frame.size() : std::min<std::size_t>(snap_bytes, frame.size());
    std::byte* const to = file->reserve(kFixedBytes + padded(kept) + room_for(notes.comment));
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
    file->commit(block.finish(), CaptureFile::Holds::frame);
  }
};

Result<PcapngWriter> PcapngWriter::create(const std::string& path,
                                          const PcapngWriteOptions& options) {
  std::vector<std::byte> header(kFixedBytes + room_for(options.comment) +
                                room_for(options.application));
  header.resize(make_section(header.data(), options.comment, options.application));
  auto file = CaptureFile::create(path,
                                  {.buffer_bytes = options.buffer_bytes,
                                   .replace = replaceable(options.replace),
                                   .stop_descriptor = options.stop_descriptor},
                                  header);
  if (!file) return std::move(file).error();
  auto impl = std::make_unique<Impl>();
  impl->file = *std::move(file);
  impl->snap_bytes = options.snap_bytes;
  return PcapngWriter(std::move(impl));
}

PcapngWriter::PcapngWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapngWriter::PcapngWriter(PcapngWriter&&) noexcept = default;
PcapngWriter& PcapngWriter::operator=(PcapngWriter&& other) noexcept {
  if (this != &other) {
    if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
    impl_ = std::move(other.impl_);
  }
  return *this;
}
PcapngWriter::~PcapngWriter() {
  if (impl_) static_cast<void>(flush());  // a full disk cannot be reported here
}

std::uint32_t PcapngWriter::add_interface(const PcapngInterface& about) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->add(about);
}

std::error_code PcapngWriter::put(std::uint32_t interface, const FrameView& frame,
                                  const PcapngNotes& notes) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file
      ->send({&frame, 1}, [&](const FrameView& f) { impl_->put(interface, f, notes); })
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
  if (impl_->interfaces == 0) static_cast<void>(impl_->add({}));
  return impl_->file->send(frames, [this](const FrameView& frame) { impl_->put(0, frame, {}); });
}

ReceiveResult PcapngWriter::receive(FrameBatch&) noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  ReceiveResult result;
  if (impl_->file->failed()) result.error = Errc::link_ended;
  return result;
}

int PcapngWriter::descriptor() noexcept {
  return impl_->file->descriptor();
}

WaitHint PcapngWriter::prepare_wait() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return {.ready = impl_->file->failed()};
}

void PcapngWriter::finish_wait() noexcept {}
std::size_t PcapngWriter::max_frame_bytes() noexcept {
  return kMaxFrameBytes;
}
std::string PcapngWriter::address() {
  return "pcap:" + impl_->file->path();
}

std::error_code PcapngWriter::flush() noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  impl_->file->flush();
  return impl_->file->report();
}

Result<void> PcapngWriter::status() const {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->status();
}

std::uint64_t PcapngWriter::written() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->written();
}

std::uint64_t PcapngWriter::bytes() const noexcept {
  const std::lock_guard lock(impl_->file->mutex);
  return impl_->file->bytes();
}

}  // namespace shmif
