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
    R"(  shmifperf run --rw=tx --bs=64 --rate_iops=100k --runtime=1
      100,000 frames of 64 bytes over a bus made for this run, in 1 s;
      without a rate, as fast as possible: then loss is normal
  shmifperf run --profile hosts
      TCP, UDP and round trips between hosts on a bus, each in a network
      namespace of its own, for 15 s
  shmifperf options --profile voip >voip.job
      a job file to begin with
  shmifperf run voip.job --output-format=json --output=voip.json
      its jobs, with the results in a file
  shmifperf report voip.json
      a page to look at, from these results: voip.html
  shmifperf options rate
      what an option means
)",
    kCommands,
    R"(heat, membw, sample, stat and why exit as the program that they run, or with 126: the
       program cannot be executed; 127: there is no such program.)",
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
