#pragma once
// Shared memory of a test that takes part, and accesses to its pages.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/unique_fd.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/session.hpp"
#include "shmif/heat_wire.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {

/// A variable of the environment that is as before when the test is over.
class Variable {
 public:
  explicit Variable(const char* name) : name_(name), before_(value()) {}
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { set(before_); }

  std::optional<std::string> value() const {
    const char* const now = std::getenv(name_);
    return now == nullptr ? std::nullopt : std::optional<std::string>(now);
  }
  void set(const std::optional<std::string>& to) const {
    if (to) {
      ::setenv(name_, to->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// SHMIF_HEAT names a directory of the test while this exists.
class ClientsHere {
 public:
  ClientsHere() { shared_.set(dir_.path()); }
  const std::string& folder() const { return dir_.path(); }

 private:
  const shmif::test::TempDir dir_;
  const Variable shared_{heat::kVariable};
};

/// Pages of a file in memory, mapped shared.
class SharedPages {
 public:
  explicit SharedPages(std::size_t pages)
      : pages_(pages), file_(::memfd_create("heat", MFD_CLOEXEC)) {
    const std::size_t bytes = pages * page_bytes();
    if (::ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0) throw std::runtime_error("size");
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (at == MAP_FAILED) throw std::runtime_error("mmap");
    base_ = static_cast<unsigned char*>(at);
    for (std::size_t page = 0; page < pages; ++page) write(page, tag(page));
  }
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;
  ~SharedPages() { ::munmap(base_, bytes()); }

  static unsigned char tag(std::size_t page) { return static_cast<unsigned char>(page * 7 + 1); }
  void* begin() const { return base_; }
  std::size_t bytes() const { return pages_ * page_bytes(); }
  std::uint64_t address(std::size_t page) const {
    return reinterpret_cast<std::uintptr_t>(base_) + page * page_bytes();
  }
  unsigned char read(std::size_t page) const {
    return *static_cast<const volatile unsigned char*>(base_ + page * page_bytes());
  }
  void write(std::size_t page, unsigned char value) const {
    *static_cast<volatile unsigned char*>(base_ + page * page_bytes()) = value;
  }
  /// Each page has what was written there when it was made.
  bool are_whole() const {
    for (std::size_t page = 0; page < pages_; ++page) {
      if (read(page) != tag(page)) return false;
    }
    return true;
  }

 private:
  std::size_t pages_;
  UniqueFd file_;
  unsigned char* base_ = nullptr;
};

/// Whether this kernel tells all that the client sampler can know.
inline bool knows_all() {
  const auto all = heat_capabilities();
  const auto client = std::ranges::find(all, "heat.client", &Capability::name);
  return client->state == Support::supported && client->enable_with.empty();
}

/// How well regions with at least so many accesses are the pages that were accessed.
struct Quality {
  double recall = 0, precision = 0;
};
template <class Count, class IsHot>
Quality quality_of(const std::vector<Region>& found, Count count, IsHot is_hot) {
  double hot = 0;
  double called_hot = 0;
  double both = 0;
  for (const Region& region : found) {
    for (std::uint64_t at = region.begin; at < region.end; at += page_bytes()) {
      const bool is = is_hot(at);
      const bool called = count(region) > 0;
      hot += is ? 1 : 0;
      called_hot += called ? 1 : 0;
      both += is && called ? 1 : 0;
    }
  }
  return {hot > 0 ? both / hot : 1, called_hot > 0 ? both / called_hot : 1};
}

}  // namespace shmif::perf::test
