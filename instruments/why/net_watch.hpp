#pragma once
// Watches the network namespaces of watched processes: their interfaces, the queues of these, and
// what the IP stack counts as lost. Reads each namespace once, even if it has many processes.

#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/kernel_text.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

/// A queueing discipline at the root of an interface, or at its ingress. Its counts include those
/// of the classes and queues below it.
struct QueueCounts {
  int interface = 0;  ///< its number
  bool ingress = false;
  std::string kind{};  ///< "fq_codel"
  std::uint64_t packets = 0, drops = 0;
};

/// Asks the rtnetlink of one namespace for its queues, and for neighbours that do not answer.
/// Threads: one at a time. Blocks: only open(), while a helper thread or process enters the
/// namespace.
class QueueDump {
 public:
  /// Errors: EPERM if this process may not enter the namespace.
  static Result<QueueDump> open(pid_t process);
  /// Uses an open socket, which must not block.
  static QueueDump over(UniqueFd socket) { return QueueDump(std::move(socket)); }

  /// Reads all queues. Errors: the kernel's; EINTR if the tables changed meanwhile.
  Result<std::vector<QueueCounts>> queues();
  /// The first neighbour that does not answer, as text; empty if there is none. Errors: those of
  /// queues().
  Result<std::string> silent_neighbour();
  /// The name of an interface; empty if it is gone.
  std::string name_of(int interface) const;

 private:
  explicit QueueDump(UniqueFd socket) : socket_(std::move(socket)) {}
  Result<void> dump(std::uint16_t type, std::size_t family_bytes,
                    const std::function<void(std::uint16_t, std::span<const std::byte>)>& take);

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> buffer_;
};

/// What the IP stack of a namespace has lost since the namespace was made. Unknown counts are
/// empty.
struct NetTotals {
  struct Total {
    std::uint64_t lost = 0, lost6 = 0, passed = 0;
  };
  std::array<std::optional<Total>, kNetLosses> totals{};
  std::optional<Total>& operator[](NetLoss loss) {
    return totals.at(static_cast<std::size_t>(loss));
  }
};

/// Computes the counts from the texts of /proc/PID/net/snmp, netstat and snmp6. If a text is
/// missing, the counts that need it are empty. `snmp6`: an empty text if the kernel has no IPv6.
NetTotals net_totals(std::optional<std::string_view> snmp, std::optional<std::string_view> netstat,
                     std::optional<std::string_view> snmp6);

/// The namespaces of watched processes. Threads: one at a time. Blocks: only for short reads.
class NetWatch {
 public:
  explicit NetWatch(const KernelFiles& files);

  /// Begins to watch the namespace of a process. Result: its inode; 0 if it is not known.
  std::uint64_t find(pid_t pid, WhySeries& series);
  /// Adds a step to each namespace and to its interfaces and queues. If the process of a namespace
  /// has ended, closes its files after a last look, because an open file would keep the namespace
  /// alive.
  void sample(WhySeries& series);
  /// From now on, uses this socket to read the queues and neighbours of a watched namespace.
  void ask(std::uint64_t net, QueueDump dump, WhySeries& series);

 private:
  struct Device {
    std::size_t number = 0;  ///< in `series.devices`
    DeviceCounts counts;
    bool seen = false;
  };
  struct Queue {
    std::size_t number = 0;  ///< in `series.queues`
    std::uint32_t packets = 0, drops = 0;
    bool seen = false;
  };
  struct Net {
    pid_t pid = 0;
    RepeatedFile devices_file, snmp, netstat, snmp6;
    bool begun = false;  ///< the interfaces were read at the last look
    std::map<std::string, Device> devices{};
    std::size_t number = 0;  ///< in `series.nets`
    NetTotals before{};
    std::optional<QueueDump> dump{};
    bool queues_begun = false;
    /// By interface and kind, so that a queue that replaces another counts as a new one.
    std::map<std::pair<int, std::string>, Queue> queues{};
  };
  void begin(std::uint64_t id, Net& net, WhySeries& series);
  void read(std::uint64_t id, Net& net, WhySeries& series);
  void read_devices_of(std::uint64_t id, Net& net, WhySeries& series);
  void read_queues(std::uint64_t id, Net& net, WhySeries& series);
  void read_losses(Net& net, WhySeries& series);
  enum class Visit : std::uint8_t { first, later };
  NetTotals totals_of(Net& net, WhySeries& series, Visit visit);
  void find_neighbour(Net& net, NetStep& step, WhySeries& series);
  void read_discards(WhySeries& series);

  const KernelFiles files_;
  const bool live_;  ///< the files are of this machine, so its sockets agree with them
  RepeatedFile arp_, ndisc_;
  /// Packets that waited for neighbours in vain, in all namespaces.
  std::optional<std::uint64_t> discards_before_, discarded_;
  std::map<std::uint64_t, Net> nets_;
  std::vector<char> buffer_;
};

}  // namespace shmif::perf
