#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "base/descriptors.hpp"
#include "base/foreign_socket.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/source.hpp"
#include "shmif/heat_wire.hpp"

namespace shmif::perf {
namespace {

using heat::Ask;
using heat::Request;
using heat::SharedRange;

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// A process does not answer while it is stopped. We wait at most this long for an answer.
constexpr milliseconds kAnswerPatience{1000};
/// And so much longer for each page that it shall drop: on a busy machine this takes it a thousand
/// times the microsecond that it needs.
constexpr milliseconds kPagePatience{1};
/// We wait at least this long to check the descriptor that it sends, even if other processes have
/// used up the time.
constexpr milliseconds kLeastPatience{500};
/// The time that the target loses when it touches a page again, and once more when it writes there
/// (measured: 1.0 to 1.4 us).
constexpr std::chrono::nanoseconds kFaultTime(1200);
/// To protect a page that was never touched, the kernel makes a page table for it and its 511
/// neighbours. For this many pages (16 GiB), all page tables take 32 MiB. In larger targets, only
/// pages that have an entry are protected. The first access to another page then may be a read or a
/// write.
constexpr std::uint64_t kMaxPagesToProtect = std::uint64_t{4} << 20U;

/// Another process sent the name, so it may lack its final zero.
std::string name_in(const SharedRange& range) {
  const char* const begin = &range.name[0];
  return {begin, ::strnlen(begin, sizeof range.name)};
}

/// Without this check, a target could send any other file, and we would read it with our own
/// rights.
constexpr const char* kNoPagemap = "the target gave no pagemap of its own";

class Connection {
 public:
  /// `path`: to the socket, short enough. `name`: for messages.
  static Result<Connection> to(const std::string& path, const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(&address.sun_path[0], path.c_str(), path.size());
    UniqueFd file(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!file ||
        ::connect(file.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      return Error::from_errno(errno, "cannot connect to " + name);
    }
    Connection connection;
    connection.file_ = base::ForeignSocket(std::move(file));
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(connection.file_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
      return Error::from_errno(errno, "cannot ask who listens at " + name);
    }
    connection.pid_ = peer.pid;
    return connection;
  }

  /// The process that made the socket, as seen from here.
  pid_t pid() const noexcept { return pid_; }

  struct Hello {
    std::vector<NamedRange> ranges;
    bool tells_writes = false;
    UniqueFd pagemap;
  };
  Result<Hello> hello() {
    if (auto sent = ask_hello(); !sent) return sent.error();
    return hear_hello(Clock::now() + kAnswerPatience);
  }
  /// The two halves of hello(), so that many targets can be asked at the same time.
  Result<void> ask_hello() { return send(Ask::hello, {}); }
  Result<Hello> hear_hello(Clock::time_point until) {
    UniqueFd pagemap;
    const auto size = receive(&pagemap, until);
    if (!size) return size.error();
    const heat::Answer& answer = answer_->head;
    if (*size != sizeof answer + answer.count * sizeof(SharedRange)) return malformed();
    Hello hello;
    for (std::size_t i = 0; i < answer.count; ++i) {
      const SharedRange& each = answer_->ranges[i];
      hello.ranges.push_back(
          {{each.range.begin, each.range.end}, name_in(each), each.inode, each.device});
    }
    hello.tells_writes = answer.tells_writes != 0;
    hello.pagemap = std::move(pagemap);
    return hello;
  }

  Result<void> drop(const std::vector<heat::Range>& ranges) {
    for (std::size_t at = 0; at < ranges.size(); at += heat::kMaxRanges) {
      const std::size_t count = std::min<std::size_t>(ranges.size() - at, heat::kMaxRanges);
      if (auto sent = send(Ask::drop, {&ranges[at], count}); !sent) return sent;
      const auto until = Clock::now() + kAnswerPatience + count * kPagePatience;
      if (const auto size = receive(nullptr, until); !size) return size.error();
    }
    return {};
  }

 private:
  static Error malformed() {
    return {Errc::not_supported, "the target answers in an unknown way (other version of shmif?)"};
  }
  static Error gone() { return Error::from_errno(ESRCH, "the target answers no more"); }

  Result<void> send(Ask ask, std::span<const heat::Range> ranges) {
    Request request{ask, static_cast<std::uint32_t>(ranges.size())};
    std::array<iovec, 2> parts{
        {{&request, sizeof request},
         {const_cast<heat::Range*>(ranges.data()), ranges.size() * sizeof(heat::Range)}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = ranges.empty() ? 1 : 2;
    // A target that has another monitor says so and closes, perhaps before our request arrives.
    if (::sendmsg(file_.get(), &message, MSG_NOSIGNAL) > 0 || errno == EPIPE) return {};
    return gone();
  }

  /// Receives one answer. `descriptor`: takes the descriptor that comes with it; nullptr if none
  /// may come.
  Result<std::size_t> receive(UniqueFd* descriptor, Clock::time_point until) {
    using From = base::ForeignSocket::Status;
    const auto left = [&] { return std::chrono::ceil<milliseconds>(until - Clock::now()); };
    base::DescriptorWish wish{.kinds = static_cast<unsigned>(base::DescriptorKind::pagemap),
                              .most = descriptor == nullptr ? std::size_t{0} : std::size_t{1},
                              .name = "pagemap",
                              .patience = std::max(left(), kLeastPatience)};
    std::vector<UniqueFd> descriptors;
    base::ForeignSocket::Received got;
    for (;;) {  // until there is an answer or the time is up
      got = file_.receive(std::as_writable_bytes(std::span(answer_.get(), 1)), wish, descriptors);
      if (got.status != From::none) break;
      pollfd ready{file_.get(), POLLIN, 0};
      const int waited = ::poll(&ready, 1, static_cast<int>(std::max<long>(left().count(), 0)));
      if (waited == 0) return Error(Errc::timed_out, "the target does not answer (is it stopped?)");
    }
    if (got.status == From::refused)
      return Error(Errc::not_supported, std::string(kNoPagemap) + ": " + file_.why());
    if (got.status == From::closed) return gone();
    if (!descriptors.empty()) *descriptor = std::move(descriptors.front());
    const heat::Answer& answer = answer_->head;
    if (got.bytes < sizeof answer || answer.version != heat::kVersion ||
        answer.count > answer_->ranges.size()) {
      return malformed();
    }
    if (answer.error == EBUSY) {
      return Error(Errc::busy, "another monitor watches the target (end it first)");
    }
    if (answer.error != 0) {
      return Error::from_errno(answer.error, "the target cannot tell which pages it touches",
                               answer.error == EPERM
                                   ? "a sandbox forbids it userfaultfd(2)"
                                   : "Linux 5.19 with CONFIG_USERFAULTFD is needed");
    }
    return got.bytes;
  }

  struct AnswerBuffer {
    heat::Answer head;
    std::array<SharedRange, heat::kMaxShares> ranges;
  };

  base::ForeignSocket file_;
  pid_t pid_ = 0;
  std::unique_ptr<AnswerBuffer> answer_ = std::make_unique<AnswerBuffer>();
};

class Client : public HeatSource {
 public:
  /// ask_hello() has been called on `connection`.
  static Result<std::unique_ptr<HeatSource>> begin(Connection connection,
                                                   std::uint64_t pages_of_all,
                                                   Clock::time_point until) {
    auto hello = connection.hear_hello(until);
    if (!hello) return std::move(hello).error();
    if (!hello->pagemap) return Error(Errc::not_supported, kNoPagemap);
    auto scan = PageScan::over(std::move(hello->pagemap));
    if (!scan) return std::move(scan).error();
    std::unique_ptr<Client> client(new Client(std::move(connection), *std::move(scan)));
    client->ranges_ = std::move(hello->ranges);
    client->pages_of_all_ = pages_of_all;
    client->describe(hello->tells_writes);
    return std::unique_ptr<HeatSource>(std::move(client));
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return looking_; }
  bool burdens_target() const noexcept override { return true; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return faults_ * kFaultTime;
  }

  Result<std::vector<NamedRange>> ranges() override {
    auto hello = connection_.hello();
    if (!hello) return std::move(hello).error();
    ranges_ = std::move(hello->ranges);
    describe(hello->tells_writes);
    return ranges_;
  }

  Result<void> forget(Regions& regions) override {
    std::vector<heat::Range> wanted;
    if (looking_ == Looking::all_pages) {
      for (const AddressRange& range : regions.target()) wanted.push_back({range.begin, range.end});
    } else {
      chosen_ = regions.choose();
      is_protected_.assign(chosen_.size(), true);
      if (auto found = find_unprotected(); !found) return found;
      for (std::size_t i = 0; i < chosen_.size(); ++i) {
        if (is_protected_[i]) wanted.push_back({chosen_[i], chosen_[i] + page_bytes()});
      }
    }
    return connection_.drop(wanted);
  }

  Result<void> look(Regions& regions) override {
    faults_ = 0;
    if (looking_ == Looking::chosen_pages) {
      auto seen = scan_.present(chosen_);
      if (!seen) return std::move(seen).error();
      for (std::size_t i = 0; i < seen->size(); ++i) {
        const bool is_unknown = !is_protected_[i] && (*seen)[i].accessed;
        if (!tells_writes_ || is_unknown) (*seen)[i].written.reset();
      }
      for (const Sighting& each : *seen) count_faults(each, 1);
      regions.record(*seen);
      return {};
    }
    for (const AddressRange& range : regions.target()) {
      auto seen = scan_.present(range);
      if (!seen) return std::move(seen).error();
      if (seen->empty() && tells_writes_)
        seen->push_back({{range.begin, range.begin}, {false, false}});
      if (!tells_writes_) {
        for (SeenPages& each : *seen) each.seen.written.reset();
      }
      for (const SeenPages& each : *seen) {
        count_faults(each.seen, each.range.bytes() / page_bytes());
      }
      regions.record_pages(*seen);
    }
    return {};
  }

 private:
  Client(Connection connection, PageScan scan)
      : connection_(std::move(connection)), scan_(std::move(scan)) {}

  /// Finds the chosen pages that will not be protected.
  Result<void> find_unprotected() {
    if (!is_huge_ || !tells_writes_) return {};
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const auto known = scan_.is_known(chosen_[i]);
      if (!known) return known.error();
      is_protected_[i] = *known;
    }
    return {};
  }

  void count_faults(const Sighting& seen, std::uint64_t pages) noexcept {
    const int of_a_page = (seen.accessed ? 1 : 0) + (seen.written.value_or(false) ? 1 : 0);
    faults_ += of_a_page * static_cast<std::int64_t>(pages);
  }

  void describe(bool tells_writes) {
    std::uint64_t pages = 0;
    for (const NamedRange& each : ranges_) pages += each.range.bytes() / page_bytes();
    looking_ = pages <= pages_of_all_ ? Looking::all_pages : Looking::chosen_pages;
    is_huge_ = pages > kMaxPagesToProtect;
    tells_writes_ = tells_writes && scan_.means() == PageScan::Means::scan;
    provenance_ = {"client", looking_ == Looking::all_pages ? "page" : "sampled page",
                   tells_writes_ ? "userfaultfd, PAGEMAP_SCAN of /proc/PID/pagemap"
                                 : "userfaultfd, /proc/PID/pagemap",
                   tells_writes_ ? "" : "the kernel has no asynchronous write protection (6.7)"};
  }

  Connection connection_;
  PageScan scan_;
  std::vector<NamedRange> ranges_;
  std::uint64_t pages_of_all_ = kMaxPagesOfAll;
  Looking looking_ = Looking::all_pages;
  bool tells_writes_ = true;
  std::int64_t faults_ = 0;  ///< of the target, caused by the last sample
  bool is_huge_ = false;
  std::vector<std::uint64_t> chosen_;
  std::vector<bool> is_protected_;  ///< for each chosen page
  HeatProvenance provenance_;
};

std::string path_of(const UniqueFd& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

/// The directory in which processes made their sockets. Another user may have named it, and may
/// exchange what is in it at any time.
class ClientFolder {
 public:
  static Result<ClientFolder> open(const std::string& name, const KernelFiles& files) {
    auto file = files.open_folder(name);
    if (!file) return std::move(file).error();
    ClientFolder folder;
    folder.name_ = name;
    folder.file_ = *std::move(file);
    return folder;
  }

  Result<std::vector<std::string>> sockets() const { return KernelFiles().list(path_of(file_)); }

  /// Fails for the socket of a killed process, because the kernel refuses the connection.
  Result<Connection> connect(const std::string& socket) const {
    const std::string name = name_ + '/' + socket;
    const UniqueFd file(::openat(file_.get(), socket.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct statx found{};
    struct statx here{};
    // What is mounted there could be a file system that does not answer, so do not ask it.
    constexpr int kHow = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    if (!file || ::statx(file.get(), "", kHow, STATX_TYPE, &found) != 0 ||
        ::statx(file_.get(), "", kHow, STATX_TYPE, &here) != 0 || !S_ISSOCK(found.stx_mode) ||
        found.stx_dev_major != here.stx_dev_major || found.stx_dev_minor != here.stx_dev_minor) {
      return Error(Errc::not_supported, name + " is no socket");
    }
    return Connection::to(path_of(file), name);
  }

 private:
  std::string name_;
  UniqueFd file_;
};

}  // namespace

Result<std::string> heat_folder_of(pid_t pid, const KernelFiles& files) {
  const auto text = files.read("/proc/" + std::to_string(pid) + "/environ");
  if (!text) return text.error();
  const std::string wanted = std::string(heat::kVariable) + '=';
  for (const std::string_view entry : base::split(*text, '\0')) {
    if (entry.starts_with(wanted)) return std::string(entry.substr(wanted.size()));
  }
  return std::string();
}

namespace {

struct AskedClient {
  Connection connection;
  Result<void> asked;
};

Result<AskedClient> ask_client_at(const ClientFolder& folder, const std::string& name) {
  auto connection = folder.connect(name);
  if (!connection) return std::move(connection).error();
  auto asked = connection->ask_hello();
  return AskedClient{*std::move(connection), std::move(asked)};
}

HeatClient hear_client(AskedClient asked, std::uint64_t pages_of_all, Clock::time_point until) {
  HeatClient client;
  client.pid = asked.connection.pid();
  auto source = asked.asked ? Client::begin(std::move(asked.connection), pages_of_all, until)
                            : Result<std::unique_ptr<HeatSource>>(asked.asked.error());
  if (source) {
    client.source = *std::move(source);
  } else {
    client.reason = source.error().message;
    client.has_left = source.error().code == std::errc::no_such_process;
  }
  return client;
}

}  // namespace

Result<HeatClient> heat_client_at(const std::string& folder, const std::string& name,
                                  std::uint64_t pages_of_all) {
  const auto place = ClientFolder::open(folder, KernelFiles());
  if (!place) return place.error();
  auto asked = ask_client_at(*place, name);
  if (!asked) return std::move(asked).error();
  return hear_client(*std::move(asked), pages_of_all, Clock::now() + kAnswerPatience);
}

Result<std::vector<HeatClient>> heat_clients(const std::string& folder,
                                             const std::function<bool()>& stops,
                                             const KernelFiles& files) {
  const auto place = ClientFolder::open(folder, files);
  if (!place) return place.error();
  const auto names = place->sockets();
  if (!names) return names.error();
  std::vector<AskedClient> asked;
  for (const std::string& name : *names) {
    if (auto client = ask_client_at(*place, name)) asked.push_back(*std::move(client));
  }
  const auto until = Clock::now() + kAnswerPatience;
  std::vector<HeatClient> clients;
  for (AskedClient& each : asked) {
    if (stops()) break;
    clients.push_back(hear_client(std::move(each), kMaxPagesOfAll, until));
  }
  return clients;
}

Result<std::unique_ptr<HeatSource>> watch_by_client(pid_t process, const std::string& folder,
                                                    const std::function<void()>& found,
                                                    const KernelFiles& files) {
  const std::string name = "process " + std::to_string(process);
  if (folder.empty()) {
    return Error(Errc::not_supported, name + " shares no access heat (SHMIF_HEAT is not set)");
  }
  const auto place = ClientFolder::open(folder, files);
  if (!place) return place.error();
  const auto names = place->sockets();
  if (!names) return names.error();
  for (const std::string& each : *names) {
    auto connection = place->connect(each);
    if (!connection || connection->pid() != process) continue;
    found();
    if (auto asked = connection->ask_hello(); !asked) return std::move(asked).error();
    return Client::begin(*std::move(connection), kMaxPagesOfAll, Clock::now() + kAnswerPatience);
  }
  return Error(Errc::not_supported, name + " shares no access heat in " + folder +
                                        " (only programs that use shmif's library do, if they are "
                                        "started with SHMIF_HEAT=" +
                                        folder + ')');
}

HeatFolder::HeatFolder() {
  auto made = base::TemporaryFolder::make("shmifperf-heat");
  if (!made) {
    reason_ = made.error().message;
    return;
  }
  folder_.emplace(*std::move(made));
  if (const char* const before = std::getenv(heat::kVariable)) before_ = before;
  ::setenv(heat::kVariable, path().c_str(), 1);
}

HeatFolder::~HeatFolder() {
  if (!folder_) return;
  if (before_) {
    ::setenv(heat::kVariable, before_->c_str(), 1);
  } else {
    ::unsetenv(heat::kVariable);
  }
}

}  // namespace shmif::perf
