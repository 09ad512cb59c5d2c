#pragma once
// Files of a file system (FUSE) that does not answer: no call with their descriptors comes back,
// not even close().

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::test {

/// A file system that answers nothing but what leads to an open file, in a process of its own, for
/// fifty seconds at most or until `stop` is closed at its other end.
[[noreturn]] inline void serve_silent_files(int device, int stop) {
  ::alarm(50);
  std::vector<std::byte> request(std::size_t{256} << 10);
  std::array<pollfd, 2> either{
      {{.fd = device, .events = POLLIN, .revents = 0}, {.fd = stop, .events = 0, .revents = 0}}};
  while (::poll(either.data(), 2, -1) > 0 && either[1].revents == 0) {
    if (::read(device, request.data(), request.size()) <= 0) continue;
    fuse_in_header asked{};
    std::memcpy(&asked, request.data(), sizeof asked);
    const auto answer = [&](const auto& body) {
      fuse_out_header head{};
      head.len = sizeof head + sizeof body;
      head.unique = asked.unique;
      std::array<iovec, 2> parts{
          {{&head, sizeof head},
           {const_cast<void*>(static_cast<const void*>(&body)), sizeof body}}};
      (void)!::writev(device, parts.data(), 2);
    };
    fuse_attr attributes{};
    attributes.ino = asked.opcode == FUSE_LOOKUP ? 2 : 1;
    attributes.mode = asked.opcode == FUSE_LOOKUP ? S_IFREG | 0666 : S_IFDIR | 0755;
    attributes.nlink = 1;
    attributes.size = std::uint64_t{1} << 20;
    if (asked.opcode == FUSE_INIT) {
      fuse_init_out out{};
      out.major = 7;
      out.minor = 31;
      out.max_write = 4096;
      answer(out);
    } else if (asked.opcode == FUSE_LOOKUP) {
      fuse_entry_out out{};
      out.nodeid = 2;
      out.entry_valid = 100;
      out.attr = attributes;
      answer(out);
    } else if (asked.opcode == FUSE_GETATTR && asked.nodeid == 1) {
      fuse_attr_out out{};
      out.attr = attributes;
      answer(out);
    } else if (asked.opcode == FUSE_OPEN) {
      answer(fuse_open_out{});
    }
  }
  ::_exit(0);
}

/// Mounts such a file system in a namespace of this process. Result: an open file; -1: it cannot.
inline int open_silent_file(const std::string& directory, int stop,
                            const std::string& name = "file") {
  const int device = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0 || ::unshare(CLONE_NEWNS) != 0) return -1;
  (void)::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  const std::string options =
      "fd=" + std::to_string(device) + ",rootmode=40000,user_id=0,group_id=0";
  if (::mount("silent", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return -1;
  if (::fork() == 0) serve_silent_files(device, stop);
  ::close(device);
  return ::open((directory + "/" + name).c_str(), O_RDWR | O_CLOEXEC);
}

/// What became of a process that met such a file.
struct SilentMeeting {
  bool could_mount = false;     ///< if not, nothing was tried
  int code = -1;                ///< the exit code of the process; -1: it was not given the file
  bool never_answered = false;  ///< whether the file system outlived the process
};

/// Runs `give(file)` in a process of its own, which then keeps the file until the end, and then
/// `take()` in another one. `give` says whether it could give the file away. `name`: of the file.
inline SilentMeeting meet_silent_file(const std::string& directory,
                                      const std::function<bool(int file)>& give,
                                      const std::function<int()>& take,
                                      const std::string& name = "file") {
  const auto make_pipe = [] {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    return std::array<UniqueFd, 2>{UniqueFd(ends[0]), UniqueFd(ends[1])};
  };
  auto [stop, alive] = make_pipe();  // `alive` is the file system's end, until that ends
  auto [told, telling] = make_pipe();
  Child giver([&] {  // hangs when it ends
    stop.reset();
    const int file = open_silent_file(directory, alive.get(), name);
    if (file < 0) return 1;
    alive.reset();
    const bool was_given = give(file);
    if (::write(telling.get(), was_given ? "y" : "n", 1) == 1) ::pause();
    return 0;
  });
  alive.reset();
  telling.reset();
  char given = 'n';
  SilentMeeting met{.could_mount = ::read(told.get(), &given, 1) == 1};
  if (given == 'y') {
    Child taker([&] {
      stop.reset();
      return take();
    });
    met.code = taker.wait();
  }
  pollfd there{.fd = stop.get(), .events = 0, .revents = 0};
  met.never_answered = ::poll(&there, 1, 0) == 0;
  stop.reset();  // ends the file system, and so `giver`
  return met;
}

}  // namespace shmif::test
