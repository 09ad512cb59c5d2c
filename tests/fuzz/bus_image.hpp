#pragma once
// The buses that the targets share: past their first wraps, with shared records and a pad in the
// chain, two living ports and a dead one. Made once; reset() makes one what it was. Most is done
// with a small one. A larger one pauses, and carries super-frames, which a small ring does not.
//
// A scribble overwrites some of it, with bytes of the input: fields by name, records by their place
// in the chain, or anything anywhere. Two ways: scribble() at once; and an *ambush*, in builds with
// SHMIF_FUZZ, somewhere inside of what the target calls: between two accesses to shared memory, as
// a hostile process does it. Time in these builds is a count of such accesses, so that what walks
// too long is found in a ring of 64 KiB already (see AccessLimit).

#include <cstdint>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/support/raw_bus.hpp"

namespace shmif::fuzz {

class BusImage {
 public:
  /// The ones of this process.
  static BusImage& get();
  static BusImage& get_offloads();
  ~BusImage();
  BusImage(const BusImage&) = delete;
  BusImage& operator=(const BusImage&) = delete;

  const std::string& path() const noexcept { return path_; }
  int fd() const noexcept { return raw_->fd(); }
  const bus::Ring& ring() const noexcept { return raw_->ring(); }
  /// What the ring holds at most: a bound for what one call may walk.
  std::uint64_t records() const noexcept { return ring().bytes() / bus::kRecordAlign; }
  const bus::BusHeader& fixed() const noexcept { return fixed_; }
  /// The whole file as it was.
  const std::vector<std::byte>& pristine() const noexcept { return pristine_; }
  /// Positions where a record begins, the end of the chain last.
  const std::vector<std::uint64_t>& chain() const noexcept { return chain_; }

  /// Also ends the ambushes of the run before.
  void reset() noexcept;
  void scribble(Input& input) noexcept;
  /// From now on, scribbles from the end of `input` happen inside of what is called, until reset().
  void ambush(Input& input) noexcept;
  void end_ambush() noexcept;
  /// Somewhere in the ring, most often where a record begins, or in another lap.
  std::uint64_t place(Input& input) const noexcept;

  static constexpr unsigned kLivingSlots = 2;  // 0 and 1
  static constexpr unsigned kDeadSlot = 2;

 private:
  explicit BusImage(const BusOptions& options);
  std::uint64_t value(Input& input, std::uint64_t old) const noexcept;
  void scribble_shared(std::uint64_t position, std::uint64_t which, Input& input) noexcept;
  void store(std::size_t offset, std::uint64_t value, std::size_t bytes) noexcept;
  std::byte* base() const noexcept { return reinterpret_cast<std::byte*>(&raw_->header()); }

  std::string directory_, path_;
  std::vector<Port> ports_;
  std::unique_ptr<test::RawBus> raw_;
  bus::BusHeader fixed_{};
  std::vector<std::byte> pristine_;
  std::vector<std::uint64_t> chain_;
  bool far_slots_touched_ = true;
};

/// While it lives, more than `max` accesses to shared memory are a failure: something loops.
/// Nothing without SHMIF_FUZZ.
class AccessLimit {
 public:
  explicit AccessLimit(std::uint64_t max) noexcept;
  AccessLimit(const AccessLimit&) = delete;
  AccessLimit& operator=(const AccessLimit&) = delete;
  ~AccessLimit();
};

/// An ambush on shared memory that is no bus, for as long as it lives: `scribble` overwrites some
/// of it. Nothing without SHMIF_FUZZ.
class Ambush {
 public:
  Ambush(Input& input, void (*scribble)(Input&)) noexcept;
  Ambush(const Ambush&) = delete;
  Ambush& operator=(const Ambush&) = delete;
  ~Ambush();
};

/// Of the small one.
inline constexpr std::uint64_t kRingBytes = 64U << 10U;
inline constexpr std::uint64_t kRecords = kRingBytes / bus::kRecordAlign;

/// Ends the run as a failure.
[[noreturn]] void failed(const char* what) noexcept;
inline void require(bool holds, const char* what) noexcept {
  if (!holds) failed(what);
}

}  // namespace shmif::fuzz
