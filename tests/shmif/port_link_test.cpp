// The conformance suite over the bus port.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/shmif/two_ports.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

template <std::uint32_t Mtu, std::uint64_t RingBytes>
class SizedBus {
 public:
  SizedBus() { Bus::create(path(), {.ring_bytes = RingBytes, .mtu = Mtu}).value(); }
  std::string path() const { return directory_.file("bus"); }

 private:
  TempDir directory_;
};

template <std::uint32_t Mtu, std::uint64_t RingBytes>
using PortRig = TwoPorts<SizedBus<Mtu, RingBytes>>;

/// A port behind AnyLink, as the bridge has it.
class AnyPortRig : public PortRig<1500, 4U << 20U> {
 public:
  AnyPortRig() : any_(std::make_unique<Port>(std::move(TwoPorts::link()))) {}
  AnyLink& link() { return any_; }
  std::size_t largest() { return any_.max_frame_bytes(); }

 private:
  AnyLink any_;
};

using PortRigs = testing::Types<PortRig<1500, 4U << 20U>, PortRig<1500, 64U << 10U>,
                                PortRig<65521, 4U << 20U>, AnyPortRig>;
INSTANTIATE_TYPED_TEST_SUITE_P(Port, LinkConformance, PortRigs);

TEST(AnyLink, OfAPortTellsItsPatienceAndWhatItCarriesAndNeverWaits) {
  constexpr std::chrono::seconds kPatience{1};
  const TempDir directory;
  const std::string small = directory.file("small");
  Bus::create(small, {.ring_bytes = 64U << 10U, .flow = Flow::pause, .patience = kPatience})
      .value();
  const std::string large = directory.file("large");
  Bus::create(large, {}).value();
  const auto linked_to = [](const std::string& path) {
    auto port = std::make_unique<Port>();
    port->attach(path).value();
    EXPECT_FALSE(port->up());
    return AnyLink(std::move(port));
  };
  AnyLink ethernet = linked_to(large);
  EXPECT_EQ(ethernet.patience(), std::chrono::nanoseconds(0));
  EXPECT_TRUE(ethernet.takes_offloads());
  AnyLink pausing = linked_to(small);
  EXPECT_EQ(pausing.patience(), kPatience);
  EXPECT_FALSE(pausing.takes_offloads());
  const AnyLink reads_nothing = linked_to(small);
  const std::vector<Bytes> frames{make_frame(1000, 1)};
  std::size_t sent = 0;
  SendResult last;
  while (sent < 200 && (last = pausing.send(views(frames))).taken == 1) ++sent;
  EXPECT_FALSE(last.error);
  EXPECT_LT(sent, 64U) << "it waited until it lost patience, and a bridge with it";
}

}  // namespace
}  // namespace shmif::test
