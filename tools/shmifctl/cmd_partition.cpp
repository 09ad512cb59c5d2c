// shmifctl partition: divides a bus into groups that do not hear each other.

#include <limits>

#include "tools/shmifctl/asking.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

/// Whether the line is NAME / NAME: no bus is followed by a slash.
bool lacks_bus_of_partition(const Arguments& args) {
  return args.positional().size() > 1 && args.positional()[1] == "/";
}

int run_partition(const CommandLine& line) {
  Options options("partition", "PATH NAME[,NAME]... {/ NAME[,NAME]...}...");
  options.bus_first("", lacks_bus_of_partition)
      .about(
          R"(Divides the ports of a bus into groups that do not hear each other, until
             'shmifctl heal'. Write commas between the names of ports, and a slash between groups.
             Each named port ignores the frames of the other groups. The bus keeps the
             partition: a host that ends and is started again under its name is still in its
             group. A new partition replaces the old one for the ports that it names. Ports
             in no group hear everybody. The processes that own the ports apply the change,
             one after another. If one does not answer, the others have the change all the
             same, and the exit code is 1.)")
      .words(2, std::numeric_limits<std::size_t>::max());
  add_patience_option(options).example("shmifctl partition /dev/shm/bus0 web,db / user",
                                       "keep the host \"user\" from the two others");
  const Arguments args = options.parse(line);
  std::string groups;
  for (std::size_t i = 1; i < args.positional().size(); ++i) groups += ' ' + args.positional()[i];
  return ask(args, {}, "partition" + groups);
}

}  // namespace

const Command kPartitionCommand{"partition",
                                "divide the ports of a bus into groups that do not hear each other",
                                run_partition};

}  // namespace shmif::tools
