// The cost of a line (tap/line/line.hpp) between a port and its host: carries frames both ways, for
// a tool that counts instructions, such as callgrind of valgrind.
//
//   shmif_bench_line_cost WHAT FRAMES
//
// WHAT: "port", the port without a line; "line", a line on which nothing was ever set; "again", a
// line that had faults and has none now; or the faults of a line. FRAMES: so many go each way, in
// batches of 32. The cost of a frame is the difference of two runs, divided by that of FRAMES. The
// program checks that all frames arrived, so the faults must not lose any.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/line/line.hpp"

namespace {

using namespace shmif;

constexpr std::size_t kFramesOfBatch = 32;
constexpr std::size_t kFrameBytes = 64;

std::unique_ptr<Port> port_of_bus(const std::string& path) {
  auto port = std::make_unique<Port>(PortOptions{.promiscuous = true});
  port->attach(path).value();
  if (const std::error_code error = port->up()) throw std::system_error(error, "up");
  return port;
}

/// Receives a batch. Result: whether all of it came.
template <Link L>
bool take_batch(L& link, FrameBatch& batch) {
  constexpr unsigned kMaxTries = 1000;
  std::size_t got = 0;
  for (unsigned tries = 0; got < kFramesOfBatch && tries < kMaxTries; ++tries) {
    batch.clear();
    got += link.receive(batch).frames;
  }
  return got == kFramesOfBatch;
}

int carry(const std::string& path, const std::string& what, std::uint64_t frames) {
  Bus::create(path, {}).value();
  const auto far = port_of_bus(path);
  std::optional<AnyLink> bare;
  std::optional<tap::Line> line;
  if (what == "port") {
    bare.emplace(port_of_bus(path));
  } else {
    line.emplace(port_of_bus(path));
    if (what != "line")
      line->set_faults(parse_line_faults(what == "again" ? "delay=1ms" : what).value()).value();
    if (what == "again") {
      line->set_faults({}).value();
      line->settle();
    }
  }
  AnyLink& near = line ? line->link() : *bare;
  const std::vector<std::byte> bytes(kFrameBytes, std::byte{0x5a});
  const std::vector<FrameView> out(kFramesOfBatch, FrameView(bytes.data(), bytes.size()));
  FrameBatch batch(kFramesOfBatch, 1U << 16U);
  for (std::uint64_t sent = 0; sent < frames; sent += kFramesOfBatch) {
    if (far->send(out).taken != out.size() || !take_batch(near, batch) ||
        near.send(out).taken != out.size() || !take_batch(*far, batch)) {
      std::fputs("frames were lost (give faults that lose and delay none)\n", stderr);
      return EXIT_FAILURE;
    }
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: shmif_bench_line_cost port|line|again|FAULTS FRAMES\n", stderr);
    return 2;
  }
  const std::string path = "/dev/shm/shmif-line-cost." + std::to_string(::getpid());
  int code = EXIT_FAILURE;
  try {
    code = carry(path, argv[1], std::strtoull(argv[2], nullptr, 10));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  ::unlink(path.c_str());
  return code;
}
