// VDE: plugs of a vde_switch in hub mode, which the caller has started in the folder `place`. The
// library is loaded at run time, so that the other wires do not need it.

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace shmif::bench {
namespace {

struct Plug;  // a type of the library

/// The functions of libvdeplug that are used here.
class Library {
 public:
  Library() : handle_(dlopen("libvdeplug.so.2", RTLD_NOW)) {
    if (handle_ == nullptr) give_up("libvdeplug.so.2 is not installed (package libvdeplug2)");
    load(open_, "vde_open_real");
    load(receive_, "vde_recv");
    load(send_, "vde_send");
    load(descriptor_, "vde_datafd");
  }
  Plug* open(std::string place) const {
    std::string description = "shmif bench";
    Plug* plug = open_(place.data(), description.data(), 1, nullptr);
    if (plug == nullptr) give_up("no VDE switch answers in " + place);
    return plug;
  }
  ssize_t receive(Plug* plug, void* buffer, size_t bytes) const {
    return receive_(plug, buffer, bytes, 0);
  }
  ssize_t send(Plug* plug, const void* bytes, size_t count) const {
    return send_(plug, bytes, count, 0);
  }
  int descriptor(Plug* plug) const { return descriptor_(plug); }

 private:
  template <typename Function>
  void load(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (function == nullptr) give_up(std::string("libvdeplug has no ") + name);
  }
  void* handle_;
  Plug* (*open_)(char*, char*, int, void*) = nullptr;
  ssize_t (*receive_)(Plug*, void*, size_t, int) = nullptr;
  ssize_t (*send_)(Plug*, const void*, size_t, int) = nullptr;
  int (*descriptor_)(Plug*) = nullptr;
};

class VdeSender final : public Sender {
 public:
  explicit VdeSender(const Work& work)
      : plug_(library_.open(work.place)),
        frame_(make_frame(work.frame_bytes)),
        batch_(work.batch) {}
  std::size_t send() override {
    for (std::size_t i = 0; i < batch_; ++i) {
      if (library_.send(plug_, frame_.data(), frame_.size()) < 0) return i;
    }
    return batch_;
  }

 private:
  Library library_;
  Plug* plug_;
  std::vector<std::byte> frame_;
  std::size_t batch_;
};

class VdeListener final : public Listener {
 public:
  explicit VdeListener(const Work& work)
      : plug_(library_.open(work.place)), batch_(work.batch), buffer_(65536) {
    fcntl(library_.descriptor(plug_), F_SETFL, O_NONBLOCK);
  }
  Heard hear() override {
    std::uint64_t frames = 0;
    while (frames < batch_ && library_.receive(plug_, buffer_.data(), buffer_.size()) > 0) ++frames;
    if (frames > 0) return {frames, 0};
    pollfd ready{.fd = library_.descriptor(plug_), .events = POLLIN, .revents = 0};
    poll(&ready, 1, 50);
    return {};
  }

 private:
  Library library_;
  Plug* plug_;
  std::size_t batch_;
  std::vector<std::byte> buffer_;
};

class VdeWire final : public Wire {
 public:
  explicit VdeWire(const Work& work) : work_(work) {}
  std::unique_ptr<Listener> listener(unsigned) override {
    return std::make_unique<VdeListener>(work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override { return std::make_unique<VdeSender>(work_); }

 private:
  Work work_;
};

}  // namespace

std::unique_ptr<Wire> make_vde_wire(const Work& work) {
  return std::make_unique<VdeWire>(work);
}

}  // namespace shmif::bench
