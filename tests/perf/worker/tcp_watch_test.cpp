// What TcpWatch counts of a TCP connection. The test sets the state of the connection.

#include "perf/worker/interval_recorder.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace shmif::perf {
namespace {

/// An end whose connection has the state that the test sets.
class ConnectedEnd : public End {
 public:
  TcpState state;
  bool says = true;

  SendResult send(std::span<const FrameView>) noexcept override { return {}; }
  ReceiveResult receive(FrameBatch&) noexcept override { return {}; }
  void wait(std::chrono::nanoseconds) noexcept override {}
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return kMaxFrameBytes; }
  MacAddress mac() const noexcept override { return {}; }
  std::string address() override { return "told"; }
  std::optional<TcpState> tcp() noexcept override {
    return says ? std::optional(state) : std::nullopt;
  }
};

TEST(TcpWatch, AnIntervalHasTheRetransmitsSinceTheOneBeforeAndTheWindowItsOwn) {
  ConnectedEnd end;
  const auto job = std::make_unique<JobBlock>();
  TcpWatch watch(end, *job);
  const auto retransmits_of_interval = [&](std::uint64_t so_far) {
    end.state.retransmits = so_far;
    return watch.close().value().retransmits;
  };
  EXPECT_EQ(retransmits_of_interval(2), 2U);
  watch.begin_window();
  EXPECT_EQ(retransmits_of_interval(5), 3U);
  EXPECT_EQ(retransmits_of_interval(5), 0U);
  end.state.retransmits = 6;
  watch.end_window();
  EXPECT_EQ(retransmits_of_interval(9), 4U);
  EXPECT_EQ(job->tcp.get().retransmits, 4U);
}

TEST(TcpWatch, TheWindowHasTheLeastTheMeanAndTheGreatestOfItsSamplesAlone) {
  ConnectedEnd end;
  const auto job = std::make_unique<JobBlock>();
  TcpWatch watch(end, *job);
  const auto sample = [&](std::uint64_t rtt_ns, std::uint64_t cwnd_bytes) {
    end.state.rtt_ns = rtt_ns;
    end.state.cwnd_bytes = cwnd_bytes;
    (void)watch.close();
  };
  sample(1, 9999);  // in the ramp
  watch.begin_window();
  sample(300, 50);
  sample(500, 70);
  end.state.rtt_ns = 400;
  end.state.cwnd_bytes = 60;
  watch.end_window();
  sample(2, 8888);  // after it
  const TcpResult window = job->tcp.get();
  EXPECT_EQ(window.samples, 3U);
  EXPECT_EQ(window.rtt_ns_min, 300U);
  EXPECT_EQ(window.rtt_ns_max, 500U);
  EXPECT_EQ(window.rtt_ns_mean, 400U);
  EXPECT_EQ(window.cwnd_bytes_max, 70U);
}

}  // namespace
}  // namespace shmif::perf
