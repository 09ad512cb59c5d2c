#include "tools/capture/dump_sink.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "bus/offload.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kTextBytes = 1U << 20U;  // larger than the lines of any frame, with --hex
constexpr std::size_t kMaxInterfaces = 1024;   // all further senders share one

/// Both texts, and `between` if neither is empty.
std::string joined(std::string text, const char* between, const std::string& more) {
  if (!text.empty() && !more.empty()) text += between;
  return text += more;
}

/// What a super-frame stands for. The format has a flag only for TCP, and no number.
std::string super_frame_text(const FrameView& frame) {
  if (!frame.offload.is_super_frame()) return {};
  const bool udp = (frame.offload.gso_type & ~Offload::kGsoEcn) == Offload::kGsoUdp;
  return std::string("unsegmented: its ") + (udp ? "UDP" : "TCP") +
         " payload is sent in frames of " + base::counted(frame.offload.gso_size, "byte") + " each";
}

}  // namespace

bool DumpSink::needs_senders(const WantedOutput& wanted) {
  if (!wanted.file) return wanted.senders;
  return is_pcapng(*wanted.file, wanted.format);
}

DumpSink::DumpSink(const WantedOutput& wanted, SenderNames* names)
    : wanted_(wanted), names_(names) {
  if (!wanted.file) {
    packets_ = &packets();
    const CaptureFile::Options options{
        .buffer_bytes = kTextBytes, .terminal = true, .stop_descriptor = wanted.stop_descriptor};
    text_ = std::move(CaptureFile::create("-", options, {})).value();
    return;
  }
  // The format follows from the name as given, because a name with a number appended has no suffix.
  wanted_.format =
      is_pcapng(*wanted.file, wanted.format) ? CaptureFormat::pcapng : CaptureFormat::pcap;
  capture_.emplace(*wanted.file, wanted.rotation, [this](const std::string& file) {
    return create_capture(file, wanted_.format, wanted_.snap_bytes, comment(),
                          wanted_.stop_descriptor);
  });
  begin_file();
}

std::string DumpSink::comment() const {
  std::string text = "frames of the bus " + wanted_.bus;
  if (!wanted_.filter.empty()) text += ", filter \"" + wanted_.filter + '"';
  return text;
}

/// The bus itself is the first interface, because the totals of the whole capture belong to it.
void DumpSink::begin_file() {
  interfaces_.clear();
  file_counts_ = {};
  if (PcapngWriter* const file = capture_->file().pcapng()) {
    const std::string name = wanted_.bus.substr(wanted_.bus.rfind('/') + 1);
    file->add_interface({"bus " + name, "the bus " + wanted_.bus});
  }
}

/// A file cannot say that a checksum is unfinished. Programs that read or replay the file would
/// take it for a bad one.
void DumpSink::finish_checksum(FrameView& frame) {
  if (!frame.offload.needs_checksum()) return;
  finished_.assign(frame.bytes.begin(), frame.bytes.end());
  if (!bus::finish_checksum(finished_, frame.offload)) return;
  frame.bytes = finished_;
  frame.offload.flags &= static_cast<std::uint8_t>(~Offload::kNeedsChecksum);
}

void DumpSink::put(FrameView frame, std::uint64_t lost_before, const std::string& changes) {
  if (capture_) finish_checksum(frame);
  if (text_ && !changes.empty()) put_change_lines(changes);
  if (wanted_.snap_bytes != 0 && frame.size() > wanted_.snap_bytes) {
    if (!frame.truncated()) frame.true_bytes = static_cast<std::uint32_t>(frame.size());
    frame.bytes = frame.bytes.first(wanted_.snap_bytes);
  }
  if (text_) return put_line(frame);
  if (capture_->is_due()) {
    end_file();
    if (failed()) return;
    capture_->next();
    begin_file();
  }
  if (!last_unit_.is_of(frame)) ++file_counts_.accepted;
  last_unit_ = UnitOfBus(frame);
  file_counts_.received = file_counts_.accepted;
  file_counts_.lost += lost_before;
  // failed() reports a failure, once for each batch.
  if (PcapngWriter* const file = capture_->file().pcapng()) {
    put_pcapng(*file, frame, lost_before, changes);
  } else {
    if (!changes.empty()) say_no_changes();
    (void)capture_->file().send({&frame, 1});
  }
}

void DumpSink::put_line(const FrameView& frame) {
  DecodeOptions options = wanted_.lines;
  if (wanted_.senders) options.sender = names_->of(frame).name;
  put_text(packets_->decode(frame, options), CaptureFile::Holds::frame);
}

void DumpSink::put_text(const std::string& line, CaptureFile::Holds holds) {
  std::byte* const to = text_->reserve(line.size());
  if (to == nullptr) return;
  std::memcpy(to, line.data(), line.size());
  text_->commit(line.size(), holds);
}

void DumpSink::put_change_lines(const std::string& changes) {
  for (const std::string_view each : base::split(changes, '\n'))
    put_text("-- " + std::string(each) + '\n', CaptureFile::Holds::no_frame);
}

void DumpSink::say_no_changes() {
  if (!std::exchange(said_no_changes_, true)) say_no_comments();
}

void DumpSink::put_changes(const std::string& changes) {
  if (!changes.empty()) put_change_lines(changes);
}

void DumpSink::put_pcapng(PcapngWriter& file, const FrameView& frame, std::uint64_t lost_before,
                          const std::string& changes) {
  const SenderNames::Sender& sender = names_->of(frame);
  const bool is_full = interfaces_.size() >= kMaxInterfaces;
  auto found = interfaces_.find(sender.id);
  if (found == interfaces_.end() && is_full) found = interfaces_.find(SenderNames::kOthers);
  if (found == interfaces_.end()) {
    const SenderNames::Sender& named = is_full ? names_->others() : sender;
    const std::uint32_t number = file.add_interface(
        {.name = named.name,
         .description = joined(named.description, ", ", is_full ? "" : names_->process_of(frame)),
         .hardware = named.link.empty() ? "" : "shmif port, " + named.link,
         .mac = named.mac});
    found = interfaces_.emplace(named.id, number).first;
  }
  std::string comment;
  if (lost_before != 0)
    comment = base::counted(lost_before, "frame of the bus was", "frames of the bus were") +
              " lost before this one";
  comment = joined(comment, "\n", super_frame_text(frame));
  comment = joined(comment, "\n", changes);
  (void)file.put(found->second, frame, {.lost_before = lost_before, .comment = comment});
}

/// If the file could not be completed, leaves it open, because it knows the reason.
void DumpSink::end_file() {
  if (!capture_->is_open()) return;
  rotated_ = true;
  (void)finish({});
  if (failed()) return;
  earlier_files_ += capture_->file().written();
  capture_->close();
}

void DumpSink::end_span() {
  if (capture_ && capture_->is_over()) end_file();
}

void DumpSink::flush() {
  if (text_) {
    text_->flush();
  } else if (capture_->is_open()) {
    (void)capture_->file().flush();
  }
}

Result<void> DumpSink::status() const {
  if (text_) return text_->status();
  return capture_->is_open() ? capture_->file().status() : Result<void>();
}

std::chrono::nanoseconds DumpSink::time_left() const {
  return capture_ ? capture_->time_left() : std::chrono::hours(24);
}

Result<void> DumpSink::finish(const PcapngStatistics& statistics, const std::string& changes) {
  if (text_ && !changes.empty()) put_change_lines(changes);
  if (capture_ && capture_->is_open()) {
    if (PcapngWriter* const file = capture_->file().pcapng()) {
      file->put_statistics(0, rotated_ ? file_counts_ : statistics);
      if (!changes.empty()) file->put_section("changes after the last frame:\n" + changes);
    } else if (!changes.empty()) {
      say_no_changes();
    }
  }
  flush();
  Result<void> how = status();
  return reader_has_gone(how) ? Result<void>() : std::move(how);
}

std::uint64_t DumpSink::arrived() const {
  if (text_) return text_->written();
  return earlier_files_ + (capture_->is_open() ? capture_->file().written() : 0);
}

int DumpSink::output() const {
  return wanted_.file.value_or("-") == "-" ? STDOUT_FILENO : -1;
}

}  // namespace shmif::tools
