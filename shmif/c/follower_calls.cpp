// The calls of the C facade that read a bus without a port on it.

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "shmif/c/facade.hpp"
#include "shmif/c/frames.hpp"
#include "shmif/port.hpp"
#include "shmif/shmif.h"

using namespace shmif::c;

/// A follower, and the frames that were fetched but not yet asked for.
struct shmif_follower {
  explicit shmif_follower(shmif::Follower opened, std::string named)
      : follower(std::move(opened)), path(std::move(named)) {}

  bool holds_frames() const noexcept { return next < batch.size(); }

  shmif::Follower follower;
  std::string path;
  shmif::FrameBatch batch;
  std::size_t next = 0;    ///< the first frame of `batch` that the program has not asked for
  std::uint64_t lost = 0;  ///< not yet reported
};

int shmif_follow(const char* path, uint32_t flags, shmif_follower** follower) {
  return guarded([=] {
    if (follower == nullptr) return bad_argument("shmif_follow: follower is NULL");
    *follower = nullptr;
    if (path == nullptr) return bad_argument("shmif_follow: path is NULL");
    if ((flags & ~(uint32_t{SHMIF_START_OLDEST} | SHMIF_RESUME_NEWEST)) != 0) {
      return bad_argument(
          "shmif_follow: flags may have SHMIF_START_OLDEST and SHMIF_RESUME_NEWEST only");
    }
    const bool oldest = (flags & SHMIF_START_OLDEST) != 0;
    const bool newest = (flags & SHMIF_RESUME_NEWEST) != 0;
    auto opened = shmif::Follower::open(path, oldest ? shmif::Start::oldest : shmif::Start::now,
                                        newest ? shmif::Resume::newest : shmif::Resume::first);
    if (!opened) return fail(opened.error());
    *follower = std::make_unique<shmif_follower>(*std::move(opened), path).release();
    return 0;
  });
}

void shmif_unfollow(shmif_follower* follower) {
  delete follower;
}

int shmif_follower_receive(shmif_follower* follower, void* buffer, size_t room,
                           shmif_frame_info* info) {
  return guarded([=] {
    if (room == 0 || !has_size(info))
      return bad_argument("shmif_follower_receive: room or info->size is 0");
    if (!follower->holds_frames()) {
      follower->batch.clear();
      follower->next = 0;
      const shmif::ReceiveResult result = follower->follower.receive(follower->batch);
      follower->lost += result.lost;
      // Frames go first. An error that lasts appears again after they have been taken.
      if (result.error && follower->batch.empty()) {
        tell_no_frame(follower->lost, info);
        return fail(result.error,
                    "cannot receive from " + follower->path + ": " + result.error.message());
      }
    }
    if (!follower->holds_frames()) {
      tell_no_frame(follower->lost, info);
      return 0;
    }
    const shmif::FrameView& frame = follower->batch[follower->next++];
    const std::size_t copied = copy_to({buffer, room}, frame);
    tell(frame, copied, follower->lost, info);
    return static_cast<int>(copied);
  });
}

int shmif_follower_wait(shmif_follower* follower, int timeout_ms) {
  return guarded([=] {
    if (follower->holds_frames()) return 1;
    return follower->follower.wait(to_timeout(timeout_ms)) ? 1 : 0;
  });
}

int shmif_follower_descriptor(shmif_follower* follower) {
  return guarded([=] {
    const int descriptor = follower->follower.descriptor();
    if (descriptor >= 0) return descriptor;
    const std::error_code reason(errno, std::generic_category());
    return fail(reason,
                "cannot make a timer to follow " + follower->path + ": " + reason.message());
  });
}

int shmif_follower_prepare_wait(shmif_follower* follower, int* at_most_ms) {
  const shmif::WaitHint hint = follower->follower.prepare_wait();
  const bool ready = hint.ready || follower->holds_frames();
  *at_most_ms = ready ? 0 : to_poll_timeout(hint.at_most);
  return ready ? 1 : 0;
}

void shmif_follower_finish_wait(shmif_follower* follower) {
  follower->follower.finish_wait();
}

size_t shmif_follower_max_frame_bytes(const shmif_follower* follower) {
  return follower->follower.max_frame_bytes();
}

int shmif_follower_get_counters(const shmif_follower* follower, shmif_counters* counters) {
  return guarded([=] {
    if (counters == nullptr || !has_size(counters)) {
      return bad_argument("shmif_follower_get_counters: counters is NULL, or counters->size is 0");
    }
    hand_out(to_c(follower->follower.counters()), counters);
    return 0;
  });
}
