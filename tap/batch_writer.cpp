#include "tap/batch_writer.hpp"

#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bus/atomics.hpp"

namespace shmif::tap {

bool BatchWriter::open() noexcept {
  io_uring_params params{};
  fd_.reset(static_cast<int>(::syscall(SYS_io_uring_setup, kMaxFrames, &params)));  // close-on-exec
  if (!fd_ || (params.features & IORING_FEAT_SINGLE_MMAP) == 0) {
    close();
    return false;
  }
  const std::size_t size =
      std::max(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe),
               params.sq_off.array + params.sq_entries * sizeof(std::uint32_t));
  rings_ = base::RingMemory(fd_.get(), size, IORING_OFF_SQ_RING);
  entries_ = base::RingMemory(fd_.get(), params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  if (!rings_ || !entries_) {
    close();
    return false;
  }
  sq_tail_ = params.sq_off.tail;
  sq_array_ = params.sq_off.array;
  sq_mask_ = params.sq_entries - 1;
  cq_head_ = params.cq_off.head;
  cq_tail_ = params.cq_off.tail;
  cq_entries_ = params.cq_off.cqes;
  cq_mask_ = params.cq_entries - 1;
  return true;
}

void BatchWriter::close() noexcept {
  rings_ = base::RingMemory();
  entries_ = base::RingMemory();
  fd_.reset();
}

std::size_t BatchWriter::write(int fd, std::span<const std::span<const iovec>> frames,
                               std::span<std::int32_t> results) noexcept {
  if (!fd_) return 0;
  const auto count = static_cast<unsigned>(std::min<std::size_t>(frames.size(), kMaxFrames));
  auto& tail = rings_.at<std::uint32_t>(sq_tail_);
  const std::uint32_t begin = bus::load_relaxed(tail);
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t at = (begin + i) & sq_mask_;
    auto& entry = entries_.at<io_uring_sqe>(at * sizeof(io_uring_sqe));
    entry = {};
    entry.opcode = IORING_OP_WRITEV;
    entry.fd = fd;
    entry.addr = reinterpret_cast<std::uintptr_t>(frames[i].data());
    entry.len = static_cast<std::uint32_t>(frames[i].size());
    entry.off = static_cast<std::uint64_t>(-1);  // a device has no position
    entry.rw_flags = RWF_NOWAIT;                 // otherwise a write without room is deferred
    entry.user_data = i;
    rings_.at<std::uint32_t>(sq_array_ + at * sizeof(std::uint32_t)) = at;
  }
  bus::store_release(tail, begin + count);  // the kernel reads the entries after this
  long submitted = 0;
  do {
    submitted =
        ::syscall(SYS_io_uring_enter, fd_.get(), count, count, IORING_ENTER_GETEVENTS, nullptr, 0);
  } while (submitted < 0 && errno == EINTR);
  // No write waits, so all that were submitted are done.
  const std::size_t written = take_completions(results.first(count));
  const bool knows_nowait = written == 0 || results.front() != -EOPNOTSUPP;
  // Otherwise the next call would submit the rest, which points to buffers of this call.
  if (written < count || !knows_nowait) close();
  return knows_nowait ? written : 0;
}

/// Result: how many completions there were.
std::size_t BatchWriter::take_completions(std::span<std::int32_t> results) noexcept {
  auto& head = rings_.at<std::uint32_t>(cq_head_);
  const std::uint32_t begin = bus::load_relaxed(head);
  const std::uint32_t end = bus::load_acquire(rings_.at<std::uint32_t>(cq_tail_));
  for (std::uint32_t at = begin; at != end; ++at) {
    const auto& done =
        rings_.at<io_uring_cqe>(cq_entries_ + (at & cq_mask_) * sizeof(io_uring_cqe));
    results[done.user_data] = done.res;
  }
  bus::store_release(head, end);
  return end - begin;
}

}  // namespace shmif::tap
