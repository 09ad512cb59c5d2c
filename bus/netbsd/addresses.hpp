#pragma once
// The addresses for which a port on a NetBSD bus receives frames. The format has no place for them,
// so only the port itself knows them.

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>

#include "bus/frame.hpp"
#include "bus/mac.hpp"

namespace shmif::bus {

/// Threads: safe. Blocks: members that change something, while another thread does.
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

}  // namespace shmif::bus
