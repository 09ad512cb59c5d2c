#pragma once
// BusWatch: says once that the file of a bus has lost its name, or that another bus took it. Ports
// go on then, but whoever attaches from now on does not meet them.

#include <functional>
#include <vector>

#include "bus/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never for a peer.
class BusWatch {
 public:
  /// Throws when the kernel gives no timer.
  BusWatch();
  /// Watches the bus of this port, which must outlive the watch. A port that is down is left alone.
  void add(const Port& port);
  /// Looks now and then while the bridge runs, which must not outlive this, and then calls `also`,
  /// if there is one; the bridge stops when that says false. The first look is after a second, each
  /// later one after twice the time of the one before, up to 16 seconds: fifty idle hosts are not
  /// to wake a machine fifty times a second. Once a bus has lost its name, looks each second.
  Result<void> join(tap::Bridge& bridge, std::function<bool()> also = {});
  /// Looks after a second, and then at growing distances again.
  void look_soon();

 private:
  enum class Said { nothing, removed, replaced };
  struct Watched {
    const Port* port;
    Said said;
  };
  static void look(Watched& watched);
  bool set_timer() const;

  UniqueFd timer_;
  unsigned seconds_;  ///< until the next look
  std::vector<Watched> all_;
};

/// Says that the bus at `path` is in trouble, or, without an error, that it is well again, and
/// takes the carrier of the device from the host behind it, or gives it back. `kind`: of the
/// device; a link without carrier, of any other kind, is left alone.
void follow_bus(const std::string& path, AnyLink& device, LinkKind kind, std::error_code error);

/// Says so when processes of this machine are still on a bus that was at `path` and was removed:
/// they do not hear who attaches to the one that is there now. Sees those processes only whose
/// memory maps may be read.
void warn_of_hosts_left_behind(const std::string& path);

}  // namespace shmif::tools
