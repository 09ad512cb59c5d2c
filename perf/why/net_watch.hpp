#pragma once
// The network namespaces of watched processes: their interfaces, the queues of these, and what the
// IP stack counts as lost. Each namespace is read once, however many processes are in it.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "perf/watch/kernel_files.hpp"
#include "perf/why/kernel_text.hpp"
#include "perf/why/queue_dump.hpp"
#include "perf/why/repeated_file.hpp"
#include "perf/why/series.hpp"

namespace shmif::perf {

/// What the IP stack of a namespace has lost since it was made. A count that is not known is empty.
struct NetTotals {
  struct Total {
    std::uint64_t lost = 0, lost6 = 0, passed = 0;
  };
  std::array<std::optional<Total>, kNetLosses> totals{};
  std::optional<Total>& operator[](NetLoss loss) {
    return totals.at(static_cast<std::size_t>(loss));
  }
};

/// From the texts of /proc/PID/net/snmp, netstat and snmp6. Without a text, the counts that it is a
/// part of are empty. `snmp6`: an empty text if the kernel has no IPv6.
NetTotals net_totals(std::optional<std::string_view> snmp, std::optional<std::string_view> netstat,
                     std::optional<std::string_view> snmp6);

/// The namespaces of watched processes. Threads: one at a time. Blocks: never for long.
class NetWatch {
 public:
  explicit NetWatch(const KernelFiles& files);

  /// The namespace of a process, which is watched from now on; 0 if it cannot be told.
  std::uint64_t find(pid_t pid, WhySeries& series);
  /// Adds a step to each namespace and to what is in it. A namespace whose process has ended is let
  /// go after a last look: an open file would keep it.
  void sample(WhySeries& series);
  /// Reads the queues and neighbours of a namespace that is watched over this socket from now on.
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
    /// By interface and kind, so that a queue that is replaced is another one.
    std::map<std::pair<int, std::string>, Queue> queues{};
  };
  void begin(std::uint64_t id, Net& net, WhySeries& series);
  void read(std::uint64_t id, Net& net, WhySeries& series);
  void read_devices_of(std::uint64_t id, Net& net, WhySeries& series);
  void read_queues(std::uint64_t id, Net& net, WhySeries& series);
  void read_losses(Net& net, WhySeries& series);
  NetTotals totals_of(Net& net, WhySeries& series, bool first = false);
  void find_neighbour(Net& net, NetStep& step, WhySeries& series);
  void read_discards(WhySeries& series);

  const KernelFiles files_;
  const bool live_;  ///< the files are this machine's, so its sockets tell the same
  RepeatedFile arp_, ndisc_;
  /// Packets that waited for neighbours in vain, of all namespaces.
  std::optional<std::uint64_t> discards_before_, discarded_;
  std::map<std::uint64_t, Net> nets_;
  std::vector<char> buffer_;
};

}  // namespace shmif::perf
