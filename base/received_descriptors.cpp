#include "base/received_descriptors.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "base/descriptor_kind.hpp"

namespace shmif::base {
namespace {

/// Children that may hang at a time. What comes then stays open.
constexpr int kMostChildren = 32;
std::atomic<int> children{0};
constexpr int kLooks = 100;
constexpr useconds_t kLookUs = 1000;

/// Result: whether no call with it can wait for another program, as far as the kernel says.
bool is_harmless(int descriptor) noexcept {
  return ::fcntl(descriptor, F_GET_SEALS) >= 0 ||
         kind_of_descriptor(descriptor) != DescriptorKind::other;
}

/// Has a child close it that shares the table of descriptors, and nothing else that is needed here:
/// the number is free at once, and the child waits for the file system in our place.
void close_elsewhere(int descriptor) noexcept {
  while (::waitpid(-1, nullptr, WNOHANG | __WCLONE) > 0) --children;  // only those from here
  if (++children > kMostChildren) {
    --children;
    return;
  }
  const long child = ::syscall(SYS_clone, CLONE_FILES, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    ::syscall(SYS_close, descriptor);
    ::_exit(0);
  }
  if (child < 0) --children;
  for (int i = 0; child > 0 && i < kLooks; ++i) {  // most need no more than a moment
    if (::waitpid(static_cast<pid_t>(child), nullptr, WNOHANG | __WCLONE) != 0) {
      --children;
      return;
    }
    ::usleep(kLookUs);
  }
}

}  // namespace

void take_descriptor(int descriptor, std::vector<UniqueFd>& into) {
  if (is_harmless(descriptor)) {
    into.emplace_back(descriptor);
    return;
  }
  close_elsewhere(descriptor);
  into.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
}

}  // namespace shmif::base
