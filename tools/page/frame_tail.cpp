#include "tools/page/frame_tail.hpp"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "tools/common/json.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kTailBatchFrames = 256;
constexpr std::size_t kTailBatchBytes = 1U << 20U;
/// A bus that is written faster than it is read must not hold up the answer.
constexpr std::chrono::milliseconds kTailTime{150};
/// If nobody asked for this long, nobody watches. The next who does sees what is in the ring.
constexpr std::chrono::seconds kForgotten{10};
/// A frame's line: a hostile one is not longer, because it has headers only.
constexpr std::size_t kMaxLine = 1000;

}  // namespace

FrameTail::FrameTail(std::string path) : path_(std::move(path)) {}

void FrameTail::open(Start start) {
  follower_.emplace(Follower::open(path_, start, Resume::newest).value());
  names_.emplace(path_);
  lines_.clear();
  last_.reset();
}

void FrameTail::read() {
  const auto end = Clock::now() + kTailTime;
  FrameBatch batch(kTailBatchFrames, kTailBatchBytes);
  struct Copy {
    std::vector<std::byte> bytes;
    FrameView view;
  };
  std::deque<Copy> last;
  bool behind = false;
  for (;;) {
    batch.clear();
    const ReceiveResult received = follower_->receive(batch);
    lost_ += received.lost;
    if (!batch.empty()) last_ = batch.frames().back().number;
    const std::size_t skip = batch.size() > kKept ? batch.size() - kKept : 0;
    for (const FrameView& frame : batch.frames().subspan(skip)) {
      last.push_back({{frame.bytes.begin(), frame.bytes.end()}, frame});
      if (last.size() > kKept) last.pop_front();
    }
    if (received.error || (batch.empty() && received.lost == 0)) break;
    if (Clock::now() >= end) {
      behind = true;
      break;
    }
  }
  for (Copy& copy : last) {
    copy.view.bytes = copy.bytes;
    std::string line =
        packets().decode(copy.view, {.sender = names_->of(copy.view).name}).substr(0, kMaxLine);
    while (line.ends_with('\n')) line.pop_back();
    lines_.push_back({copy.view.number, std::move(line)});
    if (lines_.size() > kKept) lines_.pop_front();
  }
  // What is in the ring now is not worth reading any more.
  if (behind) follower_.emplace(Follower::open(path_, Start::now, Resume::newest).value());
}

std::string FrameTail::lines_after(std::optional<std::uint64_t> after) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  // Another bus may have the same name by now.
  const BusInfo info = Bus::open(path_).value().info();
  const std::pair file(info.device, info.inode);
  if (!follower_ || now - asked_ > kForgotten || file_ != file) open(Start::oldest);
  file_ = file;
  asked_ = now;
  read();
  const std::uint64_t begin = after && last_ && *after <= *last_ ? *after + 1 : 0;
  Json lines = Json::array();
  for (const Line& line : lines_) {
    if (line.number >= begin) lines.push_back({{"number", line.number}, {"text", line.text}});
  }
  return json_line(
      {{"last", last_ ? Json(*last_) : Json(nullptr)}, {"lost_frames", lost_}, {"lines", lines}});
}

}  // namespace shmif::tools
