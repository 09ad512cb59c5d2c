#include <string>
#include <vector>

#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::fuzz {

// A file of a lab: it is right, or each thing that is wrong has a place in it.
void labs(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  // Filters may name hosts, and libpcap would ask the network for their addresses.
  if (text.find("frame") != std::string::npos || text.find("filter") != std::string::npos) return;
  tools::LabProblems problems;
  const tools::Lab lab = tools::read_lab(text, "/nowhere/lab.toml", problems);
  for (const tools::LabProblem& each : problems.sorted()) {
    require(!each.text.empty(), "a problem without a text");
    require(to_text("lab.toml", each).find('\n') == std::string::npos, "a problem of two lines");
  }
  if (problems.errors() != 0) return;
  for (const tools::LabHost& host : lab.hosts) {
    require(!host.name.empty() && !host.interfaces.empty(), "a host without name or bus");
    const std::vector<std::string> words = tools::exec_words(lab, host, 1);
    require(words.size() > 7, "a host that is not run");
  }
  for (const tools::LabEvent& event : lab.events) {
    require(!event.to_string().empty(), "an event that does nothing");
  }
}

}  // namespace shmif::fuzz
