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

 private:
  Machine(std::array<UniqueFd, 2> pair, Driver driver, vhost::VhostOptions options, bool starts)
      : link_(vhost::VhostLink::adopt(std::move(pair[1]), std::move(options)).value()),
        front_(std::make_unique<FrontEnd>(std::move(pair[0]), driver, [this] { serve(); })) {
    if (!starts) return;
    front_->start();
    EXPECT_TRUE(link_.is_ready()) << link_.why();
  }
  vhost::VhostLink link_;
  std::unique_ptr<FrontEnd> front_;
  ReceiveResult last_;
};

}  // namespace shmif::test
