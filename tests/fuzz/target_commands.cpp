#include <cstdio>

#include "base/result.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::fuzz {
namespace {

struct Line {
  const tools::Command* command;
  std::vector<std::string> words;  // behind the path
};

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
