#include "tools/capture/capture_file.hpp"

#include <algorithm>
#include <utility>

#include "base/result.hpp"
#include "tools/common/command.hpp"
#include "tools/common/version.hpp"

namespace shmif::tools {

void say_no_comments() {
  complain(
      "something was changed on the bus ('shmifctl changes' shows it), and a pcap file cannot "
      "hold that (write a pcapng file, with a name that ends with .pcapng)");
}

void CaptureWriter::note_changes(const std::string& bus_path) {
  notes_.emplace(bus_path, ChangeLog::From::now);
  if (PcapngWriter* const file = pcapng()) file->add_interface({});
}

/// Each frame by itself: this happens only after a change.
SendResult CaptureWriter::send_noted(std::span<const FrameView> frames) noexcept {
  SendResult all;
  for (const FrameView& frame : frames) {
    const std::string texts = notes_->before(frame.number);
    PcapngWriter* const file = pcapng();
    SendResult one;
    if (texts.empty() || file == nullptr) {
      if (!texts.empty() && !std::exchange(said_no_comments_, true)) say_no_comments();
      one = std::visit([&frame](auto& each) { return each.send({&frame, 1}); }, file_);
    } else {
      one.error = file->put(0, frame, {.comment = texts});
      one.taken = one.error ? 0 : 1;
    }
    all.taken += one.taken;
    all.error = one.error;
    if (one.taken == 0) break;
  }
  return all;
}

void CaptureWriter::finish() noexcept {
  if (notes_) {
    notes_->look();
    const std::string texts = notes_->rest();
    if (PcapngWriter* const file = pcapng(); file != nullptr && !texts.empty()) {
      file->put_section("changes after the last frame:\n" + texts);
    } else if (!texts.empty() && !std::exchange(said_no_comments_, true)) {
      say_no_comments();
    }
  }
  static_cast<void>(flush());
}

void say_long_gap(const std::string& file, std::chrono::nanoseconds left) {
  const auto whole = std::chrono::duration_cast<std::chrono::minutes>(left).count();
  constexpr std::int64_t kMinutesInHour = 60;
  constexpr std::int64_t kHoursInDay = 24;
  std::string when = std::to_string(whole) + (whole == 1 ? " minute" : " minutes");
  if (whole >= 2 * kMinutesInHour) when = std::to_string(whole / kMinutesInHour) + " hours";
  if (whole >= 2 * kMinutesInHour * kHoursInDay)
    when = std::to_string(whole / kMinutesInHour / kHoursInDay) + " days";
  complain("the next frame of \"" + file + "\" is due only in " + when +
           ": so far apart its times are (--max-gap 1 waits at most a second)");
}

std::chrono::nanoseconds max_gap_of(const Arguments& args) {
  const auto given = args.seconds("max-gap");
  // --max-gap 0 allows no gaps. It becomes the shortest gap, because 0 stands for "not given".
  return given ? std::max(*given, std::chrono::nanoseconds(1)) : std::chrono::nanoseconds(0);
}

CaptureWriter create_capture(const std::string& file, CaptureFormat format,
                             std::uint32_t snap_bytes, const std::string& comment,
                             int stop_descriptor) {
  if (!is_pcapng(file, format)) {
    return CaptureWriter(std::move(PcapWriter::create(file, {.snap_bytes = snap_bytes,
                                                             .stop_descriptor = stop_descriptor}))
                             .value());
  }
  PcapngWriteOptions options;
  options.snap_bytes = snap_bytes;
  options.application = std::string(program_name()) + ' ' + version_number();
  options.comment = comment;
  options.stop_descriptor = stop_descriptor;
  return CaptureWriter(std::move(PcapngWriter::create(file, options)).value());
}

}  // namespace shmif::tools
