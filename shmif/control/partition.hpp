#pragma once
// Partition: which other ports a port does not hear.

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "shmif/control/change_text.hpp"

namespace shmif {

/// The names of the ports that one port does not hear: those of the other groups. Frames name their
/// sender by slot and incarnation, so a host that comes again under its name is still ignored.
/// Threads: one at a time. Blocks: never.
class Partition {
 public:
  /// The name of a sender; empty if it is not known.
  using NameOf = std::function<std::string(unsigned slot, std::uint32_t incarnation)>;

  /// Nobody is ignored.
  Partition() = default;
  /// `self`: the name of the port. If no group has it, it hears everybody.
  Partition(const std::vector<Change::Group>& groups, const std::string& self, NameOf name_of);

  /// Whether there are any ports that it does not hear.
  bool is_active() const noexcept { return !ignored_.empty(); }
  /// Whether frames of this sender are ignored. It looks up the name of each sender once; a sender
  /// without a known name is heard.
  bool ignores(unsigned slot, std::uint32_t incarnation);

 private:
  static constexpr unsigned kSlots = 256;
  enum class Known : std::uint8_t { nothing, heard, ignored };
  struct Sender {
    std::uint32_t incarnation = 0;
    Known known = Known::nothing;
  };

  std::vector<std::string> ignored_;  // sorted
  NameOf name_of_;
  std::array<Sender, kSlots> senders_{};
};

}  // namespace shmif
