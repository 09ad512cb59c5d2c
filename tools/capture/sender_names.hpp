#pragma once
// SenderNames: names the sender of a frame, from the bus's port table.

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
#include "shmif/mac.hpp"

namespace shmif::tools {

/// The senders of the frames of one bus. Threads: one at a time.
class SenderNames {
 public:
  static constexpr std::uint64_t kOthers = 0;
  static constexpr std::chrono::seconds kMaxSearch{2};
  struct Sender {
    std::uint64_t id = 0;       ///< unique among senders
    std::string name{};         ///< name of the port; "slot 7" if the port is no longer known
    std::string description{};  ///< slot, kind of link, MAC address
    bool known = false;
    std::string link{};  ///< the kind of link, such as "tap"; empty if not known
    std::optional<MacAddress> mac{};
    /// As process_text() says it; empty until process_of() has looked.
    std::string process{};
    bool process_is_read = false;
  };

  /// If the bus cannot be opened, senders have no names.
  explicit SenderNames(const std::string& path);

  /// The sender of a frame. A port that has left stays known until another port takes its slot. The
  /// reference is valid until the next call. A writer can forge any number of senders, so reads of
  /// the port table are limited. All senders beyond the limit share one entry, "others".
  const Sender& of(const FrameView& frame);
  /// The process of the frame's sender, as process_text() says it. It is looked up once, so that a
  /// port that has left since keeps its process. All look-ups together take at most kMaxSearch;
  /// then, and if the process is not known, the text is empty.
  std::string process_of(const FrameView& frame);
  /// The sender named "others".
  const Sender& others() const { return others_; }
  /// How many frames got the answer "others".
  std::uint64_t not_looked_up() const { return not_looked_up_; }
  /// Whether the format of the bus names senders. If it does not, all frames have the same sender.
  bool are_told() const { return are_told_; }
  /// The names of the live ports.
  std::vector<std::string> live() const;

 private:
  using Key = std::pair<std::uint16_t, std::uint32_t>;  // slot and incarnation
  using Clock = std::chrono::steady_clock;
  bool may_look();
  void look();
  /// Gives the sender its `id`, if the key is new.
  void add(const Key& key, Sender sender);

  std::optional<Bus> bus_;
  bool are_told_ = true;
  std::map<Key, Sender> senders_;
  std::uint64_t last_id_ = 0;
  Clock::duration searched_{0};  // the time that process_of() has taken
  Sender others_{kOthers, "others", "other senders: too many to list each"};
  Sender untold_{1, "unknown", "the format of the bus does not name senders"};
  std::uint64_t not_looked_up_ = 0;
  unsigned looks_left_;
  Clock::time_point looks_counted_ = Clock::now();
  Key last_key_{};
  const Sender* last_ = nullptr;  // usually the sender of the next frame, too
};

}  // namespace shmif::tools
