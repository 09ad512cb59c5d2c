#pragma once
// Who sent a frame: the name of the port, from the bus's table.

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
  struct Sender {
    std::string name;         ///< of the port; of one that nobody knows any more "slot 7"
    std::string description;  ///< what it is: slot, kind of link, MAC address
    bool known = false;
  };

  /// A bus that cannot be opened has senders without names.
  explicit SenderNames(const std::string& path);

  /// A port that has left is known until another one takes its slot. The reference stays good.
  /// A writer can forge senders without end: beyond some number all are one, named "others".
  const Sender& of(const FrameView& frame);
  /// The names of the ports that live now.
  std::vector<std::string> live() const;

 private:
  using Key = std::pair<std::uint16_t, std::uint32_t>;  // slot and incarnation
  void look();

  std::optional<Bus> bus_;
  std::map<Key, Sender> senders_;  ///< a bounded number
  Sender others_{"others", "senders beyond those that are remembered", false};
  Key last_key_{};
  const Sender* last_ = nullptr;  // most frames come from the sender of the one before
};

}  // namespace shmif::tools
