#pragma once
// A reader of a NetBSD bus that may only read the file.

#include <memory>
#include <string>

#include "bus/attachment.hpp"
#include "bus/file/file.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/reader.hpp"

namespace shmif::bus {

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
