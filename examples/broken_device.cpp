// What does a rig notice when its device breaks? A device answers on a thread, and fails at one of
// the frames that the rig sends. Its thread ends. The rig learns why, and starts the device again.
// Another thread watches the progress for as long as the device runs. Exit status 0: the device
// broke once, and every question was answered in the end.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <shmif/log.hpp>
#include <shmif/receiver.hpp>

using namespace std::chrono_literals;
using shmif::FrameView;

constexpr unsigned kQuestions = 20, kBad = 13;

/// A device that answers each frame, but fails the first time that it gets the bad one.
class Device {
 public:
  explicit Device(const std::string& path) : port_({.name = "device"}) {
    port_.attach(path).value();  // if this fails, value() throws, with a message
    if (const std::error_code error = port_.up()) throw std::system_error(error);
  }
  /// Answers on a thread, until the result is stopped or destroyed.
  std::unique_ptr<shmif::Receiver> run() {
    return std::make_unique<shmif::Receiver>(port_, [this](std::span<const FrameView> frames) {
      for (const FrameView& frame : frames) answer(frame);
    });
  }
  shmif::MacAddress mac() const { return port_.mac(); }
  unsigned answers() const { return answers_; }

 private:
  void answer(const FrameView& frame) {
    if (frame.bytes[14] == std::byte{kBad} && !broke_) {
      broke_ = true;
      throw std::runtime_error("no answer to question " + std::to_string(kBad));
    }
    std::vector<std::byte> answer(frame.bytes.begin(), frame.bytes.end());
    std::memcpy(&answer[0], frame.source().bytes.data(), 6);
    std::memcpy(&answer[6], mac().bytes.data(), 6);
    if (port_.send(FrameView(answer)).taken == 1) ++answers_;
  }

  shmif::Port port_;
  bool broke_ = false;  // used by one thread at a time
  std::atomic<unsigned> answers_{0};
};

/// Sends the question, and waits for the answer. Result: true if the answer came; false if the
/// device ended by itself before that.
bool ask(shmif::Port& rig, const Device& device, const shmif::Receiver& running, unsigned number) {
  std::vector<std::byte> question(60);
  std::memcpy(&question[0], device.mac().bytes.data(), 6);
  std::memcpy(&question[6], rig.mac().bytes.data(), 6);
  question[12] = std::byte{0x88};  // EtherType 0x88B5 (IEEE 802: local experiments)
  question[13] = std::byte{0xb5};
  question[14] = static_cast<std::byte>(number);
  if (rig.send(FrameView(question)).taken != 1) return false;
  shmif::FrameBatch arrived;
  for (;;) {
    const bool ended = !running.running();  // read before the last look for an answer
    if (rig.receive(arrived).frames == 1) return arrived[0].bytes[14] == question[14];
    if (ended) return false;
    rig.wait(100ms);
  }
}

int main() {
  if (!shmif::set_log_level("off")) return 1;  // otherwise the library logs what the callback threw
  const std::string path = "/dev/shm/broken_device." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();
  Device device(path);
  shmif::Port rig({.name = "rig"});
  rig.attach(path).value();
  if (rig.up()) return 1;
  unlink(path.c_str());  // attached ports keep the bus; no file is left behind

  unsigned answered = 0, broke = 0;
  auto running = device.run();
  for (unsigned number = 0; number < kQuestions; ++number) {
    if (ask(rig, device, *running, number)) {
      ++answered;
      continue;
    }
    if (running->error() != shmif::Errc::link_ended) break;  // then the bus failed, not the device
    std::printf("question %u: the device has ended (%s), after %llu receives that failed\n", number,
                running->error().message().c_str(),
                static_cast<unsigned long long>(running->failed_receives()));
    ++broke;
    running = device.run();
    --number;  // asks the same question once more
  }

  // All that belongs to the device ends with it, so this thread uses only the device's token.
  std::thread progress([token = running->stop_token(), &device] {
    while (!token.stop_requested()) std::this_thread::sleep_for(1ms);
    std::printf("stopped after %u answers\n", device.answers());
  });
  running->stop();
  progress.join();
  const bool clean = !running->running() && !running->error();  // it ended because it was told to
  std::printf("%u questions, %u answered, the device broke %u time\n", kQuestions, answered, broke);
  return answered == kQuestions && broke == 1 && clean ? 0 : 1;
}
