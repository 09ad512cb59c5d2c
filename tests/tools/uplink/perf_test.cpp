// Jobs of one run of shmifperf on two servers, each beside a bus of its own, which an uplink joins.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "perf/remote/connection.hpp"
#include "shmif/socket_address.hpp"
#include "tests/tools/shmifperf/perf_server_rig.hpp"
#include "tests/tools/uplink/ssh_rig.hpp"

namespace shmif::test {
namespace {

// A slow network between a client and a server of shmifperf, for tests of how they compare clocks.

/// Passes one connection on, each piece after `delay`, in both directions.
class SlowLine {
 public:
  SlowLine(std::string server, std::chrono::milliseconds delay)
      : server_(std::move(server)),
        delay_(delay),
        listener_(perf::listen_at(parse_socket_address("127.0.0.1:0").value()).value()),
        address_(shmif::address_of(listener_.get()).value().to_string()),
        thread_([this] { carry(); }) {}
  SlowLine(const SlowLine&) = delete;
  SlowLine& operator=(const SlowLine&) = delete;
  ~SlowLine() {
    ends_ = true;
    thread_.join();
  }
  const std::string& address() const { return address_; }

 private:
  void carry() {
    while (!ends_) {
      pollfd entry{listener_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      const UniqueFd near(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!near) continue;
      const auto to = parse_socket_address(server_).value();
      const UniqueFd far = perf::begin_connecting(to).value();
      pollfd connecting{far.get(), POLLOUT, 0};
      if (::poll(&connecting, 1, 10'000) != 1) return;
      while (!ends_ && pass(near.get(), far.get())) {
      }
    }
  }
  /// Result: false when one side has closed.
  bool pass(int near, int far) const {
    pollfd entries[2] = {{near, POLLIN, 0}, {far, POLLIN, 0}};
    if (::poll(entries, 2, 20) <= 0) return true;
    std::this_thread::sleep_for(delay_);
    for (const auto& [from, to] : {std::pair(0, far), std::pair(1, near)}) {
      if ((entries[from].revents & (POLLIN | POLLHUP)) == 0) continue;
      char piece[65536];
      const ssize_t n = ::recv(entries[from].fd, piece, sizeof piece, MSG_DONTWAIT);
      if (n <= 0 || !send_whole(to, {piece, static_cast<std::size_t>(n)})) return false;
    }
    return true;
  }
  static bool send_whole(int to, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
      if (n > 0) continue;
      pollfd full{to, POLLOUT, 0};
      if (errno != EAGAIN || ::poll(&full, 1, 10'000) != 1) return false;
    }
    return true;
  }

  std::string server_;
  std::chrono::milliseconds delay_;
  UniqueFd listener_;
  std::string address_;
  std::atomic<bool> ends_ = false;
  std::thread thread_;
};

const Json& job_named(const Json& result, const std::string& name) {
  const Json& jobs = result.at("jobs");
  const auto it =
      std::ranges::find_if(jobs, [&](const Json& each) { return each.at("jobname") == name; });
  if (it == jobs.end()) throw std::runtime_error("no job " + name + " in " + jobs.dump());
  return *it;
}

class UplinkPerf : public UplinkSsh {
 protected:
  void SetUp() override {
    UplinkSsh::SetUp();
    Bus::create(far_, {}).value();
    here_ = server();
    there_ = server();
  }
  /// `before`: a program that runs it, with its arguments.
  std::unique_ptr<RunningServer> server(const Words& before = {}) const {
    return std::make_unique<RunningServer>(
        Words{"--allow-live", "--directory=" + directory_.path()}, before);
  }
  Words near_job(const std::string& name, const Words& more) const {
    return job(name, here_->address(), near_, more);
  }
  Words far_job(const std::string& name, const Words& more) const {
    return job(name, there_->address(), far_, more);
  }
  static Words job(const std::string& name, const std::string& server, const std::string& bus,
                   const Words& more) {
    return Words{"--name=" + name, "--server=" + server, "--bus=" + bus, "--allow_live"} + more;
  }
  static Words run_of(const std::vector<Words>& jobs) {
    Words all{"run", "--engine=bus", "--bs=200", "--output-format=json", "--output=-"};
    for (const Words& each : jobs) all.insert(all.end(), each.begin(), each.end());
    return all;
  }
  static Json result_of(const std::vector<Words>& jobs) {
    const ToolResult said = shmifperf(run_of(jobs));
    EXPECT_EQ(said.status, 0) << said.err << said.out;
    return Json::parse(said.out);
  }

  std::unique_ptr<RunningServer> here_, there_;
};

const Words kSends{"--rw=tx", "--rate_iops=1000", "--runtime=600ms"};
Words sends_to(const std::string& to, const Words& more = {}) {
  return kSends + Words{"--to=" + to} + more;
}

TEST_F(UplinkPerf, BothWaysAtOnceWhatOneSendsAndTheOtherReceivesAddsUp) {
  const auto tool = connected();
  const Json result = result_of({near_job("j", sends_to("k", {"--fault=loss=20%,seed=7"})),
                                 far_job("k", {"--rw=rx"}), far_job("m", sends_to("n")),
                                 near_job("n", {"--rw=rx"})});
  const Json& j = job_named(result, here_->address() + "/j");
  const Json& k = job_named(result, there_->address() + "/k");
  const Json& m = job_named(result, there_->address() + "/m");
  const Json& n = job_named(result, here_->address() + "/n");
  std::uint64_t by_fault = 0;
  for (const Json& link : result.at("links"))
    by_fault += link.at("lost_frames").get<std::uint64_t>();
  const std::uint64_t sent = j.at("tx").at("frames");
  EXPECT_GT(sent, 300U);
  EXPECT_GT(by_fault, 20U);
  EXPECT_EQ(k.at("loss").at("sent_frames"), sent);
  EXPECT_EQ(k.at("loss").at("lost_frames"), by_fault);
  EXPECT_EQ(k.at("loss").at("received_frames"), sent - by_fault);
  EXPECT_EQ(k.at("loss").at("flows").at(0).at("from"), here_->address() + "/j");
  EXPECT_EQ(j.at("tx").at("bytes"), 200 * sent);
  EXPECT_EQ(k.at("rx").at("frames"), sent - by_fault);
  EXPECT_EQ(k.at("rx").at("bytes"), 200 * (sent - by_fault));
  EXPECT_EQ(k.at("rx").at("seconds"), j.at("tx").at("seconds"));
  EXPECT_GT(m.at("tx").at("frames").get<std::uint64_t>(), 300U);
  EXPECT_EQ(m.at("tx").at("bytes"), n.at("rx").at("bytes"));
  EXPECT_EQ(m.at("tx").at("frames"), n.at("loss").at("received_frames"));
  EXPECT_EQ(n.at("loss").at("lost_frames"), 0);
  EXPECT_EQ(n.at("loss").at("flows").size(), 1U) << "the other way has another receiver";
  for (const Json* const receiver : {&k, &n}) {
    EXPECT_EQ(receiver->at("latency_clock_error_ns"), 0) << "both servers read one clock";
    EXPECT_EQ(receiver->at("latency_ns").at("count"), receiver->at("loss").at("received_frames"));
    EXPECT_LT(receiver->at("latency_ns").at("p50").get<std::uint64_t>(), 1'000'000'000U);
  }
}

TEST_F(UplinkPerf, RoundTripsAreMeasuredByOneClockAndBothSidesAgreeOnTheirNumber) {
  const auto tool = connected();
  const Json result = result_of(
      {near_job("j", {"--rw=pingpong", "--runtime=600ms", "--to=k"}), far_job("k", {"--rw=echo"})});
  const Json& j = job_named(result, here_->address() + "/j");
  const Json& k = job_named(result, there_->address() + "/k");
  const std::uint64_t asked = j.at("tx").at("frames");
  EXPECT_GT(asked, 10U);
  EXPECT_EQ(j.at("rx").at("frames"), asked);
  EXPECT_EQ(j.at("tx").at("bytes"), 200 * asked);
  EXPECT_EQ(j.at("rx").at("bytes"), 200 * asked);
  EXPECT_EQ(k.at("rx").at("frames"), asked);
  EXPECT_EQ(k.at("rx").at("bytes"), 200 * asked);
  EXPECT_EQ(j.at("latency_ns").at("count"), asked);
  EXPECT_GT(j.at("latency_ns").at("min").get<std::uint64_t>(), 1000U);
  EXPECT_EQ(j.at("loss").at("lost_frames"), 0);
  EXPECT_EQ(j.at("loss").at("flows").at(0).at("from"), there_->address() + "/k");
  EXPECT_EQ(j.at("loss").at("flows").at(0).at("kind"), "reply");
  EXPECT_EQ(k.at("loss").at("flows").at(0).at("from"), here_->address() + "/j");
  EXPECT_EQ(k.at("loss").at("flows").at(0).at("kind"), "request");
  EXPECT_EQ(k.at("loss").at("sent_frames"), asked);
  EXPECT_EQ(k.at("loss").at("received_frames"), asked);
  EXPECT_EQ(k.at("loss").at("lost_frames"), 0);
  EXPECT_FALSE(k.contains("latency_clock_error_ns")) << "no clocks were compared";
  EXPECT_FALSE(contains(result.at("warnings").dump(), "may be wrong"));
}

/// A server with another clock: 100,000 s ahead.
class UplinkPerfClocks : public UplinkPerf {
 protected:
  void SetUp() override {
    const Words ahead{"unshare", "--time", "--fork", "--kill-child", "--monotonic", "100000"};
    Words probe = ahead;
    probe.emplace_back("true");
    if (run_program(probe).status != 0) GTEST_SKIP() << "no time namespaces here";
    UplinkPerf::SetUp();
    there_ = server(ahead);
  }
};

TEST_F(UplinkPerfClocks, ThatCannotBeComparedGiveNoLatencyOneWayButRoundTrips) {
  const auto tool = connected();
  const SlowLine line(there_->address(), std::chrono::milliseconds(5));
  const auto behind_line = [&](const std::string& name, const Words& more) {
    return job(name, line.address(), far_, more);
  };
  const Json result = result_of({near_job("j", sends_to("k")), behind_line("k", {"--rw=rx"}),
                                 near_job("l", {"--rw=pingpong", "--runtime=600ms", "--to=m"}),
                                 behind_line("m", {"--rw=echo"})});
  const Json& j = job_named(result, here_->address() + "/j");
  const Json& k = job_named(result, line.address() + "/k");
  EXPECT_TRUE(k.at("latency_ns").is_null()) << k.at("latency_ns");
  EXPECT_TRUE(k.at("service_ns").is_null()) << k.at("service_ns");
  EXPECT_TRUE(contains(k.at("latency_ns_reason").get<std::string>(),
                       "the clocks of " + here_->address() + " and " + line.address() +
                           " were compared only to within "))
      << k.at("latency_ns_reason");
  EXPECT_FALSE(k.contains("latency_clock_error_ns"));
  for (const Json& interval : k.at("intervals"))
    EXPECT_TRUE(interval.at("latency_max_ns").is_null());
  EXPECT_EQ(k.at("loss").at("received_frames"), j.at("tx").at("frames")) << "frames need no clock";
  const Json& l = job_named(result, here_->address() + "/l");
  EXPECT_EQ(l.at("latency_ns").at("count"), l.at("tx").at("frames"));
  EXPECT_LT(l.at("latency_ns").at("p50").get<std::uint64_t>(), 1'000'000'000U);
}

TEST_F(UplinkPerfClocks, ThatAgreeWithinABoundGiveLatenciesWithIt) {
  const auto tool = connected();
  constexpr int kTries = 10;  // a busy machine cannot always compare the clocks to within 1 ms
  Json k;
  for (int tries = 0; tries < kTries && (tries == 0 || k.at("latency_ns").is_null()); ++tries) {
    const Json result = result_of({near_job("j", sends_to("k")), far_job("k", {"--rw=rx"})});
    k = job_named(result, there_->address() + "/k");
  }
  ASSERT_FALSE(k.at("latency_ns").is_null()) << k.at("latency_ns_reason");
  EXPECT_GT(k.at("latency_clock_error_ns").get<std::uint64_t>(), 0U);
  EXPECT_LE(k.at("latency_clock_error_ns").get<std::uint64_t>(), 1'000'000U);
  EXPECT_LT(k.at("latency_ns").at("p50").get<std::uint64_t>(), 1'000'000'000U);
}

TEST_F(UplinkPerf, OfThreeServersOneIsKilledAndTheRunEndsWithItsName) {
  const auto tool = connected();
  const auto third = server();
  const Words lasts{"--rw=tx", "--rate_iops=200", "--runtime=300"};
  const auto sends_long = [&](const std::string& to) { return lasts + Words{"--to=" + to}; };
  Tool run(shmifperf_words(
      run_of({near_job("j", sends_long("k")), far_job("k", {"--rw=rx"}),
              job("l", third->address(), near_, sends_long("m")), far_job("m", {"--rw=rx"})})));
  for (RunningServer* const each : {here_.get(), there_.get(), third.get()})
    ASSERT_TRUE(each->says("the jobs begin"));
  ASSERT_TRUE(eventually([&] {
    const auto ports = Bus::open(near_).value().info().ports;
    return std::ranges::count_if(ports, [](const PortInfo& p) {
             return (p.name == "j" || p.name == "l") && p.tx_frames > 20;
           }) == 2;
  }));
  there_->tool().signal(SIGKILL);
  const ToolResult said = run.finish();
  EXPECT_EQ(said.status, 1) << said.out;
  EXPECT_TRUE(contains(said.err, there_->address() + ": the connection was lost"));
  const Json result = Json::parse(said.out);
  EXPECT_FALSE(result.at("passed").get<bool>());
  EXPECT_GT(job_named(result, here_->address() + "/j").at("tx").at("frames"), 0);
  EXPECT_GT(job_named(result, third->address() + "/l").at("tx").at("frames"), 0);
  for (const RunningServer* const each : {here_.get(), third.get()})
    EXPECT_TRUE(eventually([&] { return !each->has_jobs(); }));
}

TEST_F(UplinkPerf, WithoutAnUplinkNothingArrivesAndThatIsAFailure) {
  const ToolResult said =
      shmifperf(run_of({near_job("j", sends_to("k")), far_job("k", {"--rw=rx"})}));
  EXPECT_EQ(said.status, 1) << said.out << said.err;
}

TEST_F(UplinkPerf, WhatCannotBeIsRefused) {
  const Words one{"--name=j", "--server=198.18.0.1"}, other{"--name=k", "--server=198.18.0.2"};
  const Words alone{"run", "--engine=bus", "--runtime=1", "--no_peer"};
  for (const auto& [words, why] : std::vector<std::pair<Words, std::string>>{
           {Words{"run", "--runtime=1"} + one +
                Words{"--engine=bus", "--bus=/x", "--rw=tx", "--to=k"} + other +
                Words{"--engine=udp", "--rw=rx", "--port=5"},
            "use one engine for both"},
           {Words{"run", "--engine=udp", "--runtime=1"} + one + Words{"--rw=pingpong", "--to=k"} +
                other + Words{"--rw=echo", "--port=5"},
            "engine=bus also has round trips"},
           {alone + Words{"--rw=tx", "--hostname=02:00:00:00:00:01"}, "give bus)"},
           {alone + Words{"--bus=/x", "--rw=txrx", "--hostname=02:00:00:00:00:01"},
            "use rw=tx or rw=pingpong"}}) {
    const ToolResult said = shmifperf(words);
    EXPECT_EQ(said.status, 2) << said.err << said.out;
    EXPECT_TRUE(contains(said.err, why));
  }
}

}  // namespace
}  // namespace shmif::test
