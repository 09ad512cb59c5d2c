#pragma once
// Window: the requests that have no reply yet, at most `iodepth` of them.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <unordered_set>

namespace shmif::perf {

/// A request without a reply is given up after a while, or the first lost one would close the
/// window for good. Threads: one at a time. Blocks: never.
class Window {
 public:
  /// At most `depth` open; once full, it opens again at `low` (depth - 1 when 0), and not before
  /// so many `replies` have come.
  Window(std::uint32_t depth, std::uint32_t low, std::uint32_t replies, std::uint64_t patience_ns)
      : depth_(depth == 0 ? 1 : depth),
        low_(std::min(low == 0 || low >= depth_ ? depth_ - 1 : low,
                      depth_ - std::clamp<std::uint64_t>(replies, 1, depth_))),
        patience_ns_(patience_ns) {}

  /// How many may be sent now.
  std::uint32_t room() noexcept {
    const std::uint64_t open = waiting_.size();
    if (closed_ && open <= low_) closed_ = false;
    return closed_ || open >= depth_ ? 0 : static_cast<std::uint32_t>(depth_ - open);
  }
  void sent(std::uint64_t number, std::uint64_t now_ns) {
    waiting_.insert(number);
    order_.push_back({number, now_ns});
    if (waiting_.size() >= depth_) closed_ = true;
  }

  enum class Reply : std::uint8_t { first, again, too_late };
  Reply replied(std::uint64_t number) {
    if (waiting_.erase(number) != 0) return Reply::first;
    return given_up_.erase(number) != 0 ? Reply::too_late : Reply::again;
  }

  /// Gives up what has waited too long. Result: when to look again; UINT64_MAX: nothing waits.
  std::uint64_t expire(std::uint64_t now_ns) {
    while (!order_.empty()) {
      const Request& first = order_.front();
      if (!waiting_.contains(first.number)) {
        order_.pop_front();
        continue;
      }
      if (now_ns < first.sent_ns + patience_ns_) return first.sent_ns + patience_ns_;
      waiting_.erase(first.number);
      given_up_.insert(first.number);
      order_.pop_front();
    }
    return UINT64_MAX;
  }

  /// Those without a reply, given up or not yet.
  std::uint64_t unanswered() const noexcept { return waiting_.size() + given_up_.size(); }

 private:
  struct Request {
    std::uint64_t number;
    std::uint64_t sent_ns;
  };
  std::uint64_t depth_, low_, patience_ns_;
  bool closed_ = false;
  std::unordered_set<std::uint64_t> waiting_, given_up_;
  std::deque<Request> order_;
};

}  // namespace shmif::perf
