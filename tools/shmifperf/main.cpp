// shmifperf: the table of its commands.

#include <array>

#include "tools/program.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

// In the order of the alphabet.
constexpr std::array kCommands = {
    &kCompareCommand, &kOptionsCommand, &kReportCommand, &kRunCommand, &kServerCommand,
};

constexpr Program kProgram{
    "shmifperf",
    "Traffic between emulated hosts: how fast, how lossy, how late, and whether every\n"
    "byte is right. Jobs are described as for fio; frames go over a bus, or over what\n"
    "it is to be compared with.",
    "  shmifperf run --profile hosts\n"
    "      TCP, UDP and round trips between emulated hosts, for 15 s\n"
    "  shmifperf run voip.job\n"
    "      what a job file says\n"
    "  shmifperf report voip.json\n"
    "      a page to look at, of a result that was kept\n"
    "  shmifperf options rate\n"
    "      what an option means\n",
    kCommands,
};

}  // namespace

}  // namespace shmif::tools

int main(int argc, char** argv) {
  return shmif::tools::run_program(shmif::tools::kProgram, argc, argv);
}
