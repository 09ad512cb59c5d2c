#pragma once
// Two ports of a bus for the conformance tests: one is the link, the other feeds and hears it.

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/shmif/link_conformance.hpp"

namespace shmif::test {

/// `File` makes a bus, and has its path().
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
  void feed(const std::vector<Bytes>& frames) {
    const SendResult r = far_.send(views(frames));
    if (r.error || r.taken != frames.size()) throw std::runtime_error("cannot feed the link");
  }
  std::vector<Bytes> heard() {
    std::vector<Bytes> out;
    FrameBatch batch(64, 8U << 20U);
    while (far_.receive(batch).frames > 0) {
      for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
      batch.clear();
    }
    return out;
  }
  void end() {}

 private:
  File file_;
  Port near_, far_;
};

}  // namespace shmif::test
