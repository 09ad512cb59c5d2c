#pragma once
// Reading a NetBSD bus without its lock. bus/netbsd/ring.hpp says why that is safe.
//
// A *walk* follows the headers from where the reader is, copies the frames that it takes, and notes
// each position. Then the reader looks again. What `first` has passed meanwhile may be torn, and
// its headers may have led to wrong places. But if `first` itself is one of the positions, the walk
// was on the chain there, and everything from there on is whole. Otherwise the reader drops all of
// it.

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "bus/frame.hpp"
#include "bus/mac.hpp"
#include "bus/netbsd/ring.hpp"

namespace shmif::bus {

/// The addresses for which a port on a NetBSD bus receives frames. The format has no place for
/// them, so only the port itself knows them. Threads: safe. Blocks: members that change something,
/// while another thread does.
class NetbsdAddresses {
 public:
  bool accepts(MacAddress mac) const noexcept;

  MacAddress own() const noexcept { return MacAddress::from_u64(own_.load()); }
  void set_own(MacAddress mac) noexcept;
  void set_promiscuous(bool on) noexcept { promiscuous_.store(on); }
  /// Also accepts the addresses that these frames came from. If these and the addresses of list()
  /// are more than kMaxOthers, it accepts all frames.
  void learn(std::span<const FrameView> frames) noexcept;
  /// Accepts `macs`, in place of those of the last call. An address of that call that is missing
  /// now is forgotten, even if it was learned, too.
  void list(std::span<const MacAddress> macs) noexcept;

 private:
  static constexpr std::size_t kMaxOthers = 16;

  bool add(std::uint64_t mac) noexcept;
  void forget(std::uint64_t mac) noexcept;

  std::atomic<std::uint64_t> own_{0};
  std::atomic<bool> promiscuous_{false};
  std::atomic<bool> learned_too_many_{false}, listed_too_many_{false};
  /// Words of learned_word(). kVacantWord is a free place, and 0 ends the list.
  std::array<std::atomic<std::uint64_t>, kMaxOthers> others_{};
  std::mutex mutex_;  ///< for changes above, and for the members below
  std::array<std::uint64_t, kMaxOthers> listed_{};
  std::size_t listed_count_ = 0;
  std::uint64_t last_learned_ = 0;
};

/// The results of a reader. The format does not number its frames. So after an overrun it is not
/// known how many frames were lost, but only how many bytes of the ring, packet headers included.
struct NetbsdTally {
  std::uint64_t frames = 0, bytes = 0, own = 0, filtered = 0;
  std::uint64_t overruns = 0, lost_bytes = 0;
  std::uint64_t corrupt = 0;
};

enum class NetbsdRead : std::uint8_t {
  empty,    ///< everything was read
  more,     ///< the batch is full, or find() is at a frame to take
  held,     ///< the lock was held the whole time
  corrupt,  ///< no correct writer writes such a state
};

/// Threads: one at a time.
class NetbsdReader {
 public:
  NetbsdReader() = default;
  /// `addresses`: which frames it takes; nullptr: all. `sender`: it never takes frames of this
  /// sender; 0: it takes them from every sender. `own`: for version 2, the frames of that sender.
  NetbsdReader(NetbsdRing ring, const NetbsdAddresses* addresses, std::uint64_t sender,
               bool resume_newest, NetbsdOwnFrames* own = nullptr) noexcept
      : ring_(ring),
        addresses_(addresses),
        sender_(sender),
        own_(own),
        resume_newest_(resume_newest) {}

  NetbsdLook seek_end() noexcept { return seek(&NetbsdState::end); }
  NetbsdLook seek_oldest() noexcept { return seek(&NetbsdState::first); }
  /// The same, but stays where it is if it has read further.
  NetbsdLook seek_oldest_unless_behind() noexcept;

  /// Appends frames until `into` has `most` of them.
  NetbsdRead read(FrameBatch& into, std::size_t most, NetbsdTally& tally) noexcept;
  /// Passes over frames that it does not take, and stops at one that it takes.
  NetbsdRead find(NetbsdTally& tally) noexcept;

  /// Whether the newest frame touched the end of the data when it looked last.
  bool touches_end() const noexcept { return touches_end_; }
  /// How many frames it has passed. The next one gets this number.
  std::uint64_t number() const noexcept { return number_; }
  /// How many frames lie ahead; empty if that is not known now.
  std::optional<std::uint64_t> frames_ahead() const noexcept;

 private:
  enum class Verdict : std::uint8_t { taken, own, filtered, pad, wrong, left_out };
  struct Step {
    std::uint64_t position = 0;
    std::uint32_t bytes = 0;
    Verdict verdict = Verdict::pad;
  };
  enum class End : std::uint8_t { end, steps, full, broken };
  struct Walk {
    std::size_t steps = 0;
    std::uint64_t stopped_at = 0;
    std::uint64_t numbered = 0;  ///< frames
    End end = End::end;
  };
  static constexpr std::size_t kSteps = 512;
  /// How often it tries again when writers overwrite what it reads.
  static constexpr unsigned kRounds = 8;

  NetbsdLook seek(std::uint64_t NetbsdState::* place) noexcept;
  NetbsdRead pass(FrameBatch* into, std::size_t most, NetbsdTally& tally) noexcept;
  NetbsdRead pass_to(const NetbsdState& state, FrameBatch* into, std::size_t most,
                     NetbsdTally& tally, bool& again) noexcept;
  Walk walk(FrameBatch* into, std::size_t most, std::uint64_t end) noexcept;
  Verdict judge(const NetbsdRecord& record, std::uint64_t position) const noexcept;
  bool take(FrameBatch& into, const NetbsdRecord& record, std::uint64_t number) noexcept;
  void catch_up(const NetbsdState& state, NetbsdTally& tally) noexcept;
  std::uint64_t time_of(const NetbsdPacketHeader& header) noexcept;

  NetbsdRing ring_;
  const NetbsdAddresses* addresses_ = nullptr;
  std::uint64_t sender_ = 0;
  NetbsdOwnFrames* own_ = nullptr;
  bool resume_newest_ = false;
  std::uint64_t position_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t caught_up_at_ = 0;  ///< where it was after the last overrun
  std::uint32_t repairs_ = 0;       ///< that it knows of
  std::uint32_t header_bytes_ = kNetbsdPacketHeaderBytes;
  bool touches_end_ = false;
  std::uint64_t leave_out_to_ = 0;  ///< after an overrun, frames before this position are skipped
  std::uint64_t now_ns_ = 0;        ///< of this walk; 0: not asked yet
  std::array<Step, kSteps> steps_{};
};

}  // namespace shmif::bus
