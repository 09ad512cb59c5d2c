#pragma once
// SharedMemory: memory that a process shares with its children, or with others through a file.
//
// Uses Boost.Interprocess. The bus is mapped by mmap: see docs/decisions.md.

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace shmif::base {

/// Readable and writable. Children of fork inherit it. Threads: the object, one at a time; the
/// memory, any. Blocks: never.
class SharedMemory {
 public:
  /// New memory, filled with zeros and not backed by a file. `what` begins the message of an error:
  /// "cannot get memory for a run". Errors: an errno.
  static Result<SharedMemory> anonymous(std::size_t bytes, const std::string& what);
  /// The first bytes of the file behind `fd`, which may be closed afterwards. The file must have
  /// them, and must not be truncated later. Errors: an errno.
  static Result<SharedMemory> of_file(int fd, std::size_t bytes, const std::string& what);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  /// The address, a multiple of the page size; nullptr if it holds no memory.
  void* data() const noexcept;

 private:
  struct Region;
  SharedMemory() noexcept;
  template <class Source>
  static Result<SharedMemory> map(const Source& source, const std::string& what);
  std::unique_ptr<Region> region_;
};

}  // namespace shmif::base
