#pragma once
// The far end of a link, another of its kind, where the conformance suite feeds the link and hears
// what it sent.

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {

template <Link L>
void feed_all(L& link, const std::vector<Bytes>& frames) {
  const SendResult r = link.send(views(frames));
  if (r.error || r.taken != frames.size()) throw std::runtime_error("cannot feed the link");
}

template <Link L>
std::vector<Bytes> hear_all(L& link, FrameBatch batch) {
  std::vector<Bytes> out;
  while (link.receive(batch).frames > 0) {
    for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
    batch.clear();
  }
  return out;
}

template <Link L>
class FarEnd {
 public:
  explicit FarEnd(L link) : link_(std::move(link)) {}

  void feed(const std::vector<Bytes>& frames) { feed_all(*link_, frames); }
  std::vector<Bytes> heard() { return hear_all(*link_, FrameBatch()); }
  void end() { link_.reset(); }

 private:
  std::optional<L> link_;
};

/// Two ports of a bus: one is the link, the other feeds and hears it. `File` makes the bus, and has
/// its path().
template <class File>
class TwoPorts {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  TwoPorts() {
    for (Port* port : {&near_, &far_}) {
      port->attach(file_.path()).value();
      if (port->up()) throw std::runtime_error("a port does not go up");
    }
  }
  Port& link() { return near_; }
  std::size_t largest() { return near_.max_frame_bytes(); }
  void feed(const std::vector<Bytes>& frames) { feed_all(far_, frames); }
  std::vector<Bytes> heard() { return hear_all(far_, FrameBatch(64, 8U << 20U)); }
  void end() {}

 private:
  File file_;
  Port near_, far_;
};

}  // namespace shmif::test
