#include <shmif/filter.hpp>
#include <shmif/port.hpp>

#include <chrono>

#include "base/error.hpp"
#include "bus/frame.hpp"

int main(int, char** argv) {
  [[maybe_unused]] const consumer::Error error;
  [[maybe_unused]] const consumer::Frame own;
  shmif::Bus::create(argv[1], {}).value();
  shmif::Port alice, bob;
  for (shmif::Port* port : {&alice, &bob}) {
    port->attach(argv[1]).value();
    if (port->up()) return 2;
  }
  const std::byte frame[60] = {std::byte{0xff}};
  shmif::FrameBatch arrived;
  if (alice.send(shmif::FrameView(frame)).taken != 1) return 3;
  if (!bob.wait(std::chrono::seconds(10)) || bob.receive(arrived).frames != 1) return 1;
  const auto broadcasts = shmif::FrameFilter::compile("ether broadcast").value();
  return broadcasts.matches(arrived.frames()[0]) ? 4 : 0;
}
