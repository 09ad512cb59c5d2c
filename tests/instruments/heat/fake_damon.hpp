#pragma once
// A tree of files that stands for a kernel with DAMON.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "instruments/watch/kernel_files.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {

inline std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// A kernel of which nobody uses DAMON, with the files of one thread.
class FakeDamonTree {
 public:
  FakeDamonTree() {
    put("nr_kdamonds", "0");
    put_thread(0);
  }

  const std::string& root() const { return tree_.path(); }
  std::string admin() const { return root() + "/sys/kernel/mm/damon/admin/kdamonds/"; }
  KernelFiles files() const { return KernelFiles(root()); }
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(admin() + name).parent_path());
    std::ofstream(admin() + name) << text << '\n';
  }
  /// The files of a kernel thread.
  void put_thread(int number) const {
    const std::string folder = std::to_string(number) + '/';
    put(folder + "state", "off");
    put(folder + "contexts/nr_contexts", "0");
    const std::string context = folder + "contexts/0/";
    put(context + "avail_operations", "vaddr\nfvaddr\npaddr");
    for (const char* const each : {"operations",
                                   "monitoring_attrs/intervals/sample_us",
                                   "monitoring_attrs/intervals/aggr_us",
                                   "monitoring_attrs/intervals/update_us",
                                   "monitoring_attrs/nr_regions/min",
                                   "monitoring_attrs/nr_regions/max",
                                   "targets/nr_targets",
                                   "targets/0/pid_target",
                                   "targets/0/regions/nr_regions",
                                   "targets/0/regions/0/start",
                                   "targets/0/regions/0/end",
                                   "targets/0/regions/1/start",
                                   "targets/0/regions/1/end",
                                   "schemes/nr_schemes",
                                   "schemes/0/action",
                                   "schemes/0/access_pattern/sz/min",
                                   "schemes/0/access_pattern/sz/max",
                                   "schemes/0/access_pattern/nr_accesses/min",
                                   "schemes/0/access_pattern/nr_accesses/max",
                                   "schemes/0/access_pattern/age/min",
                                   "schemes/0/access_pattern/age/max"}) {
      put(context + each, "");
    }
    put(context + "schemes/0/tried_regions/total_bytes", "0");
  }
  std::string line_of(const std::string& name) const { return first_line(admin() + name); }
  void put_region(int number, std::uint64_t begin, std::uint64_t end, int accesses, int age,
                  int thread = 0) const {
    const std::string folder =
        std::to_string(thread) + "/contexts/0/schemes/0/tried_regions/" + std::to_string(number);
    put(folder + "/start", std::to_string(begin));
    put(folder + "/end", std::to_string(end));
    put(folder + "/nr_accesses", std::to_string(accesses));
    put(folder + "/age", std::to_string(age));
  }

 private:
  const shmif::test::TempDir tree_;
};

}  // namespace shmif::perf::test
