#pragma once
// LabWatch: looks at some buses once a second, in its own thread, for all who watch the page. While
// nobody watches, it only reads counters, for the histories.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tools/page/bus_feed.hpp"

namespace shmif::tools {

/// Names a lab, for looking at it again.
struct ServedLab {
  std::string name;
  std::string folder;  ///< of its state
  std::string file;    ///< that describes it
};

/// What the page shows: a lab, or buses that are in none.
struct PageSubject {
  std::string name;  ///< for the title
  std::vector<NamedBus> buses;
  std::optional<ServedLab> lab = {};
};

/// The destructor ends the thread. Threads: safe.
class LabWatch {
 public:
  /// Throws std::system_error if no thread can be started.
  LabWatch(PageSubject subject, std::chrono::milliseconds interval);
  LabWatch(const LabWatch&) = delete;
  LabWatch& operator=(const LabWatch&) = delete;
  ~LabWatch();

  const PageSubject& subject() const noexcept { return subject_; }
  /// The bus of that name or path; nullptr if the page does not show it.
  const NamedBus* bus(const std::string& name) const noexcept;

  /// The number of the last look, and the lab and the buses as it saw them, as JSON text:
  /// docs/page.md. Blocks: until the first look is done; for a whole look if nobody has asked for
  /// some seconds.
  std::string state();
  /// The same after a look that begins from now on: what was just changed is in it.
  std::string state_from_now();
  /// The histories of all buses, or of one, as JSON text. `bus`: a result of bus(), or nullptr.
  std::string histories(const NamedBus* bus);
  /// That of one port; empty if there is none. `bus`: a result of bus().
  std::optional<std::string> history(const NamedBus& bus, unsigned slot, std::uint32_t incarnation);

 private:
  using Clock = std::chrono::steady_clock;
  /// If nobody asked for this long, nobody watches.
  static constexpr std::chrono::seconds kForgotten{5};

  void run();
  std::string look(std::uint64_t number);
  Json look_at_lab();
  void count(std::uint64_t number);
  /// The state of a look whose number is at least `number`.
  std::string state_from(std::uint64_t number, std::unique_lock<std::mutex>& lock);

  const PageSubject subject_;
  const std::chrono::milliseconds interval_;
  std::mutex feeds_mutex_;           // guards the next ones
  std::uint64_t last_look_ = 0;      // that is in the histories
  std::unique_ptr<Json> lab_hosts_;  // a lab that is down has those that it had before
  std::vector<BusFeed> feeds_;
  std::mutex mutex_;  // guards the next ones
  std::condition_variable changed_;
  std::string state_;
  std::uint64_t state_look_ = 0;  // its number
  std::uint64_t looks_ = 0;       // that are done
  Clock::time_point asked_ = Clock::now() - kForgotten;
  bool wanted_ = false;  // somebody waits for a state
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace shmif::tools
