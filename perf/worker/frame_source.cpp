#include "perf/worker/frame_source.hpp"

#include "perf/frame/frame_maker.hpp"
#include "perf/frame/frame_sizes.hpp"

namespace shmif::perf {
namespace {

FrameMakerOptions maker_options(const ProbeSourceOptions& options, std::uint32_t max) {
  FrameMakerOptions maker = frame_maker_options(options.job, options.flow, max);
  maker.destination = options.to;
  maker.source = options.from;
  return maker;
}

class ProbeSource final : public FrameSource {
 public:
  explicit ProbeSource(const ProbeSourceOptions& options)
      : options_(options),
        sizes_(options.job.bs.tx, options.job.randseed, options.random_position),
        maker_(maker_options(options, sizes_.max())),
        schedule_(schedule_options(options.job)) {}

  void begin(std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t measure_from_ns) override {
    schedule_ = Schedule(schedule_options(options_.job), begin_ns, end_ns, measure_from_ns);
  }

  std::size_t take(std::uint64_t now_ns, std::span<Slot> into) override {
    return schedule_.take(now_ns, sizes_, into);
  }

  void make(std::uint64_t first, std::span<const Slot> slots, std::uint64_t now_ns,
            std::vector<FrameView>& into) override {
    maker_.make_all(first, slots,
                    {.kind = options_.kind, .nonce = options_.nonce, .sent_ns = now_ns}, into);
  }

  std::uint64_t next_ns() const noexcept override { return schedule_.next_ns(); }
  std::uint64_t due_ns() const noexcept override { return schedule_.pace_ns(); }

  std::uint64_t all_left(std::uint64_t now_ns) noexcept override {
    return schedule_.pause_is_due() ? schedule_.pause(now_ns).spin_until_ns : 0;
  }

  Unsent give_up(std::uint64_t now_ns) noexcept override {
    const std::uint64_t frames = schedule_.give_up(now_ns, sizes_);
    return {frames, static_cast<std::uint64_t>(static_cast<double>(frames) * sizes_.mean())};
  }
  Unsent skipped() const noexcept override {
    return {schedule_.skipped_frames(), schedule_.skipped_bytes()};
  }
  std::size_t max_bytes() const noexcept override { return sizes_.max(); }
  std::size_t max_frames() const noexcept override { return maker_.slots(); }
  std::span<std::byte> memory() noexcept override { return maker_.memory(); }
  std::uint64_t random_position() const noexcept override { return sizes_.position(); }

 private:
  ProbeSourceOptions options_;
  SizeChooser sizes_;
  FrameMaker maker_;
  Schedule schedule_;
};

}  // namespace

std::unique_ptr<FrameSource> make_probe_source(const ProbeSourceOptions& options) {
  return std::make_unique<ProbeSource>(options);
}

}  // namespace shmif::perf
