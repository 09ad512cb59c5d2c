// VDE networks as links: a real vde_switch, and libvdeplug's point-to-point connections.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/vde_link.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

constexpr std::size_t kLargestOfSwitch = 1514;
/// The longest frame that a link takes from a VDE network, whatever its own limit is.
constexpr std::size_t kLongest = 9233;

VdeLink open_vde(const std::string& url, std::size_t max_frame_bytes = kLargestOfSwitch + 8) {
  auto link = VdeLink::open(url, max_frame_bytes);
  if (!link) throw std::runtime_error(link.error().message);
  return *std::move(link);
}

/// A vde_switch in a process of its own. It ends with its standard input, and with the test.
class Switch {
 public:
  explicit Switch(const std::string& place, bool is_hub = false) : url_("vde://" + place) {
    std::array<int, 2> input{-1, -1};
    if (::pipe2(input.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const UniqueFd end(input[0]);
    input_ = UniqueFd(input[1]);
    process_ = std::make_unique<Child>([&] {
      const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
      ::dup2(end.get(), STDIN_FILENO);
      ::dup2(null, STDOUT_FILENO);
      ::dup2(null, STDERR_FILENO);
      const char* const mode = is_hub ? "--hub" : "--numports=32";
      ::execlp("vde_switch", "vde_switch", "--sock", place.c_str(), mode, nullptr);
      return 98;
    });
    if (!eventually([&] { return static_cast<bool>(VdeLink::open(url_, kLargestOfSwitch)); }))
      throw std::runtime_error("no vde_switch at " + place);
  }
  const std::string& url() const { return url_; }
  void kill() { (void)process_->kill_and_wait(); }

 private:
  std::string url_;
  UniqueFd input_;
  std::unique_ptr<Child> process_;
};

std::string no_switch() {
  const bool found = run_program({"/bin/sh", "-c", "command -v vde_switch"}).status == 0;
  return found ? std::string() : "no vde_switch here";
}

/// Two links on a switch that is a hub, so that it does not matter which addresses it knows.
class SwitchRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static std::string unavailable() { return no_switch(); }

  VdeLink& link() { return near_; }
  std::size_t largest() { return kLargestOfSwitch; }
  void feed(const std::vector<Bytes>& frames) {
    const auto out = views(frames);
    for (std::size_t sent = 0; sent < out.size();) {
      const SendResult r = far_.send(std::span(out).subspan(sent));
      ASSERT_FALSE(r.error) << r.error.message();
      sent += r.taken;
    }
  }
  std::vector<Bytes> heard() {
    // The switch needs a CPU before frames arrive, and before it takes more.
    pollfd entry{.fd = far_.descriptor(), .events = POLLIN, .revents = 0};
    (void)::poll(&entry, 1, 5);
    std::vector<Bytes> out;
    FrameBatch batch;
    while (far_.receive(batch).frames > 0) {
      for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
      batch.clear();
    }
    return out;
  }
  void end() { switch_.kill(); }

 private:
  TempDir directory_;
  Switch switch_{directory_.file("switch"), true};
  VdeLink near_ = open_vde(switch_.url());
  VdeLink far_ = open_vde(switch_.url());
};

INSTANTIATE_TYPED_TEST_SUITE_P(VdeSwitch, LinkConformance, testing::Types<SwitchRig>);

TEST(VdeLink, LearnsOfTheDeathOfItsSwitchWithoutAFrameAndANewLinkJoinsTheNextSwitch) {
  if (!no_switch().empty()) GTEST_SKIP() << no_switch();
  const TempDir directory;
  std::optional<Switch> first(directory.file("switch"));
  VdeLink link = open_vde(first->url());
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).error, std::error_code());
  EXPECT_LE(link.prepare_wait().at_most, std::chrono::seconds(1)) << "it looks for the end";
  link.finish_wait();
  first->kill();
  EXPECT_TRUE(eventually([&] { return link.receive(batch).error == Errc::link_ended; }));
  EXPECT_TRUE(link.prepare_wait().ready);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(link.send(views(frames)).error, Errc::link_ended);
  const auto absent = VdeLink::open(first->url(), kLargestOfSwitch);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message.find("cannot connect to the VDE network " + first->url() + ": "),
            0U)
      << absent.error().message;

  const Switch second(directory.file("switch"));
  VdeLink near = open_vde(second.url());
  VdeLink far = open_vde(second.url());
  EXPECT_EQ(near.address(), "vde:" + second.url());
  ASSERT_EQ(near.send(views(frames)).taken, 1U);
  EXPECT_TRUE(same_frames(frames, collect(far, 1)));
}

TEST(VdeLink, FramesThatAreTooLongOrTooShortAreDroppedAndCountedAndTheOthersArrive) {
  const TempDir directory;
  const std::string url = "ptp://" + directory.file("p");
  // One that takes whatever a VDE network carries, and then one with a limit of its own.
  for (const std::size_t limit : {std::size_t{20'000}, std::size_t{1522}}) {
    const std::size_t largest = std::min(limit, kLongest);
    VdeLink near = open_vde(url, limit);
    VdeLink far = open_vde(url, 60'000);
    const std::vector<Bytes> good{make_frame(14, 1), make_frame(largest, 2), make_frame(60, 3)};
    const std::vector<Bytes> sent{good[0],
                                  make_frame(largest + 1, 4),
                                  good[1],
                                  make_frame(largest + 2, 5),
                                  make_frame(20'001, 6),
                                  good[2]};
    ASSERT_EQ(far.send(views(sent)).taken, sent.size());
    EXPECT_TRUE(same_frames(good, collect(near, good.size())));
    EXPECT_EQ(near.drops().too_long, 3U);
    EXPECT_EQ(near.drops().too_short, 0U);
    EXPECT_EQ(far.drops().too_long, 0U);
  }
}

TEST(VdeLink, TakesNoMoreFramesForNowFromACallerWhileItsPeerDoesNotRead) {
  const TempDir directory;
  const std::string url = "ptp://" + directory.file("p");
  VdeLink near = open_vde(url);
  VdeLink far = open_vde(url);
  std::vector<Bytes> frames;
  frames.reserve(2000);
  for (std::uint64_t i = 0; i < 2000; ++i) frames.push_back(make_frame(60, i));
  const SendResult sent = near.send(views(frames));
  EXPECT_FALSE(sent.error) << sent.error.message();
  ASSERT_GT(sent.taken, 0U);
  ASSERT_LT(sent.taken, frames.size()) << "the queue of the peer's socket is shorter than that";
  const std::vector<Bytes> taken(frames.begin(),
                                 frames.begin() + static_cast<std::ptrdiff_t>(sent.taken));
  EXPECT_TRUE(same_frames(taken, collect(far, sent.taken)));
  const std::vector<Bytes> more{frames.back()};
  EXPECT_EQ(near.send(views(more)).taken, 1U);
  EXPECT_TRUE(same_frames(more, collect(far, 1)));
}

TEST(VdeLink, EndsWhenAFrameFindsNoPeerAnyMore) {
  const TempDir directory;
  const std::string url = "ptp://" + directory.file("p");
  VdeLink near = open_vde(url);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  {
    VdeLink far = open_vde(url);
    ASSERT_EQ(far.send(views(frames)).taken, 1U);
    EXPECT_TRUE(same_frames(frames, collect(near, 1)));
  }
  EXPECT_EQ(near.send(views(frames)).error, Errc::link_ended);
  FrameBatch batch;
  EXPECT_EQ(near.receive(batch).error, Errc::link_ended);
}

TEST(VdeLink, SaysWhichNetworkItDoesNotKnow) {
  const auto link = VdeLink::open("nonsense://x", 1522);
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("the VDE network nonsense://x: "), std::string::npos)
      << link.error().message;
  const std::string hint = "libvdeplug finds no plugin of that name";
  EXPECT_NE(link.error().message.find(hint), std::string::npos) << link.error().message;
  const auto absent = VdeLink::open("vde:///nonexistent/x", 1522);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message.find(hint), std::string::npos) << absent.error().message;
}

}  // namespace
}  // namespace shmif::test
