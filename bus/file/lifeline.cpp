#include "bus/file/lifeline.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/fork_guard.hpp"
#include "bus/file/file.hpp"

namespace shmif::bus {
namespace {

std::size_t page_bytes() noexcept {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Result<Lifeline> Lifeline::open(int fd, const std::string& path,
                                const std::function<bool(int description)>& take_lock) {
  const base::ForkHold no_fork;
  const auto description = reopen(fd, path, true);
  if (!description) return description.error();
  Lifeline line;
  void* const page = mmap(nullptr, page_bytes(), PROT_NONE, MAP_SHARED, description->get(), 0);
  if (page == MAP_FAILED) return Error::from_errno(errno, "cannot map the bus " + path);
  line.page_ = page;
  if (madvise(page, page_bytes(), MADV_DONTFORK) != 0)
    return Error::from_errno(errno, "cannot hide the bus from forked children");
  if (!take_lock(description->get())) line.reset();
  return line;
}

void Lifeline::reset() noexcept {
  if (page_ != nullptr) munmap(page_, page_bytes());
  page_ = nullptr;
}

}  // namespace shmif::bus
