#pragma once
// Window: the requests without a reply, at most `iodepth` of them.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <unordered_set>

namespace shmif::perf {

/// A request without a reply is given up after a while; otherwise lost requests would fill the
/// window for good. Threads: one at a time. Blocks: never.
class Window {
 public:
  /// At most `depth` requests are open. A full window opens again when only `low` are open (0:
  /// depth - 1), and when at least `replies` replies have come.
  Window(std::uint32_t depth, std::uint32_t low, std::uint32_t replies, std::uint64_t patience_ns)
      : depth_(depth == 0 ? 1 : depth),
        low_(std::min(low == 0 || low >= depth_ ? depth_ - 1 : low,
                      depth_ - std::clamp<std::uint64_t>(replies, 1, depth_))),
        patience_ns_(patience_ns) {}

  /// How many requests may be sent now.
  std::uint32_t room() noexcept {
    if (closed_ && open_ <= low_) closed_ = false;
    return closed_ || open_ >= depth_ ? 0 : static_cast<std::uint32_t>(depth_ - open_);
  }
  /// The request with this number was sent; the number is one more than the last one's.
  void sent(std::uint64_t number, std::uint64_t now_ns) {
    if (requests_.empty()) first_ = number;
    requests_.push_back({.sent_ns = now_ns});
    if (++open_ >= depth_) closed_ = true;
  }

  /// Whether a request waits for its reply.
  bool any_open() const noexcept { return open_ != 0; }

  enum class Reply : std::uint8_t { first, again, too_late };
  Reply replied(std::uint64_t number) {
    if (number < first_ || number - first_ >= requests_.size()) {
      return given_up_.erase(number) != 0 ? Reply::too_late : Reply::again;
    }
    Request& request = requests_[number - first_];
    if (request.answered) return Reply::again;
    request.answered = true;
    --open_;
    return Reply::first;
  }

  /// Gives up requests that have waited too long. Result: when to look again; UINT64_MAX: no
  /// request waits.
  std::uint64_t expire(std::uint64_t now_ns) {
    for (; !requests_.empty(); requests_.pop_front(), ++first_) {
      const Request& first = requests_.front();
      if (first.answered) continue;
      if (now_ns < first.sent_ns + patience_ns_) return first.sent_ns + patience_ns_;
      given_up_.insert(first_);
      --open_;
    }
    return UINT64_MAX;
  }

 private:
  struct Request {
    std::uint64_t sent_ns = 0;
    bool answered = false;
  };
  std::uint64_t depth_, low_, patience_ns_;
  bool closed_ = false;
  std::deque<Request> requests_;  // from the oldest unanswered one, number `first_`
  std::uint64_t first_ = 0;
  std::uint64_t open_ = 0;  // how many of these have no reply
  std::unordered_set<std::uint64_t> given_up_;
};

}  // namespace shmif::perf
