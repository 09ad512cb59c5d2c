// A device whose line others change while it runs, as `shmifctl link BUS device --down` does. The
// program owns the port, so it makes the changes; a ChangeDesk tells it what is asked. Exit status
// 0: the device counted the frames that came while its link was up, and no others.

#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <shmif/control/change.hpp>
#include <shmif/control/change_desk.hpp>
#include <shmif/control/change_text.hpp>
#include <shmif/port.hpp>

/// A device that counts frames while its link is up.
class Device {
 public:
  explicit Device(const std::string& path) : port_({.name = "device"}) {
    port_.attach(path).value();
    if (port_.up()) std::puts("the port does not come up");
    desk_.emplace(shmif::ChangeDesk::open(port_).value());
  }

  /// Runs until somebody asks for "heal", which this device takes for the end.
  void run() {
    while (!ended_) {
      const shmif::WaitHint hint = port_.prepare_wait();
      std::array<pollfd, 2> entries{
          {{port_.descriptor(), POLLIN, 0}, {desk_->descriptor(), POLLIN, 0}}};
      if (!hint.ready) poll(entries.data(), entries.size(), 100);
      port_.finish_wait();
      receive();
      while (const auto request = desk_->take()) {
        receive();  // these frames were sent before the change
        answer(*request);
      }
    }
  }
  unsigned counted() const { return counted_; }

 private:
  void receive() {
    shmif::FrameBatch batch;
    while (port_.receive(batch).frames > 0) {
      if (!is_down_) counted_ += static_cast<unsigned>(batch.size());
      batch.clear();
    }
  }

  void answer(const shmif::ChangeRequest& request) {
    const auto change = shmif::parse_change(request.text);
    if (!change) return desk_->refuse(request, change.error().message);
    switch (change->kind) {
      case shmif::Change::Kind::link:
        is_down_ = !change->up;
        desk_->show(is_down_ ? "link down" : "", false);  // for `shmifctl stat`
        return desk_->accept(request, request.text, is_down_ ? "the link is down" : "it is up");
      case shmif::Change::Kind::heal:
        ended_ = true;
        return desk_->accept(request, {}, "the device ends");
      default: return desk_->refuse(request, "this device knows only link down and link up");
    }
  }

  shmif::Port port_;
  std::optional<shmif::ChangeDesk> desk_;
  bool is_down_ = false;
  bool ended_ = false;
  unsigned counted_ = 0;
};

int main() {
  const std::string path = "/dev/shm/changed_line." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();  // if this fails, value() throws, with a message
  Device device(path);
  shmif::Port rig({.name = "rig"});
  rig.attach(path).value();
  if (rig.up()) return 1;
  std::jthread running([&] { device.run(); });

  // A broadcast of EtherType 0x88B5 (IEEE 802: local experiments).
  std::vector<std::byte> bytes(60);
  std::memset(bytes.data(), 0xff, 6);
  bytes[12] = std::byte{0x88};
  bytes[13] = std::byte{0xb5};
  const auto send = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      if (rig.send(shmif::FrameView(bytes)).taken != 1) std::puts("the bus refused a frame");
    }
  };
  const auto change = [&](const std::string& what) {
    const auto said = shmif::request_change(path, "device", what, std::chrono::seconds(20));
    std::printf("%s: %s\n", what.c_str(), said ? said->c_str() : said.error().message.c_str());
    return said.has_value();
  };
  bool fine = true;
  send(3);
  fine &= change("link down");
  send(5);
  fine &= change("link up");
  send(2);
  fine &= !change("fault loss=5%");
  const auto log = shmif::changes(shmif::Bus::open(path).value());
  for (const shmif::BusChange& each : log)
    std::printf("before frame %llu: %s\n", static_cast<unsigned long long>(each.before_frame),
                each.text.c_str());
  fine &= log.size() == 2 && log[0].before_frame == 3 && log[1].before_frame == 8;
  fine &= change("heal");
  running.join();
  unlink(path.c_str());
  std::printf("%u frames counted\n", device.counted());
  return fine && device.counted() == 5 ? 0 : 1;
}
