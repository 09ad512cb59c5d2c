#pragma once
// A port on a NetBSD bus, and a reader that may only read the file.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>

#include "base/unique_fd.hpp"
#include "bus/attachment.hpp"
#include "bus/file/file.hpp"
#include "bus/netbsd/bell.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/reader.hpp"
#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

class NetbsdAttachment final : public Attachment {
 public:
  /// `file` is open for writing and was checked. Errors: lock_held, corrupt, bad_name,
  /// bad_argument, and an errno. Blocks: for at most a second, if somebody holds the lock.
  static Result<std::unique_ptr<Attachment>> attach(OpenFile file, const std::string& path,
                                                    const PortOptions& options);
  ~NetbsdAttachment() override;

  std::error_code up() noexcept override;
  std::error_code down() noexcept override;
  bool is_up() const noexcept override { return !forked() && up_.load(); }

  /// Senders do not wait for slow ports here, so `when_full` changes nothing.
  SendResult send(std::span<const FrameView> frames, WhenFull when_full) noexcept override;
  ReceiveResult receive(FrameBatch& into) noexcept override;
  /// Copies the frames into memory of its own, and lends that: in the ring they need not be in one
  /// piece.
  ReceiveResult receive_in_place(FrameBatch& into) noexcept override;
  std::size_t release() noexcept override;
  bool wait(std::chrono::nanoseconds timeout) noexcept override;
  bool wait_until_up() noexcept override;
  void interrupt() noexcept override { interrupt_receiver(); }
  void interrupt_receiver() noexcept override;

  int descriptor() noexcept override { return forked() ? -1 : bell_.descriptor(); }
  std::error_code descriptor_error() const noexcept override { return bell_.error(); }
  WaitHint prepare_wait() noexcept override;
  void finish_wait() noexcept override;
  Result<int> level_descriptor() override;
  void settle(bool holds_frames) noexcept override;

  MacAddress mac() const noexcept override { return addresses_.own(); }
  std::error_code set_mac(MacAddress mac) noexcept override;
  std::error_code set_other_macs(std::span<const MacAddress> macs) noexcept override;
  std::error_code set_promiscuous(bool on) noexcept override;
  std::error_code set_carrier(bool on) noexcept override;
  std::error_code set_carrier_unknown() noexcept override;
  bool has_carrier() const noexcept override { return carrier_.load(); }
  PortCounters counters() const noexcept override;
  std::uint64_t bus_frames() const noexcept override;

 private:
  NetbsdAttachment(OpenFile file, const std::string& path, const PortOptions& options,
                   NetbsdMapping mapping, NetbsdBell bell);

  /// A counter that one thread writes and any may read.
  using Count = std::atomic<std::uint64_t>;
  static void add(Count& count, std::uint64_t n) noexcept {
    count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  enum class Seen : std::uint8_t { nothing, frame, held };
  std::error_code find_place() noexcept;
  std::error_code append(std::span<const FrameView> frames) noexcept;
  std::error_code send_batch(std::span<const FrameView> frames) noexcept;
  std::error_code error_of(std::span<const FrameView> frames) noexcept;
  ReceiveResult take(FrameBatch& into, std::size_t most) noexcept;
  void pad_the_end() noexcept;
  std::error_code told(NetbsdRead read) noexcept;
  std::error_code broken() const noexcept {
    return mapping_.lost() ? Errc::bus_lost : Errc::corrupt;
  }
  std::uint64_t count(const NetbsdTally& tally) noexcept;
  Seen look_for_frame() noexcept;
  std::chrono::nanoseconds longest_sleep(Seen seen) noexcept;
  void saw_traffic() noexcept { idle_sleep_ = kFirstSleep; }
  void tell_news() noexcept {
    news_.fetch_add(1);
    news_.notify_all();
  }

  /// How often to look while the lock is held: then the state cannot be seen, and no event tells
  /// when it can be seen.
  static constexpr std::chrono::milliseconds kWhileHeld{1};
  /// A reader looks again after this time, and after twice as long each time that it is idle.
  static constexpr std::chrono::milliseconds kFirstSleep{50};
  static constexpr std::chrono::milliseconds kLongestSleep{1000};

  PortOptions options_;
  UniqueFd fd_;
  NetbsdMapping mapping_;
  NetbsdRing ring_;
  NetbsdBell bell_;
  std::uint64_t sender_ = 0;    ///< the random number by which this port knows its own frames
  NetbsdOwnFrames own_frames_;  ///< by these, on a bus of version 2
  NetbsdAddresses addresses_;
  std::atomic<bool> up_{false};
  std::atomic<bool> carrier_{true};

  std::mutex send_mutex_;
  NetbsdLock lock_;

  /// Held inside receive and the wait calls, so that down() knows when they are over.
  mutable std::mutex receive_mutex_;
  NetbsdReader reader_;
  FrameBatch lent_{32, std::size_t{64} << 10U};
  std::uint64_t unreported_lost_ = 0;
  bool was_up_ = false;
  bool failed_ = false;  ///< the last receive failed
  NetbsdStuckLock stuck_;
  std::chrono::nanoseconds idle_sleep_{kFirstSleep};
  std::atomic<bool> has_level_descriptor_{false};
  std::atomic<bool> interrupted_{false};
  std::atomic<std::uint32_t> news_{0};  ///< grows when wait_until_up() must look again

  Count tx_frames_{0}, tx_bytes_{0}, too_long_{0}, refused_{0}, doorbells_{0}, lock_sleeps_{0};
  Count rx_frames_{0}, rx_bytes_{0}, own_{0}, filtered_{0}, skipped_{0}, overruns_{0};
  Count lost_bytes_{0}, wakeups_{0};
  std::atomic<std::uint64_t> corrupt_{0};  ///< sender and receiver both count
};

class NetbsdFollower final : public Follower {
 public:
  /// `file` is open for reading and was checked. Errors: lock_held, corrupt, and an errno.
  /// Blocks: for at most a second, if somebody holds the lock.
  static Result<std::unique_ptr<Follower>> open(OpenFile file, const std::string& path, Start start,
                                                Resume resume);
  ~NetbsdFollower() override;

  const std::string& warning() const noexcept override { return warning_; }
  ReceiveResult receive(FrameBatch& into) noexcept override;
  bool wait(std::chrono::nanoseconds timeout) noexcept override;
  WaitHint prepare_wait() noexcept override;
  void finish_wait() noexcept override;
  PortCounters counters() const noexcept override;
  std::uint64_t bus_frames() const noexcept override;
  std::size_t max_frame() const noexcept override { return kNetbsdMaxFrame; }

 private:
  NetbsdFollower(std::string warning, NetbsdMapping mapping, Resume resume);
  bool is_ready() noexcept;
  std::error_code told(NetbsdRead read) noexcept;

  std::uint64_t token_ = base::process_token();
  std::string warning_;
  NetbsdMapping mapping_;
  NetbsdRing ring_;
  NetbsdReader reader_;
  NetbsdTally total_;
  std::uint64_t unreported_lost_ = 0;
  NetbsdStuckLock stuck_;
  std::chrono::nanoseconds pause_{kShortest};

  static constexpr std::chrono::milliseconds kShortest{1};
  static constexpr std::chrono::milliseconds kLongest{50};
};

}  // namespace shmif::bus
