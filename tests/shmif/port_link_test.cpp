// The conformance suite over the bus port.

#include <optional>

#include "shmif/port.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// Two ports of one bus: one is under test, the suite feeds and listens at the other.
template <std::uint32_t Mtu, std::uint64_t RingBytes>
class PortRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  PortRig() {
    const std::string path = directory_.file("bus");
    Bus::create(path, {.ring_bytes = RingBytes, .mtu = Mtu}).value();
    for (Port* port : {&near_, &far_}) {
      port->attach(path).value();
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
  TempDir directory_;
  Port near_, far_;
};

/// A port behind AnyLink, as the bridge has it.
class AnyPortRig : public PortRig<1500, 4U << 20U> {
 public:
  AnyPortRig() : any_(std::make_unique<Port>(std::move(PortRig::link()))) {}
  AnyLink& link() { return any_; }
  std::size_t largest() { return any_.max_frame_bytes(); }

 private:
  AnyLink any_;
};

using PortRigs = testing::Types<PortRig<1500, 4U << 20U>, PortRig<1500, 64U << 10U>,
                                PortRig<65521, 4U << 20U>, AnyPortRig>;
INSTANTIATE_TYPED_TEST_SUITE_P(Port, LinkConformance, PortRigs);

}  // namespace
}  // namespace shmif::test
