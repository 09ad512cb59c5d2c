#include "bench/trial.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <exception>

namespace shmif::bench {

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    give_up("CPU " + std::to_string(cpu) + " is not to be had");
  }
}

void* shared_memory(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("no memory to share");
  return memory;
}

pid_t start(const std::function<void()>& work) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) give_up("no more processes");
  if (child > 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(4);
  try {
    work();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    _exit(3);
  }
  _exit(0);
}

bool finish(const std::vector<pid_t>& children) {
  bool all_well = true;
  for (std::size_t left = children.size(); left > 0; --left) {
    int status = 0;
    if (waitpid(-1, &status, 0) < 0) return false;
    if (status == 0 || !all_well) continue;
    all_well = false;
    for (const pid_t child : children) kill(child, SIGKILL);
  }
  return all_well;
}

std::string own_path(const char* what) {
  const char* given = std::getenv("TMPDIR");
  const char* folder = given != nullptr                ? given
                       : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                                       : "/tmp";
  return std::string(folder) + "/shmif-bench-" + what + "." + std::to_string(getpid());
}

}  // namespace shmif::bench
