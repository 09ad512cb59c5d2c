#include "perf/worker/record_writer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <utility>

#include "instruments/watch/clock.hpp"
#include "shmif/capture/pcap_link.hpp"

namespace shmif::perf {

struct RecordWriter::Impl {
  std::string path;
  PcapngWriter file;
  std::uint32_t interface = 0;
  /// Difference between the wall clock and CLOCK_MONOTONIC when the file was made. If the wall
  /// clock is set later, the times in the record do not jump.
  std::uint64_t epoch_ns = 0;

  void put(FrameView frame, std::uint64_t sent_ns, std::string_view comment) noexcept {
    frame.time_ns = sent_ns + epoch_ns;
    static_cast<void>(file.put(interface, frame, {.comment = comment}));
  }
};

RecordWriter::RecordWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
RecordWriter::RecordWriter(RecordWriter&&) noexcept = default;
RecordWriter::~RecordWriter() = default;

Result<RecordWriter> RecordWriter::create(const std::string& path, std::size_t buffer_bytes) {
  auto file = PcapngWriter::create(path, {.buffer_bytes = buffer_bytes});
  if (!file) return std::move(file).error();
  auto impl = std::make_unique<Impl>(Impl{.path = path, .file = *std::move(file)});
  impl->interface = impl->file.add_interface({});
  using namespace std::chrono;
  const auto wall = duration_cast<nanoseconds>(system_clock::now().time_since_epoch());
  const auto monotonic = steady_clock::now().time_since_epoch();
  impl->epoch_ns = static_cast<std::uint64_t>((wall - monotonic).count());
  return RecordWriter(std::move(impl));
}

void RecordWriter::put(const FrameView& frame, std::uint64_t sent_ns,
                       std::uint64_t intended_ns) noexcept {
  Impl& impl = *impl_;
  const std::uint64_t intended = intended_ns + impl.epoch_ns;
  const auto late_ns = static_cast<long long>(sent_ns - intended_ns);
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  std::array<char, 100> comment{};
  const int length =
      std::snprintf(comment.data(), comment.size(), "intended %llu.%09llu, sent %lld ns later",
                    static_cast<unsigned long long>(intended / kNsPerSecond),
                    static_cast<unsigned long long>(intended % kNsPerSecond), late_ns);
  impl.put(frame, sent_ns, {comment.data(), static_cast<std::size_t>(std::max(0, length))});
}

void RecordWriter::put(const FrameView& frame) noexcept {
  impl_->put(frame, now_ns(), {});
}

Result<void> RecordWriter::finish() noexcept {
  static_cast<void>(impl_->file.flush());
  const Result<void> status = impl_->file.status();
  if (status) return {};
  return Error::from_errno(status.error().code.value(),
                           "cannot record into \"" + impl_->path + '"');
}

}  // namespace shmif::perf
