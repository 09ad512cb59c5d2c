#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::fuzz {
namespace {

struct Line {
  const tools::Command* command;
  std::vector<std::string> words;  // behind the path
  std::string link = {};           // what a bridge joins to the bus
};

/// A capture of two broadcasts, as a path. All have one time, because time may be virtual.
std::string capture_path() {
  static const UniqueFd file(memfd_create("capture", MFD_CLOEXEC));
  const std::array<std::uint32_t, 6> head{0xa1b23c4d, 0x00040002, 0, 0, 262144, 1};
  const std::array<std::uint32_t, 4> record{1'700'000'000, 0, 60, 60};
  std::string bytes(reinterpret_cast<const char*>(head.data()), sizeof head);
  for (int i = 0; i < 2; ++i) {
    bytes.append(reinterpret_cast<const char*>(record.data()), sizeof record);
    bytes.append(60, '\xff');
  }
  const ssize_t written = pwrite(file.get(), bytes.data(), bytes.size(), 0);
  require(written == static_cast<ssize_t>(bytes.size()), "a capture that could not be made");
  return "/proc/self/fd/" + std::to_string(file.get());
}

const std::vector<Line>& lines() {
  static const std::vector<Line> all{
      {&tools::kStatCommand, {}},
      {&tools::kStatCommand, {"--json"}},
      {&tools::kTopCommand, {"-n", "1", "--interval", "0.05"}},
      {&tools::kDumpCommand, {"--history", "--timeout", "0"}},
      {&tools::kDumpCommand, {"--history", "--timeout", "0", "-e", "-x", "ip or arp"}},
      {&tools::kDumpCommand, {"--timeout", "1", "-w", "/dev/null"}},
      {&tools::kAuditCommand, {}},
      {&tools::kAuditCommand, {"--json"}},
      {&tools::kRepairCommand, {}},
      {&tools::kWaitCommand, {"--port", "one", "--timeout", "0"}},
      {&tools::kWaitCommand, {"--port", "none", "--timeout", "0.1"}},
      {&tools::kPingCommand, {"-c", "2", "-i", "0", "--timeout", "0.1"}},
      {&tools::kPingCommand, {"-c", "1", "--timeout", "0.1", "--to", "two", "--json"}},
      {&tools::kCreateCommand, {}},
      {&tools::kRepairCommand, {"--force"}},
      {&tools::kRepairCommand, {"--force", "--mtu", "1500"}},
      // The inputs of the corpus choose by number: new lines come last.
      {&tools::kCreateCommand, {"--json"}},
      {&tools::kRepairCommand, {"--json"}},
      {&tools::kRepairCommand, {"--force", "--json"}},
      {&tools::kDumpCommand, {"--history", "--timeout", "0", "--json"}},
      {&tools::kDumpCommand, {"--history", "--timeout", "0", "-w", "/dev/null", "--json"}},
      {&tools::kInjectCommand, {capture_path(), "--timing", "flat", "--json"}},
      {&tools::kBridgeCommand, {"--json"}, "pcap:" + capture_path()},
      // No gateway and no uplink: they start other programs, and end only at a signal.
      // No serve: it loads a module, and shows what stat, ps and dump show.
  };
  return all;
}

}  // namespace

void commands(Bytes bytes) {
  BusImage& image = BusImage::get();
  image.reset();
  Input in(bytes);
  const Line& line = lines()[in.below(lines().size())];
  const std::uint8_t options = in.byte();
  for (unsigned n = options >> 3U; n > 0; --n) image.scribble(in);
  if ((options & 1U) != 0) image.ambush(in);
  std::vector<std::string> words{image.path()};
  if (!line.link.empty()) words = {line.link, "bus:" + image.path()};
  words.insert(words.end(), line.words.begin(), line.words.end());
  const AccessLimit limit(20'000'000);
  try {
    line.command->run({words, std::nullopt});
  } catch (const tools::UsageError& error) {
    failed(error.what.c_str());  // the lines above are right
  } catch (const Exception& error) {
    require(error.what()[0] != '\0', "an error without a text");
  }
}

}  // namespace shmif::fuzz
