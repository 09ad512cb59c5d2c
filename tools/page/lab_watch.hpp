#pragma once
// What the page shows: some buses and the ports on them, looked at once a second for all who watch
// (LabWatch); the last frames of a bus (FrameTail); and changes of ports while they run.

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tools/capture/dump_sink.hpp"
#include "tools/common/json.hpp"
#include "tools/show/top_text.hpp"

namespace shmif::tools {

/// The body of POST /api/change.
struct ChangeWish {
  std::string bus;   ///< its name or its path
  std::string port;  ///< name; empty for partition and heal, which concern all ports
  std::string change;
};

/// Reads a body: {"bus": NAME, "port": NAME, "change": TEXT}. Errors: bad_argument, with the
/// correct form. It is also the error for moving a port to another bus: a page would name any path
/// of this machine.
Result<ChangeWish> read_change_wish(const std::string& body);

/// The journal of a bus, and what holds on its lines: docs/page.md. Threads: safe. Blocks: never.
Json changes_json(const Bus& bus);
Json lines_json(const Bus& bus);

/// A bus by the name that a lab gives it.
struct NamedBus {
  std::string name;
  std::string path;
};

/// Threads: one at a time. Blocks: look() for a few milliseconds for each host.
class BusFeed {
 public:
  static constexpr std::size_t kKept = 300;  ///< how many looks the history has

  explicit BusFeed(NamedBus bus);

  const NamedBus& bus() const noexcept { return bus_; }
  /// Reads the counters of the bus, for the histories. A bus that is gone is noted as not known;
  /// when it is there again, the feed goes on. Result: the bus. Errors: of Bus::open. Blocks:
  /// never.
  Result<Bus> count();
  /// The same, and looks at its hosts. Result: what docs/page.md calls a bus of the state. A bus
  /// that is gone has an "error".
  Json look();
  /// The rates of the last looks: of the bus, or of one port, as docs/page.md says. Empty if there
  /// is no such port.
  Json history() const;
  std::optional<Json> history(unsigned slot, std::uint32_t incarnation) const;

 private:
  using Clock = std::chrono::steady_clock;
  /// Rates per second; negative: not known.
  using Point = std::array<float, 3>;
  using History = std::deque<Point>;
  using PortKey = std::pair<unsigned, std::uint32_t>;  // slot and incarnation

  Json rates_json(const BusRates& rates);
  void note(const BusRates& rates);
  void look_at_hosts(const BusInfo& info);

  NamedBus bus_;
  std::optional<Sample> before_;
  BusRates rates_{};  // of then
  History history_;
  std::map<PortKey, History> port_histories_;
  std::unique_ptr<Json> hosts_;
  std::string ports_of_hosts_;  // for which `hosts_` holds
  Clock::time_point hosts_due_{};
};

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

/// Reads the bus only when somebody asks, and without a port: senders never wait for it. What
/// passes faster than it is asked for is counted, and not shown. Threads: safe.
class FrameTail {
 public:
  static constexpr std::size_t kKept = 200;  ///< lines

  explicit FrameTail(std::string path);

  /// The lines of the frames after number `after` (empty: all that are kept) as JSON text:
  /// docs/page.md. If the bus has no frame of that number, it was made anew since then: all that
  /// are kept. Throws Exception if the bus cannot be read, or lines cannot be made. Blocks: at most
  /// 0.3 s.
  std::string lines_after(std::optional<std::uint64_t> after);

 private:
  using Clock = std::chrono::steady_clock;
  struct Line {
    std::uint64_t number;  ///< of the frame on its bus, so that it stays the same
    std::string text;
  };

  void open(Start start);
  void read();

  const std::string path_;
  std::mutex mutex_;  // guards the next ones
  std::optional<Follower> follower_;
  std::optional<SenderNames> names_;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> file_;  // device and inode
  std::deque<Line> lines_;
  std::optional<std::uint64_t> last_;  // the number of the last frame that was read
  std::uint64_t lost_ = 0;
  Clock::time_point asked_{};
};

}  // namespace shmif::tools
