#pragma once
// The board of a file, for tests in which another process writes anything into it.

#include <fcntl.h>
#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <string>

#include "base/unique_fd.hpp"
#include "bus/board/board_layout.hpp"

namespace shmif::bus {

/// The board of a file as a hostile writer has it.
class RawBoard {
 public:
  explicit RawBoard(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    base_ = mmap(nullptr, kRingOffset, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
  }
  RawBoard(const RawBoard&) = delete;
  RawBoard& operator=(const RawBoard&) = delete;
  ~RawBoard() { munmap(base_, kRingOffset); }
  BoardMemory& memory() const {
    return *reinterpret_cast<BoardMemory*>(static_cast<std::byte*>(base_) + kBoardOffset);
  }
  unsigned char* bytes() const { return static_cast<unsigned char*>(base_) + kBoardOffset; }

 private:
  UniqueFd fd_;
  void* base_ = nullptr;
};

}  // namespace shmif::bus
