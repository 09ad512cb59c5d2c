#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shmif/capture/pcap_link.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {

void pcap(Bytes bytes) {
  static const int file = memfd_create("capture", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const Bytes content = in.rest();
  require(ftruncate(file, 0) == 0 && pwrite(file, content.data(), content.size(), 0) ==
                                         static_cast<ssize_t>(content.size()),
          "no file");
  auto reader = PcapReader::open(path, {.speed = (options & 1U) != 0 ? 1e9 : 0});
  if (!reader) {
    require(!reader.error().message.empty(), "a refusal without a reason");
    return;
  }
  FrameBatch batch((options & 2U) != 0 ? 2 : 64, (options & 4U) != 0 ? 100 : 200'000);
  for (unsigned calls = 0; calls < 1000; ++calls) {
    batch.clear();
    const ReceiveResult got = reader->receive(batch);
    for (const FrameView& f : batch.frames()) {
      require(f.size() >= 14 && f.size() <= kMaxFrameBytes, "a frame of no possible size");
    }
    static_cast<void>(reader->progress());
    if (got.error) break;
    if (got.frames == 0) static_cast<void>(reader->prepare_wait());
    reader->finish_wait();
  }
  static_cast<void>(reader->status());
}

}  // namespace shmif::fuzz
