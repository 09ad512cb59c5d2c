#pragma once
// A file system (FUSE) whose files are made when they are read, and whose folders can be made and
// removed: for programs that work with the kernel's own file systems where this kernel has none.

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
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::test {

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
    device_ = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_ || ::unshare(CLONE_NEWNS) != 0) return;
    (void)::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    if (::mount("live", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
      return;
    }
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
