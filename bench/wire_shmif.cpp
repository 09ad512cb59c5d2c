// The wire of shmif itself, which the others are compared with.

#include <algorithm>
#include <array>
#include <cstring>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"
#include "shmif/port.hpp"

namespace shmif::bench {

namespace {

Port attached(const std::string& path, const PortOptions& options) {
  Port port(options);
  port.attach(path).value();
  if (const std::error_code error = port.up()) give_up(error.message());
  return port;
}

/// The longest first: the other frames are its beginning.
constexpr std::array<std::size_t, 12> kImix{1514, 60, 590, 60, 60, 590, 60, 590, 60, 60, 590, 60};

class ShmifSender final : public Sender {
 public:
  ShmifSender(const std::string& path, const Work& work)
      : port_(attached(path, {})),
        bytes_(make_frame(work.imix ? kImix.front() : work.frame_bytes)),
        frames_(work.batch, FrameView(bytes_)) {
    for (std::size_t i = 0; work.imix && i < frames_.size(); ++i) {
      frames_[i].bytes = frames_[i].bytes.first(kImix[i % kImix.size()]);
    }
  }
  std::size_t send() override {
    const SendResult sent = port_.send(frames_);
    if (sent.error) give_up(sent.error.message());
    return sent.taken;
  }

 private:
  Port port_;
  std::vector<std::byte> bytes_;
  std::vector<FrameView> frames_;
};

class ShmifListener final : public Listener {
 public:
  ShmifListener(const std::string& path, const Work& work)
      : port_(attached(path, {.promiscuous = true})),
        sleeps_(work.sleep),
        in_place_(work.in_place),
        looks_(work.look) {}
  Heard hear() override {
    batch_.clear();
    const ReceiveResult got = in_place_ ? port_.receive_in_place(batch_) : port_.receive(batch_);
    if (got.error) give_up(got.error.message());
    if (got.frames == 0 && sleeps_) port_.wait(std::chrono::milliseconds(50));
    if (in_place_ && looks_) {
      for (const FrameView& frame : batch_.frames()) look_at(frame.bytes);
    }
    return {got.frames - (in_place_ ? port_.release() : 0), got.lost};
  }

 private:
  Port port_;
  FrameBatch batch_{256, 1U << 20U};
  bool sleeps_;
  bool in_place_;
  bool looks_;
};

/// Its own bus, or the bus that `place` names.
class ShmifWire final : public Wire {
 public:
  explicit ShmifWire(const Work& work) : work_(work) {
    if (!work.place.empty()) return;
    BusOptions options;
    options.flow = work.pause ? Flow::pause : Flow::ethernet;
    if (work.ring_bytes != 0) options.ring_bytes = work.ring_bytes;
    options.mtu =
        std::max(options.mtu, static_cast<std::uint32_t>(work.frame_bytes - kEthernetHeaderBytes));
    Bus::create(own_.path(), options).value();
  }
  std::unique_ptr<Listener> listener(unsigned) override {
    return std::make_unique<ShmifListener>(path(), work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    return std::make_unique<ShmifSender>(path(), work_);
  }

 private:
  const std::string& path() const noexcept {
    return work_.place.empty() ? own_.path() : work_.place;
  }
  OwnFile own_{"bus"};
  Work work_;
};

}  // namespace

std::unique_ptr<Wire> make_shmif_wire(const Work& work) {
  return std::make_unique<ShmifWire>(work);
}

}  // namespace shmif::bench
