#pragma once
// A dump that is overrun: for tests of what it says of its losses.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/tools/bus_rig.hpp"

namespace shmif::test {

/// What a dump said at its end; both 0 when it said something else.
struct OverrunDump {
  unsigned long long captured = 0, lost = 0;
};

/// Runs a dump with `options` to a file on a bus of the least size, stops it while `port` sends 200
/// frames of 1000 bytes, and ends it when all of them have passed it.
inline OverrunDump overrun_dump(const BusRig& rig, Port& port,
                                const std::vector<std::string>& options) {
  std::vector<std::string> words{shmifctl_path(), "dump", rig.path(), "--name", "ear"};
  words.insert(words.end(), options.begin(), options.end());
  Tool tool(words);
  OverrunDump said;
  if (!rig.wait_for_port("ear")) return said;
  tool.signal(SIGSTOP);
  for (int i = 0; i < 10; ++i) send(port, std::vector<Bytes>(20, make_frame(1000, 1)));
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
  const std::string text = tool.finish().err;
  if (std::sscanf(text.c_str(), "%llu frames captured, 0 filtered out, %llu lost", &said.captured,
                  &said.lost) != 2) {
    ADD_FAILURE() << text;
    return {};
  }
  return said;
}

}  // namespace shmif::test
