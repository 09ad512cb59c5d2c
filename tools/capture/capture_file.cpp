#include "tools/capture/capture_file.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <utility>

#include "base/result.hpp"
#include "base/text.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"

namespace shmif::tools {

namespace {

std::string date_and_time(std::uint64_t time_ns) {
  const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000U);
  std::tm local{};
  std::array<char, 64> text{};
  if (localtime_r(&seconds, &local) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local) == 0)
    return std::to_string(time_ns) + " ns";
  std::array<char, 16> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06u",
                static_cast<unsigned>(time_ns / 1000U % 1'000'000U));
  return std::string(text.data()) + fraction.data();
}

}  // namespace

std::string change_text(const BusChange& change) {
  return (change.port.empty() ? std::string() : "port " + change.port + ": ") + change.text +
         " (from frame " + std::to_string(change.before_frame) + " on)";
}

std::string change_line(const BusChange& change) {
  return date_and_time(change.time_ns) + ' ' + change_text(change);
}

ChangeNotes::ChangeNotes(const std::string& bus_path, ChangeLog::From from) {
  if (auto log = ChangeLog::open(bus_path, from)) log_ = *std::move(log);
}

void ChangeNotes::read() {
  for (BusChange& change : log_->take()) waiting_.push_back(std::move(change));
}

std::string ChangeNotes::before(std::uint64_t frame) {
  std::string texts;
  while (!waiting_.empty() && waiting_.front().before_frame <= frame) {
    texts += (texts.empty() ? "" : "\n") + base::printable(change_text(waiting_.front()));
    waiting_.pop_front();
  }
  return texts;
}

std::string ChangeNotes::rest() {
  return before(std::numeric_limits<std::uint64_t>::max());
}

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

std::string rotated_name(const std::string& pattern, std::uint64_t count, std::uint64_t files,
                         std::optional<std::time_t> time) {
  std::string name = pattern;
  if (time) {
    std::tm parts{};
    localtime_r(&*time, &parts);
    std::array<char, 4096> text{};
    const std::size_t length = std::strftime(text.data(), text.size(), pattern.c_str(), &parts);
    if (length != 0) name.assign(text.data(), length);
  }
  if (files == 0) return count == 0 ? name : name + std::to_string(count);
  const std::size_t width = std::to_string(files - 1).size();
  const std::string number = std::to_string(count);
  return name + std::string(width > number.size() ? width - number.size() : 0, '0') + number;
}

RotatingCapture::RotatingCapture(std::string name, RotationWish wish, Open open)
    : pattern_(std::move(name)), wish_(wish), open_(std::move(open)) {
  file_.emplace(open_(this->name()));
}

std::string RotatingCapture::name() const {
  if (!wish_.any()) return pattern_;
  const bool timed = wish_.seconds.count() != 0;
  const std::uint64_t numbered = wish_.file_bytes != 0 ? wish_.files : 0;
  return rotated_name(pattern_, count_, numbered, timed ? std::optional(named_) : std::nullopt);
}

bool RotatingCapture::time_is_over() const noexcept {
  return wish_.seconds.count() != 0 && Clock::now() - began_ >= wish_.seconds;
}

bool RotatingCapture::is_due() const noexcept {
  return !file_ || time_is_over() || (wish_.file_bytes != 0 && file_->bytes() > wish_.file_bytes);
}

bool RotatingCapture::is_last() const noexcept {
  return wish_.file_bytes == 0 && wish_.files != 0 && spans_ >= wish_.files && time_is_over();
}

std::chrono::nanoseconds RotatingCapture::time_left() const noexcept {
  if (wish_.seconds.count() == 0 || !file_) return std::chrono::hours(24);
  return began_ + wish_.seconds - Clock::now();
}

/// Begins the span that contains the present time.
void RotatingCapture::begin_span() {
  const auto now = Clock::now();
  const auto passed = (now - began_) / wish_.seconds;
  began_ += passed * wish_.seconds;
  const auto wall = std::chrono::system_clock::now() - (now - began_);
  const std::time_t told = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(wall));
  const std::string before = rotated_name(pattern_, 0, 0, named_);
  // The spans are whole seconds apart, and the name shows that, although the first span began
  // within a second. If the clock was set forward, the name follows it. If it was set back, the
  // name does not, because names would repeat.
  named_ += static_cast<std::time_t>(passed * wish_.seconds.count());
  if (told > named_ + 1) named_ = told;
  count_ = rotated_name(pattern_, 0, 0, named_) == before ? count_ + 1 : 0;
  ++spans_;
}

void RotatingCapture::next() {
  if (time_is_over()) {
    begin_span();
  } else {
    ++count_;
    if (wish_.files != 0 && wish_.seconds.count() == 0) count_ %= wish_.files;
  }
  file_.reset();  // completes it before the next one begins
  file_.emplace(open_(name()));
}

}  // namespace shmif::tools
