#pragma once
// A virtual machine and the link to it.

#include <memory>
#include <utility>

#include "tests/vhost/front_end.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::test {

class Machine {
 public:
  /// `starts`: the machine has a driver already.
  explicit Machine(Driver driver, vhost::VhostOptions options, bool starts = true)
      : Machine(vhost_sockets(), driver, std::move(options), starts) {}

  vhost::VhostLink& link() { return link_; }
  FrontEnd& front() { return *front_; }
  /// Lets the link read its socket; what arrives meanwhile is thrown away.
  void serve() {
    FrameBatch batch;
    last_ = link_.receive(batch);
  }
  /// What the link said last.
  const ReceiveResult& last() const { return last_; }

  /// Whether a frame that is sent now arrives at the driver. If it does not, the link must say that
  /// there was no driver.
  bool hears() {
    const std::vector<Bytes> frames{make_frame(64, 0x4ea5)};
    const std::uint64_t before = link_.drops().not_ready;
    EXPECT_EQ(link_.send(views(frames)).taken, 1U) << link_.why();
    const auto got = front_->arrived();
    EXPECT_EQ(link_.drops().not_ready, before + (got.empty() ? 1 : 0));
    return got.size() == 1 && got[0].frame == frames[0];
  }
  /// Whether a frame that the driver sends now arrives here.
  bool speaks() {
    const Bytes frame = make_frame(65, 0x59ea);
    EXPECT_EQ(front_->send({frame}), 1U);
    FrameBatch batch;
    last_ = link_.receive(batch);
    return last_.frames == 1 && to_bytes(batch.frames()[0]) == frame;
  }

 private:
  Machine(std::array<UniqueFd, 2> pair, Driver driver, vhost::VhostOptions options, bool starts)
      : link_(vhost::VhostLink::adopt(std::move(pair[1]), std::move(options)).value()),
        front_(std::make_unique<FrontEnd>(std::move(pair[0]), driver, [this] { serve(); })) {
    if (!starts) return;
    front_->start();
    EXPECT_EQ(link_.why(), "");
    EXPECT_FALSE(last_.error);
  }
  vhost::VhostLink link_;
  std::unique_ptr<FrontEnd> front_;
  ReceiveResult last_;
};

}  // namespace shmif::test
