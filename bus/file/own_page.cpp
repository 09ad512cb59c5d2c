#include "bus/file/own_page.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace shmif::bus {
namespace {

std::size_t own_page_bytes() noexcept {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

std::error_code OwnPage::map(int fd) noexcept {
  reset();
  void* const page = mmap(nullptr, own_page_bytes(), PROT_NONE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) return {errno, std::generic_category()};
  page_ = page;
  return {};
}

std::error_code OwnPage::hide_from_children() noexcept {
  if (madvise(page_, own_page_bytes(), MADV_DONTFORK) == 0) return {};
  return {errno, std::generic_category()};
}

void OwnPage::reset() noexcept {
  if (page_ != nullptr) munmap(page_, own_page_bytes());
  page_ = nullptr;
}

}  // namespace shmif::bus
