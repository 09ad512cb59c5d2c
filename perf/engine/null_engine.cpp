// engine=null: an end receives what it has sent itself, without a copy. This measures the cost of
// the harness itself.

#include <utility>
#include <vector>

#include "perf/engine/link_end.hpp"
#include "shmif/frame_check.hpp"
#include "shmif/loopback_link.hpp"

namespace shmif::perf {
namespace {

/// Keeps views of the frames sent last, and returns them. The bytes belong to the sender, which
/// must not change them until it has received them. A send drops frames not yet received.
class NullEnd final : public End {
 public:
  explicit NullEnd(std::size_t largest) : largest_(largest) {}

  SendResult send(std::span<const FrameView> frames) noexcept override {
    std::error_code refused;
    const std::size_t good = count_good(frames, largest_, refused);
    if (good == 0) return {0, refused};
    dropped_ += sent_.size() - next_;
    sent_.assign(frames.begin(), frames.begin() + static_cast<std::ptrdiff_t>(good));
    next_ = 0;
    return {good, refused};
  }

  ReceiveResult receive(FrameBatch& into) noexcept override {
    ReceiveResult result;
    for (; next_ < sent_.size() && !into.full(); ++next_) {
      into.push_lent(sent_[next_]);
      ++result.frames;
    }
    return result;
  }

  void wait(std::chrono::nanoseconds at_most) noexcept override {
    if (next_ == sent_.size()) sleep_for(at_most);  // only this end could send
  }
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return largest_; }
  std::string address() override { return "null:"; }
  WireCounters counters() noexcept override {
    WireCounters counted;
    counted.dropped_frames = dropped_;
    return counted;
  }

 private:
  std::size_t largest_;
  std::vector<FrameView> sent_;
  std::size_t next_ = 0;  // index in sent_ of the first frame not yet received
  std::uint64_t dropped_ = 0;
};

class NullWire final : public Wire {
 public:
  explicit NullWire(std::size_t largest) : largest_(largest) {}
  Capabilities capabilities() const noexcept override { return kNullEngine.capabilities; }
  std::string address() const override { return "null:"; }
  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, 1, address()); !fits) return std::move(fits).error();
    if (!wants_faults(options)) {
      return std::unique_ptr<End>(std::make_unique<NullEnd>(largest_));
    }
    // Faults keep frames for a while. Views of them would show bytes that the sender has changed
    // since.
    auto link = LoopbackLink::self({.max_frame_bytes = largest_});
    if (!link) return std::move(link).error();
    return make_end(*std::move(link), options, RoomWait::sleep, [](const LoopbackLink& l) {
      WireCounters counted;
      counted.dropped_frames = l.dropped();
      return counted;
    });
  }

 private:
  std::size_t largest_;
};

Result<std::unique_ptr<Wire>> make_null_wire(const JobOptions& job, std::size_t /*ends*/) {
  return std::unique_ptr<Wire>(std::make_unique<NullWire>(max_frame_bytes_of(job)));
}

}  // namespace

const Engine kNullEngine{
    .kind = EngineKind::null,
    .name = "null",
    .wire = "no medium: a job receives only its own frames",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = 1},
    .through = Through::memory,
    .passes_network = false,
    .has_receiver = false,
    .make_wire = make_null_wire};

}  // namespace shmif::perf
