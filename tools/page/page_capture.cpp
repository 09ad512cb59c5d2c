#include "tools/page/page_capture.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/files.hpp"
#include "base/result.hpp"
#include "shmif/filter.hpp"
#include "shmif/port.hpp"
#include "tools/capture/change_notes.hpp"
#include "tools/capture/dump_gaps.hpp"
#include "tools/capture/dump_sink.hpp"

namespace shmif::tools {

namespace {

/// The loop of one capture.
class Recording {
 public:
  explicit Recording(const WantedCapture& wanted)
      : wanted_(wanted),
        filter_(FrameFilter::compile(wanted.filter).value()),
        follower_(
            Follower::open(wanted.bus, wanted.seconds.count() == 0 ? Start::oldest : Start::now)
                .value()),
        names_(wanted.bus),
        changes_(wanted.bus,
                 wanted.seconds.count() == 0 ? ChangeLog::From::oldest : ChangeLog::From::now) {}

  RecordedFrames run() {
    WantedOutput output;
    output.bus = wanted_.bus;
    output.filter = wanted_.filter;
    UniqueFd file;
    std::optional<DumpSink> sink;
    {
      const auto folder = base::TemporaryFolder::make("shmif-page").value();
      output.file = folder.path() + "/frames.pcapng";
      sink.emplace(output, &names_);
      file = UniqueFd(::open(output.file->c_str(), O_RDONLY | O_CLOEXEC));
      if (!file) throw Exception(Error::from_errno(errno, "cannot read " + *output.file));
    }  // from now on the file has no name
    RecordedFrames recorded;
    record(*sink, file.get(), recorded);
    changes_.look();
    sink->finish({seen_, accepted_, lost_}, changes_.rest()).value();
    recorded.frames = sink->arrived();
    recorded.bytes = bytes_of(file.get());
    recorded.file = std::move(file);
    return recorded;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kBatchFrames = 512;
  static constexpr std::size_t kBatchBytes = 2U << 20U;
  /// A bus that is written faster than it is read must not hold up the answer for ever.
  static constexpr std::chrono::seconds kReadTime{10};
  static constexpr std::chrono::milliseconds kLook{100};

  static std::uint64_t bytes_of(int file) {
    struct stat status{};
    return ::fstat(file, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }

  void record(DumpSink& sink, int file, RecordedFrames& recorded) {
    const bool only_ring = wanted_.seconds.count() == 0;
    const std::uint64_t end_number = follower_.bus_frames();
    const auto end = Clock::now() + (only_ring ? kReadTime : wanted_.seconds);
    FrameBatch batch(kBatchFrames, kBatchBytes);
    Gaps gaps;
    std::uint64_t lost_before = 0;
    while (!sink.failed() && !wanted_.is_over() && Clock::now() < end) {
      batch.clear();
      const ReceiveResult received = follower_.receive(batch);
      lost_ += received.lost;
      gaps.received(batch.frames(), received.lost);
      changes_.look();
      for (const FrameView& frame : batch.frames()) {
        if (only_ring && frame.number >= end_number) return;
        lost_before += gaps.before(frame.number);
        ++seen_;
        if (!filter_.matches(frame)) continue;
        ++accepted_;
        sink.put(frame, std::exchange(lost_before, 0),
                 changes_.any() ? changes_.before(frame.number) : std::string());
      }
      if (received.error) throw Exception(Error(received.error, "cannot read " + wanted_.bus));
      if (!batch.empty()) {
        sink.flush();
        recorded.is_cut = bytes_of(file) >= kMaxCaptureBytes;
        if (recorded.is_cut) return;
      } else if (received.lost == 0) {
        if (only_ring) return;
        follower_.wait(std::min<std::chrono::nanoseconds>(end - Clock::now(), kLook));
      }
    }
  }

  const WantedCapture& wanted_;
  FrameFilter filter_;
  Follower follower_;
  SenderNames names_;
  ChangeNotes changes_;
  std::uint64_t seen_ = 0, accepted_ = 0, lost_ = 0;
};

}  // namespace

RecordedFrames record_frames(const WantedCapture& wanted) {
  return Recording(wanted).run();
}

}  // namespace shmif::tools
