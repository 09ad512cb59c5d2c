#include "perf/worker/record_writer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

#include "instruments/watch/clock.hpp"

namespace shmif::perf {

RecordWriter::RecordWriter(std::string path, PcapngWriter file)
    : path_(std::move(path)), file_(std::move(file)), interface_(file_.add_interface({})) {
  using namespace std::chrono;
  const auto wall = duration_cast<nanoseconds>(system_clock::now().time_since_epoch());
  const auto monotonic = steady_clock::now().time_since_epoch();
  epoch_ns_ = static_cast<std::uint64_t>((wall - monotonic).count());
}

Result<RecordWriter> RecordWriter::create(const std::string& path, std::size_t buffer_bytes) {
  auto file = PcapngWriter::create(path, {.buffer_bytes = buffer_bytes});
  if (!file) return std::move(file).error();
  return RecordWriter(path, *std::move(file));
}

void RecordWriter::put(FrameView frame, std::uint64_t sent_ns, std::string_view comment) noexcept {
  frame.time_ns = sent_ns + epoch_ns_;
  static_cast<void>(file_.put(interface_, frame, {.comment = comment}));
}

void RecordWriter::put(const FrameView& frame, std::uint64_t sent_ns,
                       std::uint64_t intended_ns) noexcept {
  const std::uint64_t intended = intended_ns + epoch_ns_;
  const auto late_ns = static_cast<long long>(sent_ns - intended_ns);
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  std::array<char, 100> comment{};
  const int length =
      std::snprintf(comment.data(), comment.size(), "intended %llu.%09llu, sent %lld ns later",
                    static_cast<unsigned long long>(intended / kNsPerSecond),
                    static_cast<unsigned long long>(intended % kNsPerSecond), late_ns);
  const auto size = static_cast<std::size_t>(std::max(0, length));
  put(frame, sent_ns, std::string_view(comment.data(), size));
}

void RecordWriter::put(const FrameView& frame) noexcept {
  put(frame, now_ns(), std::string_view());
}

Result<void> RecordWriter::finish() noexcept {
  static_cast<void>(file_.flush());
  const Result<void> status = file_.status();
  if (status) return {};
  return Error::from_errno(status.error().code.value(), "cannot record into \"" + path_ + '"');
}

}  // namespace shmif::perf
