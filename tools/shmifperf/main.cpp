// shmifperf: the table of its commands.

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/program.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

// In alphabetical order.
constexpr std::array kCommands = {
    &kCapabilitiesCommand, &kCompareCommand, &kHeatCommand, &kMembwCommand,
    &kOptionsCommand,      &kReportCommand,  &kRunCommand,  &kSampleCommand,
    &kServerCommand,       &kStatCommand,    &kWhyCommand,
};

constexpr Program kProgram{
    "shmifperf",
    R"(Sends frames over a bus or, to compare with it, over TAP devices, sockets and others, and
       measures rate, loss and latency. A job sends, receives or echoes frames, and verifies
       every byte of those that arrive. Job files describe jobs, in the syntax of the disk
       benchmark fio. The instruments (why, stat, sample, heat, membw) watch any program, and
       measure what slows it down.)",
    R"(  shmifperf run --profile hosts
      TCP, UDP and round trips between hosts on a bus, each in a network
      namespace of its own, for 15 s
  shmifperf run voip.job
      the jobs of a job file
  shmifperf report voip.json
      a page to look at, from a saved result
  shmifperf options rate
      what an option means
)",
    kCommands,
};

}  // namespace

}  // namespace shmif::tools

int main(int argc, char** argv) {
  std::vector<char*> words(argv, argv + argc);
  std::string run = "run";
  // Users of fio write no command: "--cmdhelp=bs".
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.starts_with("--help=") || first.starts_with("--cmdhelp")) {
    words.insert(words.begin() + 1, run.data());
  }
  words.push_back(nullptr);
  return shmif::tools::run_program(shmif::tools::kProgram, static_cast<int>(words.size()) - 1,
                                   words.data());
}
