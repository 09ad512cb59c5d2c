#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

/// A file of its own, whose beginning is the image's header with the input written over it.
class File {
 public:
  File() : path_(BusImage::get().path() + ".open") {
    fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    struct stat status{};
    if (!fd_ || fstat(fd_.get(), &status) != 0) failed("no file to open");
    inode_ = status.st_ino;
  }
  const std::string& path() const { return path_; }

  void fill(Input& in) const {
    const std::vector<std::byte>& pristine = BusImage::get().pristine();
    std::uint64_t size = pristine.size();
    const std::uint8_t how = in.byte();
    if ((how & 1U) != 0) size = in.word(3) % (4 * size);
    bus::BusHeader header = BusImage::get().fixed();
    header.inode = inode_;
    std::byte* const bytes = reinterpret_cast<std::byte*>(&header);
    for (unsigned n = how >> 4U; n > 0; --n) {
      // The fixed fields are in the first two lines.
      const std::size_t offset = in.byte() % 128U / 4 * 4;
      const std::uint8_t what = in.byte();
      const std::uint64_t value = what < 64 ? 1ULL << what : what < 128 ? what - 64U : in.word();
      std::memcpy(bytes + offset, &value, (what & 1U) != 0 ? 8 : 4);
    }
    require(ftruncate(fd_.get(), static_cast<off_t>(size)) == 0, "no room");
    const auto write = [&](const void* from, std::size_t length, std::size_t offset) {
      if (length == 0 || offset >= size) return;
      require(pwrite(fd_.get(), from, std::min<std::size_t>(length, size - offset),
                     static_cast<off_t>(offset)) > 0,
              "cannot write");
    };
    write(&header, sizeof header, 0);
    write(pristine.data() + sizeof header, pristine.size() - sizeof header, sizeof header);
    if ((how & 2U) == 0) return;
    const Bytes anything = in.rest();
    write(anything.data(), anything.size(), 0);
  }

 private:
  std::string path_;
  UniqueFd fd_;
  std::uint64_t inode_ = 0;
};

}  // namespace

void open(Bytes bytes) {
  if (!install_sigbus_guard()) std::abort();
  Input in(bytes);
  static const File file;
  file.fill(in);
  const AccessLimit limit(10'000'000);
  const auto bus = Bus::open(file.path());
  if (bus) {
    static_cast<void>(bus->info());
    static_cast<void>(bus->audit());
  } else {
    require(!bus.error().message.empty(), "a refusal without a reason");
  }
  Port port({.name = "one"});
  const auto attached = port.attach(file.path());
  if (attached) {
    FrameBatch batch;
    static_cast<void>(port.up());
    static_cast<void>(port.receive(batch));
    const std::array<std::byte, 60> payload{};
    const FrameView frame(payload.data(), payload.size());
    static_cast<void>(port.send({&frame, 1}));
  }
  // Attaching makes a bus of an empty file, and of one with zeros alone.
  require(!attached || bus || Bus::open(file.path()), "attached to what cannot be opened");
}

}  // namespace shmif::fuzz
