// The uplink that ssh carries.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/signals.hpp"
#include "base/text.hpp"
#include "bus/limits.hpp"
#include "shmif/stream_link.hpp"
#include "tools/common/command.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/pauses.hpp"
#include "tools/relay/peer.hpp"
#include "tools/uplink/ssh_session.hpp"
#include "tools/uplink/uplink_line.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {
namespace {

constexpr std::chrono::seconds kHelloPatience{30};
constexpr std::chrono::milliseconds kFarewell{2000};

StreamOptions options_for(std::uint32_t mtu, const std::string& address) {
  StreamOptions options;
  options.max_frame_bytes = bus::max_frame_bytes(mtu);
  options.address = address;
  return options;
}

/// Frames of the other machine that the line cannot have meant.
UplinkDrops drops_of(const StreamLink& stream) {
  const StreamDrops drops = stream.drops();
  return {0, drops.too_long + drops.too_short};
}

UplinkPortOptions port_options(const UplinkWish& wish) {
  return {.name = wish.port_name, .lock_memory = wish.bus.lock_memory, .faults = wish.faults};
}

/// The near end of an uplink over ssh.
class SshUplink {
 public:
  SshUplink(const UplinkWish& wish, const JsonOutput& json)
      : wish_(wish),
        json_(json),
        bus_(wish.path, wish.bus),
        mtu_(bus_.bus().info().mtu),
        port_(bus_.bus(), port_options(wish)),
        far_text_("ssh:" + wish.far_text) {}

  int run() {
    Retries retries;
    std::string failure;
    while (!stop_.stopped() && failure.empty()) {
      const auto begun = std::chrono::steady_clock::now();
      const bool carried = connect_and_carry(failure);
      if (stop_.stopped() || !failure.empty()) break;
      const auto lasted = std::chrono::steady_clock::now() - begun;
      const auto pause = carried ? retries.after_connection(lasted) : retries.after_failure();
      pause_for(pause);
    }
    if (connections_ > 0 || failure.empty()) sum_up_ssh();
    return failure.empty() ? kDone : fail(failure);
  }

 private:
  /// Result: whether the far end was reached. `failure`: why the uplink must end.
  bool connect_and_carry(std::string& failure) {
    SshSession session(ssh_words(wish_), wish_.far.host);
    session.be_quiet();
    const Result<Hello> hello = greet(session);
    if (!hello) {
      session.end(kFarewell);
      if (stop_.stopped()) return false;
      const std::string text = why_not(hello.error(), session.why_ended());
      if (connections_ == 0) {
        failure = text;
      } else if (!std::exchange(said_, true)) {
        complain(text + "; trying again");
      }
      return false;
    }
    session.speak();
    said_ = false;
    ++connections_;
    bus_.keep();
    tell_connected(*hello);
    const UplinkEnd end = carry(session, std::min(mtu_, hello->mtu));
    if (end.why == UplinkEnd::Why::bus_ended || end.why == UplinkEnd::Why::loop) {
      failure = end.text;
    } else if (session.far_counts() && session.far_counts()->loops > 0) {
      failure = "frames from " + far_text_ + " still come back from " + wish_.bus_text() +
                ": the far end has ended (leave only one connection between the two)";
    }
    if (!stop_.stopped() && failure.empty()) {
      const std::string why = session.why_ended();
      say(far_text_ + ": the line is cut" + (why.empty() ? "" : " (" + why + ')') +
          "; trying again");
    }
    return true;
  }

  Result<Hello> greet(const SshSession& session) {
    const base::SignalGuard guard(SIGPIPE);
    // If ssh has ended already, the wait says so.
    static_cast<void>(
        send_hello(session.line(), {.mtu = mtu_, .name = machine_name()}, kHelloPatience));
    return await_hello(session.line(), stop_.descriptor(), kHelloPatience, meanwhile());
  }

  /// Requests to change the line, which come also while there is none.
  Meanwhile meanwhile() {
    return {port_.control().descriptor(), [this] { static_cast<void>(port_.control().serve()); }};
  }

  /// Waits for that time, or until a signal comes.
  void pause_for(std::chrono::milliseconds time) {
    const Meanwhile also = meanwhile();
    const auto until = std::chrono::steady_clock::now() + time;
    while (!stop_.stopped()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) return;
      std::array<pollfd, 2> either{{{.fd = stop_.descriptor(), .events = POLLIN, .revents = 0},
                                    {.fd = also.descriptor, .events = POLLIN, .revents = 0}}};
      if (::poll(either.data(), either.size(), static_cast<int>(left.count())) < 0) continue;
      if (either[1].revents != 0) also.serve();
    }
  }

  /// ssh says best why it failed.
  std::string why_not(const Error& error, const std::string& said) const {
    std::string text = "cannot reach " + wish_.far.path + " on " + wish_.far.host + ": ";
    if (error.code != Errc::link_ended || said.empty()) text += error.message;
    if (!said.empty()) text += (text.ends_with(": ") ? "" : "; ") + said;
    return text + " (try 'ssh " + wish_.far.host + ' ' + wish_.far_program + " --version')";
  }

  void tell_connected(const Hello& hello) const {
    const std::uint32_t mtu = std::min(mtu_, hello.mtu);
    say(far_text_ + ": connected to " + hello.name + ", as port " + port_.port().name() + ", MTU " +
        std::to_string(mtu) + " (frames of at most " + std::to_string(bus::max_frame_bytes(mtu)) +
        " bytes)");
    if (hello.mtu == mtu_) return;
    complain(wish_.bus_text() + " has an MTU of " + std::to_string(mtu_) + ", and " +
             wish_.far_text + " of " + std::to_string(hello.mtu) +
             ": longer frames are dropped and counted (give both the same MTU)");
  }

  UplinkEnd carry(SshSession& session, std::uint32_t mtu) {
    auto owned = std::make_unique<StreamLink>(
        StreamLink::adopt(session.take_line(), options_for(mtu, far_text_)));
    const StreamLink* const stream = owned.get();
    std::optional<AnyLink> link(std::in_place, std::move(owned));
    UplinkLine line(port_, *link, wish_.bus_text(), far_text_,
                    [stream] { return drops_of(*stream); });
    bool errors_open = true;
    const auto take_errors = [&] {
      // A closed pipe stays readable; the line itself ends, too.
      if (errors_open) errors_open = session.read_errors();
      return errors_open;
    };
    UplinkEnd end = line.carry(stop_.descriptor(), {{session.errors(), take_errors}});
    if (!errors_open && end.why == UplinkEnd::Why::asked) end.why = UplinkEnd::Why::far_ended;
    add_counts(total_, line.counts());
    if (!stop_.stopped()) port_.lose_what_waits();
    too_long_ += stream->drops().too_long;
    too_short_ += stream->drops().too_short;
    link.reset();  // closes the line, so that the far end ends
    session.end(kFarewell);
    if (session.far_counts()) {
      far_.add(*session.far_counts());
    } else {
      ++untold_;
    }
    return end;
  }

  void sum_up_ssh() {
    static_cast<void>(port_.port().up());  // now it counts the frames that passed while it was down
    const std::uint64_t away = port_.port().counters().skipped_frames;
    const base::SignalGuard guard(SIGPIPE);  // the reader of this output may be gone
    const auto [there, back] = port_.ways(total_, wish_.bus_text(), far_text_);
    if (json_.is_wanted()) {
      Json json{{"directions", {to_json(there, port_.faults().received), to_json(back)}},
                {"local_frames", port_.stayed()},
                {"connections", connections_},
                {"disconnected_frames", away},
                {"received_too_long_frames", too_long_},
                {"received_too_short_frames", too_short_}};
      if (untold_ < connections_) {
        json["far"] = far_.to_json();
      } else {
        set_null(json, "far", "the other machine told no counts");
      }
      json["far_untold_connections"] = untold_;
      return json_.print(json_text(std::move(json)));
    }
    std::string text =
        to_text(there) + to_text(back) + faults_text(there, port_.faults().received) +
        faults_text(back, {}) + wish_.bus_text() + ": " + base::counted(port_.stayed(), "frame") +
        " between hosts of this bus stayed there\n" + far_text_ + ": " +
        base::counted(connections_, "connection") + ", " + base::counted(away, "frame") +
        " passed while the line was cut, " + std::to_string(too_long_) +
        " from there were too long, " + std::to_string(too_short_) + " too short\n";
    if (untold_ < connections_)
      text += far_text_ + " counted: " + base::counted(far_.sent_frames, "frame") + " sent, " +
              std::to_string(far_.delivered_frames) + " delivered, " +
              std::to_string(far_.lost_frames) + " lost, " + std::to_string(far_.line_full_frames) +
              " dropped because the line was full, " + std::to_string(far_.too_long_frames) +
              " too long, " + std::to_string(far_.refused_frames) + " refused\n";
    if (untold_ > 0)
      text += far_text_ + ": the counts of " + base::counted(untold_, "connection") +
              " there are not known\n";
    text.pop_back();
    say(text);
  }

  const UplinkWish& wish_;
  const JsonOutput& json_;
  const StopSignals stop_;
  UplinkBus bus_;
  std::uint32_t mtu_;
  UplinkPort port_;
  std::string far_text_;
  bool said_ = false;  ///< that the far end cannot be reached
  tap::PairCounters total_;
  FarCounts far_;
  std::uint64_t connections_ = 0;
  std::uint64_t untold_ = 0;  ///< connections whose far end did not tell its counts
  std::uint64_t too_long_ = 0, too_short_ = 0;
};

}  // namespace

int run_ssh_uplink(const UplinkWish& wish, const JsonOutput& json) {
  return SshUplink(wish, json).run();
}

int run_stdio_uplink(const UplinkWish& wish) {
  if (isatty(STDIN_FILENO) != 0)
    throw UsageError{"--stdio is for the far end of --ssh, whose standard input is no terminal"};
  const base::SignalGuard guard(SIGPIPE);  // ssh may end at any time
  const StopSignals stop;
  UniqueFd in(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  UniqueFd out(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!in || !out)
    throw Exception(Error::from_errno(errno, "cannot use standard input and output"));
  dup2(STDERR_FILENO, STDOUT_FILENO);  // what is printed must not get into the line
  UplinkBus bus(wish.path, wish.bus);
  const std::uint32_t mtu = bus.bus().info().mtu;
  UplinkPort port(bus.bus(), port_options(wish));
  send_hello(out.get(), {.mtu = mtu, .name = machine_name()}, kHelloPatience).value();
  const Hello hello = await_hello(in.get(), stop.descriptor(), kHelloPatience).value();
  bus.keep();
  const std::string far = "stdio:" + hello.name;
  auto owned = std::make_unique<StreamLink>(
      StreamLink::adopt(std::move(in), std::move(out), options_for(std::min(mtu, hello.mtu), far))
          .value());
  const StreamLink* const stream = owned.get();
  AnyLink link(std::move(owned));
  UplinkLine line(port, link, wish.bus_text(), far, [stream] { return drops_of(*stream); });
  const UplinkEnd end = line.carry(stop.descriptor(), {});
  std::fprintf(stderr, "%s\n",
               far_counts_of(port.ways(line.counts(), wish.bus_text(), far), stream->drops(), end)
                   .to_line()
                   .c_str());
  const bool is_normal =
      end.why == UplinkEnd::Why::asked || (end.why == UplinkEnd::Why::far_ended && end.is_orderly);
  return is_normal ? kDone : fail(end.text);
}

}  // namespace shmif::tools
