// Changes asked for through the C facade, and made by the owner of a port.

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "shmif/control/change_desk.hpp"
#include "shmif/shmif.h"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr int kLongMs = 20000;

/// Makes every change except a move, in a thread of its own.
class WillingPort {
 public:
  WillingPort(const std::string& path, const std::string& name)
      : port_(port_on(path, {.name = name})), desk_(ChangeDesk::open(port_).value()) {
    desk_.show_counts({.dropped_in = 11, .dropped_out = 12, .waiting = 13});
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        pollfd entry{desk_.descriptor(), POLLIN, 0};
        if (::poll(&entry, 1, 50) > 0) serve();
      }
    });
  }
  WillingPort(const WillingPort&) = delete;
  WillingPort& operator=(const WillingPort&) = delete;
  ~WillingPort() {
    thread_.request_stop();
    thread_.join();
  }

 private:
  void serve() {
    while (const auto request = desk_.take()) {
      if (request->text.starts_with("move")) {
        desk_.refuse(*request, "this port stays");
        continue;
      }
      desk_.show(request->text, request->text.starts_with("partition"));
      desk_.accept(*request, request->text, "now: " + request->text);
    }
  }

  Port port_;
  ChangeDesk desk_;
  std::jthread thread_;
};

shmif_port_info row_of(const std::string& path) {
  shmif_port_info row{};
  row.size = sizeof row;
  EXPECT_EQ(shmif_list_ports(path.c_str(), &row, 1), 1);
  return row;
}

TEST(CChanges, AreMadeAnsweredAndShown) {
  const TempBus bus;
  const WillingPort web(bus.path(), "web");
  const char* const path = bus.path().c_str();
  std::array<char, 64> text{};
  ASSERT_EQ(shmif_change(path, "web", "fault loss=5%", kLongMs, text.data(), text.size()), 0);
  EXPECT_STREQ(text.data(), "now: fault loss=5%");
  EXPECT_EQ(shmif_line(path, "web", text.data(), text.size()), 13);
  EXPECT_STREQ(text.data(), "fault loss=5%");
  EXPECT_EQ(shmif_line(path, "web", text.data(), 6), 13);
  EXPECT_STREQ(text.data(), "fault");

  shmif_port_info row = row_of(bus.path());
  EXPECT_TRUE((row.flags & SHMIF_PORT_TAKES_CHANGES) != 0);
  EXPECT_TRUE((row.flags & SHMIF_PORT_PARTITIONED) == 0);
  EXPECT_TRUE((row.flags & SHMIF_PORT_LINE_COUNTED) != 0);
  EXPECT_EQ(row.line_dropped_in, 11U);
  EXPECT_EQ(row.line_dropped_out, 12U);
  EXPECT_EQ(row.line_waiting, 13U);
  ASSERT_EQ(shmif_change(path, nullptr, "partition web / user", kLongMs, nullptr, 0), -ENODEV);
  ASSERT_EQ(shmif_change(path, "web", "partition web / user", kLongMs, nullptr, 0), 0);
  EXPECT_TRUE((row_of(bus.path()).flags & SHMIF_PORT_PARTITIONED) != 0);
}

TEST(CChanges, APortThatDoesNotAnswerInTimeIsReported) {
  const TempBus bus;
  Port port = port_on(bus.path(), {.name = "web"});
  const ChangeDesk desk = ChangeDesk::open(port).value();
  EXPECT_EQ(shmif_change(bus.path().c_str(), "web", "link down", 10, nullptr, 0), -ETIMEDOUT);
  EXPECT_NE(std::strstr(shmif_message(), "web"), nullptr) << shmif_message();
}

}  // namespace
}  // namespace shmif::test
