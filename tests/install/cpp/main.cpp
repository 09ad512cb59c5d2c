#include <shmif/port.hpp>

int main(int, char** argv) {
  shmif::Bus::create(argv[1], {}).value();
  shmif::Port alice, bob;
  for (shmif::Port* port : {&alice, &bob}) port->attach(argv[1]).value(), port->up();
  const std::byte frame[60] = {std::byte{0xff}};
  const shmif::FrameView view(frame);
  shmif::FrameBatch arrived;
  alice.send({&view, 1});
  return bob.wait(std::chrono::seconds(10)) && bob.receive(arrived).frames == 1 ? 0 : 1;
}
