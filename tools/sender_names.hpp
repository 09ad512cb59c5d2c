#pragma once
// Who sent a frame: the name of the port, from the bus's table.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/frame.hpp"

namespace shmif::tools {

/// The senders of the frames of one bus. Threads: one.
class SenderNames {
 public:
  static constexpr std::uint64_t kOthers = 0;
  struct Sender {
    std::uint64_t id = 0;     ///< no two senders have the same
    std::string name;         ///< of the port; of one that nobody knows any more "slot 7"
    std::string description;  ///< what it is: slot, kind of link, MAC address
    bool known = false;
  };

  /// A bus that cannot be opened has senders without names.
  explicit SenderNames(const std::string& path);

  /// A port that has left is known until another one takes its slot. The reference is good until
  /// the next call. A writer can forge any number of senders, and looks into the table of the
  /// bus are limited. Senders beyond that are all one, named "others".
  const Sender& of(const FrameView& frame);
  /// The sender named "others".
  const Sender& others() const { return others_; }
  /// For how many frames the answer was "others".
  std::uint64_t not_looked_up() const { return not_looked_up_; }
  /// How many senders are remembered just now: a bounded number.
  std::size_t remembered() const { return senders_.size(); }
  /// The names of the ports that live now.
  std::vector<std::string> live() const;

 private:
  using Key = std::pair<std::uint16_t, std::uint32_t>;  // slot and incarnation
  using Clock = std::chrono::steady_clock;
  bool may_look();
  void look();
  void add(const Key& key, std::string name, std::string description, bool known);

  std::optional<Bus> bus_;
  std::map<Key, Sender> senders_;
  std::uint64_t last_id_ = 0;
  Sender others_{kOthers, "others", "senders that are too many to be told apart", false};
  std::uint64_t not_looked_up_ = 0;
  unsigned looks_left_;
  Clock::time_point looks_counted_ = Clock::now();
  Key last_key_{};
  const Sender* last_ = nullptr;  // most frames come from the sender of the one before
};

}  // namespace shmif::tools
