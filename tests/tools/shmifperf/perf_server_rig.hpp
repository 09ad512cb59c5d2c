#pragma once
// Servers and clients of shmifperf as real processes on the loopback, and a hand-made client.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/remote/protocol.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {

/// All processes below that one.
inline std::vector<pid_t> descendants(pid_t of) {
  std::vector<pid_t> all;
  const std::string id = std::to_string(of);
  std::ifstream children("/proc/" + id + "/task/" + id + "/children");
  for (pid_t child = 0; children >> child;) {
    all.push_back(child);
    const std::vector<pid_t> below = descendants(child);
    all.insert(all.end(), below.begin(), below.end());
  }
  return all;
}

/// Whether there is no such process, or nothing but its entry.
inline bool is_dead(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return true;
  const std::size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.compare(name_end, 3, ") Z") == 0;
}

/// A server on a port that it chose.
class RunningServer {
 public:
  /// `before`: a program that runs the server, with its arguments.
  explicit RunningServer(const Words& options = {}, const Words& before = {})
      : tool_(words(options, before)) {
    const std::string mark = "listens on ";
    EXPECT_TRUE(tool_.wait_for(mark)) << tool_.so_far().err;
    EXPECT_TRUE(tool_.wait_for("\n"));
    const std::string& out = tool_.so_far().out;
    const std::size_t at = out.find(mark) + mark.size();
    address_ = out.substr(at, out.find('\n', at) - at);
    port_ = static_cast<std::uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1)));
  }

  const std::string& address() const { return address_; }
  std::uint16_t port() const { return port_; }
  Tool& tool() { return tool_; }
  pid_t pid() const { return tool_.pid(); }
  bool says(const std::string& text) { return tool_.wait_for(text); }
  bool has_jobs() const { return !descendants(pid()).empty(); }

 private:
  static Words words(const Words& options, const Words& before) {
    return before + shmifperf_words({"server", "--listen=127.0.0.1:0"}) + options;
  }
  Tool tool_;
  std::string address_;
  std::uint16_t port_ = 0;
};

/// Whether a summary has a line for the job of that server.
inline bool has_row_of(const std::string& summary, const RunningServer& server) {
  return has(summary, "\n  " + server.address() + "/job ");
}

/// `shmifperf run --client ...`, with what follows.
inline Words client_words(const std::string& servers, const Words& rest) {
  return shmifperf_words({"run", "--client=" + servers}) + rest;
}

/// A light load that lasts until somebody ends it.
inline Words long_job() {
  return {"--rw=tx", "--bs=100", "--rate_iops=200", "--runtime=120"};
}
/// One that ends by itself, with every frame counted.
inline Words short_job() {
  return {"--rw=tx", "--bs=100", "--rate_iops=1000", "--number_ios=300"};
}

/// Speaks to a server byte by byte. Waits at most some seconds for an answer.
class HandMadeClient {
 public:
  explicit HandMadeClient(std::uint16_t port)
      : HandMadeClient(port, UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))) {}
  HandMadeClient(std::uint16_t port, UniqueFd fd) : fd_(std::move(fd)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  explicit HandMadeClient(UniqueFd fd) : fd_(std::move(fd)) {}

  /// Result: false when the other side has closed.
  bool send_bytes(std::string_view bytes) const {
    return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  bool send(const perf::Message& message) const {
    return send_bytes(perf::with_length(perf::encode(message)));
  }

  /// The next message as JSON; null: the other side closed, or said nothing for long.
  Json receive() {
    for (;;) {
      auto message = reader_.next();
      if (message && *message) return Json::parse(**message);
      if (!message || !read_more()) return nullptr;
    }
  }
  /// Reads up to the next message of that type. Result: false when none came.
  bool receives(const std::string& type) {
    for (Json next = receive(); !next.is_null(); next = receive()) {
      if (next.at("type") == type) return true;
    }
    return false;
  }
  /// Some bytes, which are forgotten, if there are any.
  void read_a_little() const {
    char piece[700];
    (void)recv(fd_.get(), piece, sizeof piece, MSG_DONTWAIT);
  }
  /// Whether the other side closes, whatever it says before.
  bool is_closed_on() {
    while (read_more()) {
    }
    return closed_;
  }

 private:
  bool read_more() {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (poll(&entry, 1, 15000) <= 0) return false;
    char piece[4096];
    const ssize_t n = recv(fd_.get(), piece, sizeof piece, 0);
    closed_ = n <= 0;
    if (n > 0) reader_.feed({piece, static_cast<std::size_t>(n)});
    return n > 0;
  }

  UniqueFd fd_;
  perf::MessageReader reader_{64U << 20U};
  bool closed_ = false;
};

/// Of the program under test.
inline std::string version_under_test() {
  const std::string text = shmifperf({"--version"}).out;  // "shmifperf 0.1.0 ..."
  std::istringstream words(text);
  std::string name;
  std::string version;
  words >> name >> version;
  return version;
}

inline perf::HelloMessage hello() {
  perf::HelloMessage message;
  message.version = version_under_test();
  message.host = "rig";
  return message;
}

}  // namespace shmif::test
