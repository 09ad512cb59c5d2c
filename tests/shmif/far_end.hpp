#pragma once
// The far end of a link, another of its kind, where the conformance suite feeds the link and hears
// what it sent.

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/support/frames.hpp"

namespace shmif::test {

template <Link L>
class FarEnd {
 public:
  explicit FarEnd(L link) : link_(std::move(link)) {}

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
  std::optional<L> link_;
};

}  // namespace shmif::test
