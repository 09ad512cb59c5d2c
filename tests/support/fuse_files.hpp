#pragma once
// File systems of a test's own (FUSE): one that does not answer, so that no call with descriptors
// of its files comes back, not even close(); and one whose files are made when they are read.

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::test {

/// Mounts a file system of that name in a mount namespace of the calling thread. Result: the device
/// that serves it; empty if this cannot be done.
inline UniqueFd mount_fuse(const char* name, const std::string& directory) {
  UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device || ::unshare(CLONE_NEWNS) != 0) return UniqueFd();
  (void)::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  const std::string options =
      "fd=" + std::to_string(device.get()) + ",rootmode=40000,user_id=0,group_id=0";
  if (::mount(name, directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    device.reset();
  return device;
}

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
  UniqueFd device = mount_fuse("silent", directory);
  if (!device) return -1;
  if (::fork() == 0) serve_silent_files(device.get(), stop);
  device.reset();
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

// A file system (FUSE) whose files are made when they are read, and whose folders can be made and
// removed: for programs that work with the kernel's own file systems where this kernel has none.

/// What the file system has. Called by the thread that serves it, for one request at a time. Paths
/// begin with "/"; errors are numbers of errno.
class LiveTree {
 public:
  enum class Kind { none, folder, file, link };

  LiveTree() = default;
  LiveTree(const LiveTree&) = delete;
  LiveTree& operator=(const LiveTree&) = delete;
  virtual ~LiveTree() = default;
  virtual Kind kind(const std::string& path) = 0;
  virtual std::vector<std::string> names(const std::string& folder) = 0;
  /// Of a file: its text. Of a link: where it leads.
  virtual std::string text(const std::string& path) = 0;
  virtual int write(const std::string& path, const std::string& text) = 0;
  virtual int make(const std::string& folder) = 0;
  virtual int remove(const std::string& folder) = 0;
};

/// Serves the tree at a directory, in a mount namespace of the calling thread, until it goes.
class LiveFiles {
 public:
  LiveFiles(LiveTree& tree, const std::string& directory) : tree_(tree) {
    device_ = mount_fuse("live", directory);
    if (!device_) return;
    directory_ = directory;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    stop_ = UniqueFd(ends[1]);
    thread_ = std::thread([this, end = ends[0]] {
      const UniqueFd stop(end);
      serve(stop.get());
    });
  }
  LiveFiles(const LiveFiles&) = delete;
  LiveFiles& operator=(const LiveFiles&) = delete;
  ~LiveFiles() {
    if (!directory_.empty()) ::umount2(directory_.c_str(), MNT_DETACH);
    stop_.reset();
    if (thread_.joinable()) thread_.join();
  }
  bool works() const { return thread_.joinable(); }

 private:
  void serve(int stop) {
    std::vector<std::byte> request(std::size_t{256} << 10U);
    std::array<pollfd, 2> either{{{device_.get(), POLLIN, 0}, {stop, 0, 0}}};
    while (::poll(either.data(), 2, -1) > 0 && either[1].revents == 0) {
      const ssize_t got = ::read(device_.get(), request.data(), request.size());
      if (got < 0 && errno == ENODEV) return;  // unmounted
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) continue;
      std::memcpy(&asked_, request.data(), sizeof asked_);
      body_.assign(reinterpret_cast<const char*>(request.data()) + sizeof asked_,
                   static_cast<std::size_t>(got) - sizeof asked_);
      answer_one();
    }
  }

  void reply(int error, const void* body, std::size_t bytes) const {
    fuse_out_header head{};
    head.len = static_cast<std::uint32_t>(sizeof head + bytes);
    head.error = -error;
    head.unique = asked_.unique;
    std::array<iovec, 2> parts{{{&head, sizeof head}, {const_cast<void*>(body), bytes}}};
    (void)!::writev(device_.get(), parts.data(), 2);
  }
  void fail(int error) const { reply(error, nullptr, 0); }
  template <class Body>
  void answer(const Body& body) const {
    reply(0, &body, sizeof body);
  }
  void say(const std::string& text) const { reply(0, text.data(), text.size()); }
  template <class Body>
  Body of_request() const {
    Body body{};
    std::memcpy(&body, body_.data(), std::min(sizeof body, body_.size()));
    return body;
  }
  /// The text in a request behind `head` bytes, up to its end of a C string.
  std::string name(std::size_t head) const { return body_.substr(head).c_str(); }

  std::uint64_t node_of(const std::string& path) {
    for (const auto& [node, its] : paths_) {
      if (its == path) return node;
    }
    paths_[++last_node_] = path;
    return last_node_;
  }
  std::string path() const {
    const auto found = paths_.find(asked_.nodeid);
    return found == paths_.end() ? std::string("?") : found->second;
  }
  std::string below(const std::string& child) const {
    return path() == "/" ? '/' + child : path() + '/' + child;
  }
  fuse_attr attributes(const std::string& of) {
    fuse_attr attributes{};
    attributes.ino = node_of(of);
    attributes.nlink = 1;
    switch (tree_.kind(of)) {
      case LiveTree::Kind::folder: attributes.mode = S_IFDIR | 0755; break;
      case LiveTree::Kind::link: attributes.mode = S_IFLNK | 0777; break;
      default: attributes.mode = S_IFREG | 0644; break;
    }
    return attributes;
  }
  void answer_entry(const std::string& of) {
    fuse_entry_out out{};
    out.nodeid = node_of(of);
    out.attr = attributes(of);
    answer(out);
  }

  void answer_init() const {
    fuse_init_out out{};
    out.major = 7;
    out.minor = 31;
    out.max_write = 65536;
    answer(out);
  }
  void answer_read() {
    const auto in = of_request<fuse_read_in>();
    if (in.offset == 0) texts_[asked_.nodeid] = tree_.text(path());
    const std::string& text = texts_[asked_.nodeid];
    say(in.offset >= text.size() ? std::string() : text.substr(in.offset, in.size));
  }
  void answer_write() {
    const auto in = of_request<fuse_write_in>();
    const int error = tree_.write(path(), body_.substr(sizeof in, in.size));
    fuse_write_out out{};
    out.size = in.size;
    error != 0 ? fail(error) : answer(out);
  }
  void answer_list() {
    std::string list;
    const auto in = of_request<fuse_read_in>();
    std::uint64_t at = 0;
    for (const std::string& each : tree_.names(path())) {
      if (at++ < in.offset) continue;
      fuse_dirent entry{};
      entry.ino = 1;
      entry.off = at;
      entry.namelen = static_cast<std::uint32_t>(each.size());
      std::string bytes(FUSE_NAME_OFFSET, '\0');
      std::memcpy(bytes.data(), &entry, FUSE_NAME_OFFSET);
      bytes += each;
      bytes.resize(FUSE_DIRENT_ALIGN(bytes.size()), '\0');
      if (list.size() + bytes.size() > in.size) break;
      list += bytes;
    }
    say(list);
  }

  void answer_one() {
    switch (asked_.opcode) {
      case FUSE_INIT: return answer_init();
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT: return;
      case FUSE_LOOKUP: {
        const std::string of = below(name(0));
        return tree_.kind(of) == LiveTree::Kind::none ? fail(ENOENT) : answer_entry(of);
      }
      case FUSE_GETATTR: {
        if (tree_.kind(path()) == LiveTree::Kind::none) return fail(ENOENT);
        fuse_attr_out out{};
        out.attr = attributes(path());
        return answer(out);
      }
      case FUSE_OPEN:
      case FUSE_OPENDIR: {
        if (tree_.kind(path()) == LiveTree::Kind::none) return fail(ENOENT);
        fuse_open_out out{};
        out.open_flags = FOPEN_DIRECT_IO;
        return answer(out);
      }
      case FUSE_READ: return answer_read();
      case FUSE_WRITE: return answer_write();
      case FUSE_READDIR: return answer_list();
      case FUSE_READLINK: return say(tree_.text(path()));
      case FUSE_MKDIR: {
        const std::string of = below(name(sizeof(fuse_mkdir_in)));
        const int error = tree_.make(of);
        return error != 0 ? fail(error) : answer_entry(of);
      }
      case FUSE_RMDIR: return fail(tree_.remove(below(name(0))));
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
      case FUSE_FLUSH: return fail(0);
      default: return fail(ENOSYS);
    }
  }

  LiveTree& tree_;
  UniqueFd device_, stop_;
  std::string directory_;
  fuse_in_header asked_{};
  std::string body_;
  std::map<std::uint64_t, std::string> paths_{{1, "/"}};
  std::map<std::uint64_t, std::string> texts_;
  std::uint64_t last_node_ = 1;
  std::thread thread_;
};

}  // namespace shmif::test
