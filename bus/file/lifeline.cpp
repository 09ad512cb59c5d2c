#include "bus/file/lifeline.hpp"

#include "base/fork_guard.hpp"
#include "bus/file/file.hpp"

namespace shmif::bus {

Result<Lifeline> Lifeline::open(int fd, const std::string& path,
                                const std::function<bool(int description)>& take_lock) {
  const base::ForkHold no_fork;
  const auto description = reopen(fd, path, Access::read_write);
  if (!description) return description.error();
  Lifeline line;
  if (const auto failed = line.page_.map(description->get()))
    return Error::from_errno(failed.value(), "cannot map the bus " + path);
  if (const auto failed = line.page_.hide_from_children())
    return Error::from_errno(failed.value(), "cannot hide the bus from forked children");
  if (!take_lock(description->get())) line.reset();
  return line;
}

}  // namespace shmif::bus
