// What TcpWatch counts of a TCP connection. The test sets the state of the connection.

#include "perf/run/tcp_watch.hpp"

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

  SendResult send(std::span<const FrameView>) noexcept override { return {}; }
  ReceiveResult receive(FrameBatch&) noexcept override { return {}; }
  void wait(std::chrono::nanoseconds) noexcept override {}
  void wait_to_send(std::chrono::nanoseconds) noexcept override {}
  std::size_t max_frame_bytes() noexcept override { return kMaxFrameBytes; }
  MacAddress mac() const noexcept override { return {}; }
  std::string address() override { return "told"; }
  std::optional<TcpState> tcp() noexcept override { return state; }
};

TEST(TcpWatch, AnIntervalHasTheRetransmitsSinceTheOneBeforeAndTheWindowItsOwn) {
  ConnectedEnd end;
  const auto job = std::make_unique<JobBlock>();
  TcpWatch watch(end, *job);
  const auto retransmits_of_interval = [&](std::uint64_t so_far) {
    IntervalBlock interval;
    end.state.retransmits = so_far;
    watch.close(interval);
    return interval.tcp_retransmits.get();
  };
  EXPECT_EQ(retransmits_of_interval(2), 2U);
  watch.begin_window();
  EXPECT_EQ(retransmits_of_interval(5), 3U);
  EXPECT_EQ(retransmits_of_interval(5), 0U);
  end.state.retransmits = 6;
  watch.end_window();
  EXPECT_EQ(retransmits_of_interval(9), 4U);
  EXPECT_EQ(job->tcp.retransmits.get(), 4U);
}

}  // namespace
}  // namespace shmif::perf
