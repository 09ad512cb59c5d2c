#include "perf/worker/offload_end.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

namespace shmif::perf {
namespace {

/// A thread that is told to end sleeps at most this long.
constexpr std::chrono::milliseconds kLook{20};

class OffloadEnd final : public End {
 public:
  OffloadEnd(std::unique_ptr<End> end, std::size_t batch)
      : end_(std::move(end)),
        filling_(batch, batch * room_of(*end_)),
        sending_(batch, batch * room_of(*end_)),
        thread_([this] { submit(); }) {}

  ~OffloadEnd() override {
    (void)finish_sending({});
    thread_.join();
  }

  SendResult send(std::span<const FrameView> frames) noexcept override {
    SendResult result;
    {
      const std::lock_guard lock(mutex_);
      result.error = std::exchange(error_, {});
      if (result.error) {
        changed_.notify_all();
        return result;
      }
      for (; result.taken < frames.size() && !filling_.full(); ++result.taken) {
        const FrameView& frame = frames[result.taken];
        if (frame.size() > filling_.room().size()) break;
        std::memcpy(filling_.room().data(), frame.bytes.data(), frame.size());
        filling_.push(frame);
      }
    }
    if (result.taken != 0) changed_.notify_all();
    return result;
  }

  ReceiveResult receive(FrameBatch& into) noexcept override { return end_->receive(into); }
  void wait(std::chrono::nanoseconds at_most) noexcept override { end_->wait(at_most); }
  void wait_to_send(std::chrono::nanoseconds at_most) noexcept override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, at_most, [this] { return !filling_.full() || error_; });
  }
  std::size_t max_frame_bytes() noexcept override { return end_->max_frame_bytes(); }
  MacAddress mac() const noexcept override { return end_->mac(); }
  std::string address() override { return end_->address(); }
  std::optional<FaultsMade> faults_sent() const noexcept override { return end_->faults_sent(); }
  std::optional<FaultsMade> faults_received() const noexcept override {
    return end_->faults_received();
  }
  Unsent finish_sending(std::chrono::nanoseconds patience) noexcept override {
    std::unique_lock lock(mutex_);
    ending_ = true;
    give_up_ = std::chrono::steady_clock::now() + patience;
    changed_.notify_all();
    changed_.wait(lock, [this] { return filling_.empty() && idle_; });
    return {unsent_, std::exchange(error_, {})};
  }
  WireCounters counters() noexcept override { return end_->counters(); }
  std::optional<std::uint64_t> unread() noexcept override { return end_->unread(); }

 private:
  static std::size_t room_of(End& end) { return end.max_frame_bytes() + 64; }

  void submit() {
    for (;;) {  // runs until it must end and all frames are sent
      {
        std::unique_lock lock(mutex_);
        idle_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !filling_.empty() || ending_; });
        if (filling_.empty()) return;
        std::swap(filling_, sending_);
        idle_ = false;
      }
      changed_.notify_all();
      send_all();
      sending_.clear();
    }
  }

  void send_all() {
    std::span<const FrameView> left = sending_.frames();
    while (!left.empty()) {
      const SendResult result = end_->send(left);
      left = left.subspan(std::min(result.taken, left.size()));
      if (gives_up_after(result, left.size())) return;
      if (result.taken == 0 && !result.error) end_->wait_to_send(kLook);
    }
  }

  /// The job gets an error once; then the frame is tried again, as the job itself would. Result:
  /// whether the `left` frames are given up, because the job has ended.
  bool gives_up_after(const SendResult& result, std::size_t left) {
    std::unique_lock lock(mutex_);
    if (result.error) {
      if (!error_) error_ = result.error;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !error_ || ending_; });
    }
    const bool over = ending_ && result.taken == 0 && (result.error || is_too_late());
    if (over) unsent_ += left;
    return over;
  }

  /// At the end, it soon gives up frames that the engine does not take.
  bool is_too_late() const { return std::chrono::steady_clock::now() >= give_up_; }

  std::unique_ptr<End> end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  FrameBatch filling_, sending_;  // the second is used by the thread
  bool ending_ = false;
  std::chrono::steady_clock::time_point give_up_{};  // at the end, if the engine is full
  std::size_t unsent_ = 0;
  bool idle_ = true;
  std::error_code error_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch) {
  return std::make_unique<OffloadEnd>(std::move(end), std::max<std::size_t>(batch, 1) * 4);
}

}  // namespace shmif::perf
