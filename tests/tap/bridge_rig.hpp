#pragma once
// For tests of a bridge: one that runs, cables for it, and links whose calls the test answers.

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shmif/link.hpp"
#include "shmif/loopback_link.hpp"
#include "tap/bridge.hpp"
#include "tests/support/frames.hpp"

namespace shmif::tap::test {

/// What a link answers. Without an answer it brings nothing and takes all frames. The bridge asks
/// it again each millisecond, so that no other thread needs to wake the bridge.
struct Script {
  std::function<SendResult(std::span<const FrameView>)> send =
      [](std::span<const FrameView> frames) { return SendResult{frames.size(), {}}; };
  std::function<ReceiveResult(FrameBatch&)> receive = [](FrameBatch&) { return ReceiveResult{}; };
  std::string name = "script:";
  std::chrono::nanoseconds ask_again = std::chrono::milliseconds(1);
  std::chrono::nanoseconds patience{};
};

class ScriptedLink {
 public:
  explicit ScriptedLink(const Script& script) : script_(script) {}
  SendResult send(std::span<const FrameView> frames) noexcept { return script_.send(frames); }
  ReceiveResult receive(FrameBatch& into) noexcept { return script_.receive(into); }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept { return {.ready = false, .at_most = script_.ask_again}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return script_.name; }
  std::chrono::nanoseconds patience() noexcept { return script_.patience; }

 private:
  const Script& script_;
};
static_assert(Link<ScriptedLink>);

inline AnyLink scripted_link(const Script& script) {
  return AnyLink(std::make_unique<ScriptedLink>(script));
}

/// Receives `count` frames of 60 bytes.
inline ReceiveResult frames_into(FrameBatch& into, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) into.push(FrameView(into.room().data(), 60));
  ReceiveResult result;
  result.frames = count;
  return result;
}

/// A cable whose far end the test holds; the near end is for the bridge.
struct LoopbackCable {
  explicit LoopbackCable(const LoopbackOptions& options = {})
      : LoopbackCable(LoopbackLink::pair(options).value()) {}
  AnyLink near;
  LoopbackLink far;

 private:
  explicit LoopbackCable(std::pair<LoopbackLink, LoopbackLink> ends)
      : near(std::make_unique<LoopbackLink>(std::move(ends.first))), far(std::move(ends.second)) {}
};

/// Runs a bridge in a thread until it goes.
class Running {
 public:
  explicit Running(Bridge& bridge, int stop_descriptor = -1)
      : bridge_(bridge),
        thread_([this, stop_descriptor] { end_ = bridge_.run(stop_descriptor); }) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { stop(); }
  BridgeEnd stop() {
    if (thread_.joinable()) bridge_.stop();
    return wait();
  }
  BridgeEnd wait() {
    if (thread_.joinable()) thread_.join();
    return end_;
  }

 private:
  Bridge& bridge_;
  BridgeEnd end_;
  std::thread thread_;
};

inline void send_all(LoopbackLink& link, const std::vector<shmif::test::Bytes>& frames) {
  const auto out = shmif::test::views(frames);
  ASSERT_EQ(link.send(out).taken, out.size());
}

}  // namespace shmif::tap::test
