#include "base/shared_memory.hpp"

#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <cerrno>
#include <utility>

namespace shmif::base {
namespace {

namespace ipc = boost::interprocess;

/// A file as mapped_region expects it.
struct OpenFile {
  int fd;
  ipc::mapping_handle_t get_mapping_handle() const noexcept { return {fd, false}; }
};

}  // namespace

struct SharedMemory::Region {
  ipc::mapped_region mapped;
};

template <class Source>
Result<SharedMemory> SharedMemory::map(const Source& source, const std::string& what) {
  try {
    SharedMemory made;
    made.region_ = std::make_unique<Region>(Region{source()});
    return made;
  } catch (const ipc::interprocess_exception& error) {
    return Error::from_errno(error.get_native_error(), what);
  }
}

Result<SharedMemory> SharedMemory::anonymous(std::size_t bytes, const std::string& what) {
  return map([bytes] { return ipc::anonymous_shared_memory(bytes); }, what);
}

Result<SharedMemory> SharedMemory::of_file(int fd, std::size_t bytes, const std::string& what) {
  if (bytes == 0) return Error::from_errno(EINVAL, what);  // Boost would map the whole file
  return map([=] { return ipc::mapped_region(OpenFile{fd}, ipc::read_write, 0, bytes); }, what);
}

SharedMemory::SharedMemory() noexcept = default;
SharedMemory::SharedMemory(SharedMemory&& other) noexcept = default;
SharedMemory::~SharedMemory() = default;

void* SharedMemory::data() const noexcept {
  return region_ ? region_->mapped.get_address() : nullptr;
}

}  // namespace shmif::base
