#pragma once
// A dump that is overrun: for tests of what it says of its losses.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Stops `tool`, a dump whose port is named "ear", while `send_all` overruns it, and ends it when
/// every frame of the bus has passed that port.
template <class SendAll>
ToolResult overrun(const BusRig& rig, Tool& tool, SendAll send_all) {
  tool.stop();
  send_all();
  tool.signal(SIGCONT);
  const auto all_passed = [&] {
    const BusInfo info = Bus::open(rig.path()).value().info();
    return std::ranges::any_of(info.ports, [&](const PortInfo& p) {
      return p.name == "ear" && p.rx_frames + p.lost_frames == info.frames;
    });
  };
  for (int i = 0; i < 2000 && !all_passed(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  tool.signal(SIGINT);
  return tool.finish();
}

/// As many frames as overrun a reader of a bus of the least size.
inline void send_200_frames(Port& port) {
  for (int i = 0; i < 10; ++i) send(port, std::vector<Bytes>(20, make_frame(1000, 1)));
}

/// What a dump said at its end; both 0 when it said something else.
struct OverrunDump {
  unsigned long long captured = 0, lost = 0;

  explicit OverrunDump(const std::string& said) {
    if (std::sscanf(said.c_str(), "%llu %*s captured, 0 filtered out, %llu lost", &captured,
                    &lost) != 2) {
      ADD_FAILURE() << said;
      captured = lost = 0;
    }
  }
};

/// Runs a dump with `options` to a file on a bus of the least size, and overruns it.
inline OverrunDump overrun_dump(const BusRig& rig, Port& port,
                                const std::vector<std::string>& options) {
  std::vector<std::string> words{shmifctl_path(), "dump", rig.path(), "--name", "ear"};
  words.insert(words.end(), options.begin(), options.end());
  Tool tool(words);
  if (!rig.wait_for_port("ear")) return OverrunDump("");
  return OverrunDump(overrun(rig, tool, [&] { send_200_frames(port); }).err);
}

}  // namespace shmif::test
