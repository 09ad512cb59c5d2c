#pragma once
// The far end of a loopback, where the conformance suite feeds a link and hears what it sent.

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "shmif/loopback_link.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {

class FarEnd {
 public:
  explicit FarEnd(LoopbackLink link) : link_(std::move(link)) {}

  void feed(const std::vector<Bytes>& frames) {
    const SendResult r = link_->send(views(frames));
    if (r.error || r.taken != frames.size()) throw std::runtime_error("cannot feed the link");
  }
  std::vector<Bytes> heard() {
    std::vector<Bytes> out;
    FrameBatch batch;
    while (link_->receive(batch).frames > 0) {
      for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
      batch.clear();
    }
    return out;
  }
  void end() { link_.reset(); }

 private:
  std::optional<LoopbackLink> link_;
};

}  // namespace shmif::test
