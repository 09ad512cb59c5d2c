#pragma once
// The ring of a NetBSD bus: its lock, its state, its bytes.
//
// The file has three words for one state: `generation`, `first` and `last`. This class turns them
// into *positions*, as our own format has them: bytes written since the bus was made. A position is
// generation * kNetbsdDataBytes + offset, so positions compare like plain numbers. Only offset_of()
// computes modulo the ring.
//
// Invariants:
//
//   N1  `last` is the offset of the newest packet header, and the next one begins at the *end* of
//       its frame: offset (last + 24 + bytes) modulo the data. `generation` was already raised when
//       the newest frame reached the end of the data, so the end lies in the present generation:
//       end = generation * data + its offset.
//   N2  `first` is the oldest header, and never the newest. It is at most one ring behind the end.
//       So it lies in the present generation if its offset is less than the end's, otherwise in the
//       one before. A new bus has first = kNetbsdDataBytes and last = 0, where a header of zeros
//       stands: position 0 of generation 0, in this reading, too.
//   N3  From `first` on, each header leads to the next one, and to `last`.
//   N4  Writers hold the lock while any of this changes. `first` passes a header before that is
//       overwritten.
//   N5  No two states with the lock free have the same three words, within 2^64 generations.
//
// Reading without the lock. NetBSD's readers take the lock. Here they do not, so a reader that is
// killed or stopped never holds up the bus, and a file that may only be read can be followed.
// look() takes a state while the lock is free, before and after; by N5 and N4 no writer was at work
// meanwhile. The reader copies, then looks again: if `first` has not passed what it copied, no
// writer has touched that (N4), and the copy is whole. The lock shows a writer at work.
//
// Writing. append() leaves `last` as it is until all frames of the batch are in the ring. So a
// process that is killed in the middle leaves a lock that is held, and a chain that is sound.
// NetBSD's kernels move `last` first, and raise `generation` at the end. While the lock is held,
// this makes no difference to others. If a kernel is killed meanwhile, only the headers from
// `first` up to `last` are sound.
//
// The end of the data. A frame that straddles or touches the end raises `generation`. If a kernel
// joins, or was overrun, while this is the newest frame, it believes that its place is in the
// generation that begins there. It then finds itself overrun again after each frame, and reads the
// oldest one over and over, without a pause, until another frame comes. So append() never leaves
// such a frame as the newest: it adds a *pad*, a header without a frame, like the header of a new
// bus, which every reader passes over. A port that sees such a frame of a kernel adds one, too.
//
// Limits. The lock does not name its holder, so it cannot be taken from a dead holder
// automatically. The contents of the file are not trusted: each word is read once, checked, and
// only then used.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

#include "base/error.hpp"
#include "bus/atomics.hpp"
#include "bus/frame.hpp"
#include "bus/netbsd/layout.hpp"

namespace shmif::bus {

/// The state of a bus at a moment when nobody held its lock.
struct NetbsdState {
  std::uint64_t first = 0;  ///< position of the oldest header
  std::uint64_t last = 0;   ///< of the newest header
  std::uint64_t end = 0;    ///< behind the newest frame: where the next header goes
  std::uint32_t header_bytes = kNetbsdPacketHeaderBytes;  ///< of each packet header

  /// Whether the newest frame straddles or touches the end of the data.
  bool touches_end() const noexcept { return last / kNetbsdDataBytes != end / kNetbsdDataBytes; }
};

/// The three words of the state, as they are in the file.
struct NetbsdWords {
  std::uint64_t generation = 0;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool operator==(const NetbsdWords&) const = default;
};

enum class NetbsdLook : std::uint8_t {
  seen,
  held,     ///< the lock was held the whole time, or changed hands too fast
  corrupt,  ///< no correct writer writes such words
};

/// A packet header that was read: the places of its frame and of the next header.
struct NetbsdRecord {
  NetbsdPacketHeader header;
  std::uint64_t frame = 0;  ///< position of its frame
  std::uint64_t next = 0;   ///< position of the next header
};

/// Threads: any; writers hold the lock.
class NetbsdRing {
 public:
  NetbsdRing() = default;
  /// `file`: the mapped file, kNetbsdFileBytes long.
  explicit NetbsdRing(std::byte* file) noexcept : file_(file) {}

  NetbsdHeader& header() const noexcept { return *reinterpret_cast<NetbsdHeader*>(file_); }

  /// Takes the state while nobody holds the lock. Looks kLooks times at most. Blocks: never.
  NetbsdLook look(NetbsdState& state) const noexcept;
  /// Takes the state even while the lock is held. Only the lock's holder knows that it is
  /// consistent.
  NetbsdLook look_inside(NetbsdState& state) const noexcept;
  NetbsdWords words() const noexcept;
  std::uint32_t lock() const noexcept { return load_acquire(header().lock); }
  /// 2 or 3. Until somebody rings, the first header shows it, which is at offset 12 or 24; 3 until
  /// there is one.
  std::uint32_t version() const noexcept;
  std::uint32_t header_bytes() const noexcept {
    return version() == kNetbsdOldVersion ? kNetbsdOldPacketHeaderBytes : kNetbsdPacketHeaderBytes;
  }
  std::uint32_t repairs() const noexcept { return load_acquire(header().repairs); }

  /// Reads the header at `position`. Result: false if it leads past `end`, and so is not a header.
  bool read_header(std::uint64_t position, std::uint64_t end, NetbsdRecord& record) const noexcept;
  /// Copies `size` bytes out of the ring: less than half of it.
  void read(std::uint64_t position, std::byte* to, std::size_t size) const noexcept;
  void write(std::uint64_t position, const std::byte* from, std::size_t size) const noexcept;

  static constexpr unsigned kLooks = 1002;  ///< as NetBSD's kernels look at a lock
  /// Less than half the ring, and more than any correct frame.
  static constexpr std::uint32_t kLongest = 64U << 10U;

 private:
  NetbsdLook interpret(const NetbsdWords& words, NetbsdState& state) const noexcept;
  std::byte* data() const noexcept { return file_ + sizeof(NetbsdHeader); }

  std::byte* file_ = nullptr;
};

/// The lock, as NetBSD's kernels take it: 1002 looks, then a sleep of a millisecond. Threads: one
/// at a time.
class NetbsdLock {
 public:
  /// How long somebody else may hold it.
  static constexpr std::chrono::seconds kPatience{1};
  /// How long to try while others make progress.
  static constexpr std::chrono::seconds kLongestWait{10};

  NetbsdLock() = default;
  explicit NetbsdLock(NetbsdRing ring) noexcept : ring_(ring) {}

  /// Result: false if the lock was held for kPatience, and the bus did not change meanwhile; or if
  /// the lock was held at each look for kLongestWait. The next call then gives up after a
  /// millisecond, until a call sees the lock free.
  bool acquire() noexcept;
  /// One look.
  bool try_acquire() const noexcept;
  void release() const noexcept;
  std::uint64_t sleeps() const noexcept { return sleeps_; }

 private:
  bool try_to_take() const noexcept;

  NetbsdRing ring_;
  std::uint64_t sleeps_ = 0;
  bool given_up_ = false;
};

/// Finds out that a lock is stuck: it was held at each of several looks for NetbsdLock::kPatience,
/// and the bus did not change meanwhile; or it was held for NetbsdLock::kLongestWait, however the
/// bus changed. Threads: one at a time.
class NetbsdStuckLock {
 public:
  using Clock = std::chrono::steady_clock;

  /// Call it after each look() that saw the lock held. Result: whether it is stuck.
  bool is_stuck(const NetbsdRing& ring, Clock::time_point now = Clock::now()) noexcept;
  /// Whether the bus did not change before the last is_stuck() that was true.
  bool stands_still() const noexcept { return stands_still_; }
  /// Call it after each other look().
  void is_free() noexcept { still_ = held_ = {}; }

 private:
  static constexpr unsigned kMinLooks = 20;
  /// For how long, and at how many looks, the same was seen.
  struct Sight {
    unsigned looks = 0;
    Clock::time_point since{};

    bool lasts(Clock::time_point now, Clock::duration patience) noexcept;
  };
  Sight still_;  ///< held, and the bus as it is now
  Sight held_;
  bool stands_still_ = false;
  NetbsdWords words_;
};

/// The frames at the front of `frames` that one hold of the lock covers.
std::size_t netbsd_batch(std::span<const FrameView> frames) noexcept;

/// Which frames a port has sent, on a bus of version 2, where no header tells it: a frame is its
/// own if it stands where the port has written one, and has the time of that one. A bridge sends
/// frames with the addresses of others, so the address of the source does not tell it. Threads:
/// safe.
class NetbsdOwnFrames {
 public:
  /// Before others can see the frame.
  void add(std::uint64_t position, const NetbsdPacketHeader& packet) noexcept {
    store_release(place_of(position), time_of(packet));
  }
  bool has(std::uint64_t position, const NetbsdPacketHeader& packet) noexcept {
    return load_acquire(place_of(position)) == time_of(packet);
  }

 private:
  static constexpr std::size_t kLeastRecord = kNetbsdOldPacketHeaderBytes + kNetbsdMinFrame;
  static std::uint64_t time_of(const NetbsdPacketHeader& packet) noexcept {
    constexpr std::uint64_t kIsTime = std::uint64_t{1} << 31U;  // microseconds have 20 bits
    return std::uint64_t{packet.seconds} << 32U | packet.microseconds | kIsTime;
  }
  std::uint64_t& place_of(std::uint64_t position) noexcept {
    return times_[position % kNetbsdDataBytes / kLeastRecord];  // no two records share one
  }

  std::vector<std::uint64_t> times_ =
      std::vector<std::uint64_t>(kNetbsdDataBytes / kLeastRecord + 1);
};

/// Appends `frames`, each of 14 to kNetbsdMaxFrame bytes, at most netbsd_batch() of them. If the
/// newest frame then touches the end of the data, a pad follows; so without `frames`, a pad follows
/// the frame of a kernel. The caller holds the lock. `own`: of the port, for version 2. Errors:
/// corrupt, and nothing was changed; busy if a repair freed the lock meanwhile: then another
/// process may hold it by now, and the frames are not sent.
std::error_code netbsd_append(const NetbsdRing& ring, std::span<const FrameView> frames,
                              std::uint64_t sender, std::uint64_t time_ns,
                              NetbsdOwnFrames* own = nullptr) noexcept;

}  // namespace shmif::bus
