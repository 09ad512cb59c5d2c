#include "tools/shmifperf/run_jobs.hpp"

#include "tools/command.hpp"

namespace shmif::tools {

int run_jobs(const perf::JobSet&, const std::vector<std::string>&) {
  complain("cannot run jobs: not supported by this build (--parse-only and --showcmd are)");
  return kNotSupported;
}

}  // namespace shmif::tools
