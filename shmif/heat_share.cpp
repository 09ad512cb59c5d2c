#include "shmif/heat_share.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <random>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/descriptors.hpp"
#include "base/files.hpp"
#include "base/fork_guard.hpp"
#include "base/quantity.hpp"
#include "base/signals.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "shmif/heat_wire.hpp"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1  // Linux 5.11
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24  // Linux 5.18
#endif

namespace shmif {

using heat::Answer;
using heat::Ask;
using heat::Range;
using heat::Request;
using heat::SharedRange;

struct HeatShare::Entry {
  SharedRange shared{};
  std::uint64_t token = base::process_token();
};

namespace {

constexpr std::uint64_t kWriteProtectAsync = 1U << 15U;   // UFFD_FEATURE_WP_ASYNC, Linux 6.7
constexpr std::uint64_t kWriteProtectShared = 1U << 12U;  // UFFD_FEATURE_WP_HUGETLBFS_SHMEM, 5.19

/// The userfaultfd of a process while a monitor is connected.
class WriteProtection {
 public:
  /// Result: an errno, or 0 for success.
  int open() noexcept {
    tells_writes_ = true;
    const int error = open_with(kWriteProtectAsync | kWriteProtectShared);
    if (error != EINVAL) return error;
    // An older kernel. Then no page is ever write-protected, so that no write has to wait. But the
    // kernel no longer maps the neighbours of a touched page.
    tells_writes_ = false;
    return open_with(kWriteProtectShared);
  }
  void close() noexcept { file_.reset(); }
  bool is_open() const noexcept { return static_cast<bool>(file_); }
  bool tells_writes() const noexcept { return tells_writes_; }

  int include(Range range) noexcept {
    uffdio_register arguments{};
    arguments.range = {range.begin, range.end - range.begin};
    arguments.mode = UFFDIO_REGISTER_MODE_WP;
    return ::ioctl(file_.get(), UFFDIO_REGISTER, &arguments) == 0 ? 0 : errno;
  }
  int protect(Range range) noexcept {
    if (!tells_writes_) return 0;
    uffdio_writeprotect arguments{};
    arguments.range = {range.begin, range.end - range.begin};
    arguments.mode = UFFDIO_WRITEPROTECT_MODE_WP;
    return ::ioctl(file_.get(), UFFDIO_WRITEPROTECT, &arguments) == 0 ? 0 : errno;
  }

 private:
  int open_with(std::uint64_t features) noexcept {
    file_.reset(
        static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    if (!file_) return errno;
    uffdio_api arguments{};
    arguments.api = UFFD_API;
    arguments.features = features;
    if (::ioctl(file_.get(), UFFDIO_API, &arguments) == 0) return 0;
    const int error = errno;
    file_.reset();
    return error;
  }

  UniqueFd file_;
  bool tells_writes_ = true;
};

/// Forgets which pages of the range were touched. The contents stay in the file.
int forget_pages(Range range) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a range's address, which nothing is read through
  auto* const begin = reinterpret_cast<void*>(range.begin);
  const std::size_t bytes = range.end - range.begin;
  if (::madvise(begin, bytes, MADV_DONTNEED) == 0) return 0;
  if (errno != EINVAL) return errno;
  return ::madvise(begin, bytes, MADV_DONTNEED_LOCKED) == 0 ? 0 : errno;
}

/// The shares of this process, its socket, and the thread that answers a monitor.
class Party {
 public:
  ~Party() {
    if (thread_.joinable()) {
      thread_.request_stop();
      const std::uint64_t one = 1;
      static_cast<void>(::write(stop_.get(), &one, sizeof one) == sizeof one);
      thread_.join();
    }
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  bool belongs_here() const noexcept { return base::is_this_process(token_); }

  Result<void> open(const std::string& folder) {
    path_ =
        folder + '/' + std::to_string(::getpid()) + '-' + std::to_string(std::random_device{}());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path) {
      return Error(Errc::bad_argument, cannot(folder) + "its path is too long for a socket");
    }
    std::memcpy(&address.sun_path[0], path_.c_str(), path_.size());
    listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    constexpr int kBacklog = 8;
    if (!listener_ || !stop_ ||
        ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.get(), kBacklog) != 0) {
      const int number = errno;
      path_.clear();
      return Error::from_errno(number, cannot(folder) + "no socket there",
                               "SHMIF_HEAT must name a directory that this process may write");
    }
    try {
      start_thread();
    } catch (const std::system_error& error) {  // the limit of threads is reached
      return Error(error.code(), cannot(folder) + error.what());
    }
    return {};
  }

  void add(const SharedRange* range) {
    const std::lock_guard guard(mutex_);
    ranges_.push_back(range);
  }
  /// Result: whether that was the last range.
  bool remove(const SharedRange* range) noexcept {
    const std::lock_guard guard(mutex_);
    std::erase(ranges_, range);
    return ranges_.empty();
  }

 private:
  static std::string cannot(const std::string& folder) {
    return "cannot share access heat in " + folder + ": ";
  }

  void start_thread() {
    thread_ = base::quiet_thread<std::jthread>([this](const std::stop_token& stop) { run(stop); });
  }

  void run(const std::stop_token& stop) noexcept {
    while (!stop.stop_requested()) {
      std::array<pollfd, 3> ready{{{stop_.get(), POLLIN, 0},
                                   {listener_.get(), POLLIN, 0},
                                   {monitor_.get(), POLLIN, 0}}};  // poll() ignores -1
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      // The monitor first: if it has gone, the next one can be welcomed.
      if (ready[2].revents != 0 && !serve()) dismiss();
      if (ready[1].revents != 0) welcome();
    }
    dismiss();
  }

  void welcome() noexcept {
    UniqueFd caller(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!caller) return;
    if (monitor_) {
      const Answer busy{heat::kVersion, EBUSY, 0, 0};
      static_cast<void>(::send(caller.get(), &busy, sizeof busy, MSG_NOSIGNAL));
    } else {
      monitor_ = std::move(caller);
    }
  }

  void dismiss() noexcept {
    const std::lock_guard guard(mutex_);
    monitor_.reset();
    protection_.close();  // the kernel then unregisters all ranges
  }

  /// Result: false if the monitor has gone, or its message is not valid.
  bool serve() noexcept {
    const ssize_t got = ::recv(monitor_.get(), &request_, sizeof request_, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    const auto size = static_cast<std::size_t>(got);
    const Request& asked = request_.head;
    if (size < sizeof asked || asked.count > request_.ranges.size() ||
        size != sizeof asked + asked.count * sizeof(Range)) {
      return false;
    }
    switch (asked.ask) {
      case Ask::hello: return say_hello();
      case Ask::drop: {
        Answer answer{heat::kVersion, 0, protection_.tells_writes() ? 1U : 0U, 0};
        answer.error = drop(std::span(request_.ranges).first(asked.count));
        return ::send(monitor_.get(), &answer, sizeof answer, MSG_NOSIGNAL) > 0;
      }
    }
    return false;
  }

  bool say_hello() noexcept {
    Answer& answer = hello_.answer;
    {
      const std::lock_guard guard(mutex_);
      answer = {heat::kVersion, 0, 0, 0};
      if (!protection_.is_open()) answer.error = protection_.open();
      for (const SharedRange* const each : ranges_) {
        if (answer.error != 0 || answer.count == hello_.ranges.size()) break;
        answer.error = protection_.include(each->range);
        hello_.ranges[answer.count++] = *each;
      }
      answer.tells_writes = protection_.tells_writes() ? 1 : 0;
    }
    const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!pagemap && answer.error == 0) answer.error = errno;
    return send_with(&hello_, sizeof answer + answer.count * sizeof hello_.ranges[0],
                     pagemap.get());
  }

  bool send_with(void* bytes, std::size_t size, int descriptor) noexcept {
    iovec part{bytes, size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    base::RightsRoom<1> room;
    if (descriptor >= 0) base::put_rights(message, room, {&descriptor, 1});
    return ::sendmsg(monitor_.get(), &message, MSG_NOSIGNAL) > 0;
  }

  /// Drops only pages that are shared now, whatever the monitor asks for.
  int drop(std::span<const Range> wanted) noexcept {
    const std::lock_guard guard(mutex_);
    for (const Range& each : wanted) {
      for (const SharedRange* const shared : ranges_) {
        const Range part{std::max(each.begin, shared->range.begin),
                         std::min(each.end, shared->range.end)};
        if (part.begin >= part.end) continue;
        int error = protection_.protect(part);
        if (error == 0) error = forget_pages(part);
        if (error != 0) return error;
      }
    }
    return 0;
  }

  struct {
    Request head;
    std::array<Range, heat::kMaxRanges> ranges;
  } request_{};
  struct {
    Answer answer;
    std::array<SharedRange, heat::kMaxShares> ranges;
  } hello_{};
  std::uint64_t token_ = base::process_token();
  std::string path_;
  UniqueFd listener_;
  UniqueFd stop_;
  UniqueFd monitor_;  ///< only the thread uses it
  std::mutex mutex_;  ///< guards ranges_ and protection_; held while pages are dropped
  std::vector<const SharedRange*> ranges_;
  WriteProtection protection_;
  std::jthread thread_;
};

/// Held to make, to find and to end the party. The child of a fork forgets the party of its parent:
/// the thread of that party does not exist in the child.
Party* the_party = nullptr;

struct MappedFile {
  std::uint64_t device = 0;  ///< as in SharedRange
  std::uint64_t inode = 0;
};

/// `text`: "fd:01 123", as in /proc/PID/maps.
MappedFile read_mapped_file(std::string_view text) {
  constexpr int kHexadecimal = 16;
  const std::size_t colon = text.find(':');
  const std::size_t space = text.find(' ');
  if (colon == std::string_view::npos || space == std::string_view::npos) return {};
  const auto high = base::read_digits(text.substr(0, colon), kHexadecimal);
  const auto low = base::read_digits(text.substr(colon + 1, space - colon - 1), kHexadecimal);
  return {high.value_or(0) << 32U | low.value_or(0),
          base::read_digits(text.substr(space + 1)).value_or(0)};
}

/// Result: the file that is mapped there; an error unless all pages of the range are shared.
Result<MappedFile> look_at_mapping(Range range) {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t at = range.begin;
  MappedFile file;
  for (std::string line; at < range.end && std::getline(maps, line);) {
    const auto mapped = base::read_maps_line(line);
    if (!mapped || mapped->end <= at) continue;
    if (mapped->begin > at || !mapped->is_shared) break;
    at = mapped->end;
    file = read_mapped_file(mapped->file);
  }
  if (at >= range.end) return file;
  return Error(Errc::bad_argument,
               "cannot share the access heat of memory at " + base::hex(at) +
                   ": it is not a shared mapping (dropping private pages would lose them)");
}

}  // namespace

bool HeatShare::is_wanted() noexcept {
  const char* const folder = std::getenv(heat::kVariable);
  return folder != nullptr && *folder != '\0';
}

Result<HeatShare> HeatShare::of(void* begin, std::size_t bytes, const std::string& name) {
  const char* const folder = std::getenv(heat::kVariable);
  if (!is_wanted()) {
    return Error(Errc::bad_argument,
                 "cannot share access heat: SHMIF_HEAT is not set (set it to a directory)");
  }
  auto entry = std::make_unique<Entry>();
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  entry->shared.range = {address, address + bytes};
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (bytes == 0 || address % page != 0 || bytes % page != 0) {
    return Error(Errc::bad_argument, "cannot share the access heat of parts of a page");
  }
  const auto file = look_at_mapping(entry->shared.range);
  if (!file) return file.error();
  entry->shared.inode = file->inode;
  entry->shared.device = file->device;
  name.copy(&entry->shared.name[0], sizeof entry->shared.name - 1);

  const base::ForkHold hold;
  if (the_party != nullptr && !the_party->belongs_here()) the_party = nullptr;
  if (the_party == nullptr) {
    auto party = std::make_unique<Party>();
    if (auto opened = party->open(folder); !opened) return std::move(opened).error();
    the_party = party.release();
  }
  the_party->add(&entry->shared);
  return HeatShare(std::move(entry));
}

HeatShare::HeatShare(std::unique_ptr<Entry> entry) : entry_(std::move(entry)) {}
HeatShare::HeatShare(HeatShare&&) noexcept = default;
HeatShare& HeatShare::operator=(HeatShare&& other) noexcept {
  std::swap(entry_, other.entry_);
  return *this;
}

HeatShare::~HeatShare() {
  if (!entry_ || !base::is_this_process(entry_->token)) return;
  std::unique_ptr<Party> ends;
  {
    const base::ForkHold hold;
    if (the_party->remove(&entry_->shared)) ends.reset(std::exchange(the_party, nullptr));
  }
}

}  // namespace shmif
