#include <poll.h>

#include "shmif/bus.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::fuzz {
namespace {

constexpr std::uint64_t kMax = 2'000'000;
constexpr std::uint64_t kMaxWhilePausing = 40'000'000;

void send(Port& port, Input& in) {
  std::array<std::byte, 1522> payload{};
  for (std::size_t i = 0; i < 12; ++i) payload[i] = static_cast<std::byte>(in.byte());
  std::array<FrameView, 40> frames;
  const std::size_t count = in.below(frames.size()) + 1;
  const std::size_t size = in.below(payload.size() + 1);
  for (std::size_t i = 0; i < count; ++i) {
    frames[i] = FrameView(payload.data(), i % 2 == 0 || size % 4 == 0 ? size : 60);
  }
  if (port.takes_offloads()) {
    const std::uint64_t what = in.word(4);
    frames[0].offload = {.flags = Offload::kNeedsChecksum,
                         .csum_start = static_cast<std::uint16_t>(what),
                         .csum_offset = static_cast<std::uint16_t>(what >> 16U)};
  }
  const bool no_wait = (in.byte() & 1U) != 0 && port.patience().count() != 0;
  const auto batch = std::span(frames).first(count);
  const SendResult sent = no_wait ? port.try_send(batch) : port.send(batch);
  require(sent.taken <= count && (sent.taken == count || sent.error || no_wait),
          "frames forgotten");
}

void poll_once(Port& port) {
  const WaitHint hint = port.prepare_wait();
  if (!hint.ready) {
    pollfd entry{port.descriptor(), POLLIN, 0};
    poll(&entry, 1, 1);
  }
  port.finish_wait();
}

void send_super_frame(Port& port, Input& in) {
  const std::uint8_t shape_bits = in.byte();
  const test::Shape shape{
      .v6 = (shape_bits & 1U) != 0, .tcp = (shape_bits & 2U) != 0, .tags = shape_bits / 4U % 3U};
  auto frame = test::build(shape, in.word(2) % 60'000 + 1, shape_bits);
  if ((shape_bits & 128U) != 0) std::fill_n(frame.begin(), 6, std::byte{0xff});
  for (unsigned n = shape_bits >> 4U & 7U; n > 0; --n) {  // not quite right
    const std::size_t at = in.below(96);
    if (at < frame.size()) frame[at] = static_cast<std::byte>(in.byte());
  }
  FrameView view(frame.data(), frame.size());
  view.offload = test::header_for(shape, static_cast<std::uint16_t>(in.word(2) % 1500));
  static_cast<void>(port.try_send({&view, 1}));
}

void receive(auto& from, FrameBatch& batch) {
  batch.clear();
  const ReceiveResult got = from.receive(batch);
  require(got.frames == batch.size(), "frames received are not the frames counted");
}

}  // namespace

void port(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const bool pauses = options >> 6U == 3;
  BusImage& image = pauses ? BusImage::get_offloads() : BusImage::get();
  image.reset();
  const std::uint8_t more_options = pauses ? in.byte() : std::uint8_t{0};
  for (unsigned n = options >> 6U; n > 0; --n) image.scribble(in);
  Port port({.name = (options & 1U) != 0 ? "dead" : "",
             .start = (options & 2U) != 0 ? Start::oldest : Start::now,
             .resume = (options & 4U) != 0 ? Resume::newest : Resume::first,
             .promiscuous = (options & 16U) != 0,
             .learn = (options & 8U) != 0,
             .take_offloads = (more_options & 1U) != 0});
  if ((options & 32U) != 0) image.ambush(in);
  std::optional<Follower> follower;
  FrameBatch wide;
  FrameBatch narrow(3, 2000);
  FrameBatch& batch = (more_options & 2U) != 0 ? narrow : wide;
  static_cast<void>(port.attach(image.path()));
  static_cast<void>(port.up());
  while (!in.empty()) {
    const AccessLimit limit(pauses ? kMaxWhilePausing : kMax);
    switch (in.byte() % 16) {
      case 0: static_cast<void>(port.up()); break;
      case 1: static_cast<void>(port.down()); break;
      case 2:
      case 3: send(port, in); break;
      case 4: receive(port, batch); break;
      case 5: receive(port, narrow); break;  // which stops inside of shared records
      case 6: port.wait(std::chrono::milliseconds(in.byte() * 20)); break;
      case 7: poll_once(port); break;
      case 8: static_cast<void>(port.set_mac(MacAddress::from_u64(in.word(6)))); break;
      case 9: static_cast<void>(port.set_promiscuous((in.byte() & 1U) != 0)); break;
      case 10:
        static_cast<void>(port.down());
        static_cast<void>(port.detach());
        static_cast<void>(port.attach(image.path()));
        break;
      case 11:
        static_cast<void>(port.link());
        batch.clear();
        require(port.receive_in_place(batch).frames == batch.size(), "lent and not shown");
        if ((in.byte() & 1U) != 0) image.scribble(in);
        if ((in.byte() & 1U) != 0) require(port.release() <= batch.size(), "torn and not shown");
        break;
      case 12:
        if (auto f = Follower::open(image.path(), Start::oldest)) follower.emplace(*std::move(f));
        break;
      case 14:
        if (pauses) {
          send_super_frame(port, in);
          break;
        }
        [[fallthrough]];
      case 13:
        if (follower) receive(*follower, batch);
        if (follower) follower->wait(std::chrono::milliseconds(3));
        break;
      default: image.scribble(in); break;
    }
  }
}

}  // namespace shmif::fuzz
