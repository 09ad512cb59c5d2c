#include "instruments/heat/page_scan.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

namespace shmif::perf {
namespace {

// From linux/fs.h of Linux 6.7, because Debian 12's headers do not have it.
struct ScannedPages {
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t categories;
};
struct ScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t walked_to;
  std::uint64_t pages;  ///< address of an array of ScannedPages
  std::uint64_t pages_length;
  std::uint64_t max_pages;
  std::uint64_t inverted;
  std::uint64_t all_of;
  std::uint64_t any_of;
  std::uint64_t returned;
};
constexpr unsigned long kScan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t kWriteProtectable = 1U << 0U;
constexpr std::uint64_t kWritten = 1U << 1U;
constexpr std::uint64_t kPresent = 1U << 3U;
constexpr std::uint64_t kSwapped = 1U << 4U;  ///< or the page was dropped while it was protected
constexpr std::uint64_t kZeroes = 1U << 5U;   ///< the page of zeroes, mapped for a read
constexpr std::uint64_t kProtectFound = 1U << 0U;  ///< a flag: PM_SCAN_WP_MATCHING

constexpr std::uint64_t kFilePresent = 1ULL << 63U;

int scan_once(int file, ScanArguments& arguments) noexcept {
  int got = 0;
  do {
    got = ::ioctl(file, kScan, &arguments);
  } while (got < 0 && errno == EINTR);
  return got;
}

ScanArguments arguments_for(AddressRange range, ScannedPages* pages, std::size_t length) noexcept {
  ScanArguments arguments{};
  arguments.size = sizeof arguments;
  arguments.begin = range.begin;
  arguments.end = range.end;
  arguments.pages = reinterpret_cast<std::uintptr_t>(pages);
  arguments.pages_length = length;
  arguments.all_of = kPresent;
  arguments.returned = kPresent | kWritten | kWriteProtectable;
  return arguments;
}

SeenPages seen(const ScannedPages& pages) noexcept {
  const bool known = (pages.categories & kWriteProtectable) != 0;
  return {{pages.begin, pages.end},
          {true, known ? std::optional((pages.categories & kWritten) != 0) : std::nullopt}};
}

void append(std::vector<SeenPages>& to, const SeenPages& next) {
  const bool joins = !to.empty() && to.back().range.end == next.range.begin &&
                     to.back().seen.written == next.seen.written;
  if (joins) {
    to.back().range.end = next.range.end;
  } else {
    to.push_back(next);
  }
}

Error cannot_scan(int number) {
  return Error::from_errno(number, "cannot read which pages a process uses");
}

/// For a process that has ended, the kernel finds no pages, as for a process that has not touched
/// any. But its pagemap is then empty. If the pagemap is not empty, the process was alive during
/// the whole scan before.
Result<void> expect_alive(int file) {
  std::uint64_t entry = 0;
  const ssize_t got = ::pread(file, &entry, sizeof entry, 0);
  if (got < 0) return cannot_scan(errno);
  return got == 0 ? Result<void>(cannot_scan(ESRCH)) : Result<void>();
}

/// Scans the whole range of `wanted`, in as many calls as that needs; `pages_length` says how many
/// ranges one call may find.
template <class Seen>
Result<std::vector<SeenPages>> scan_whole(int file, ScanArguments wanted, Seen seen_of) {
  std::vector<SeenPages> all;
  std::vector<ScannedPages> found(wanted.pages_length);
  wanted.pages = reinterpret_cast<std::uintptr_t>(found.data());
  while (wanted.begin < wanted.end) {
    ScanArguments arguments = wanted;
    const int count = scan_once(file, arguments);
    if (count < 0) return cannot_scan(errno);
    for (int i = 0; i < count; ++i) append(all, seen_of(found[static_cast<std::size_t>(i)]));
    if (arguments.walked_to <= wanted.begin) return cannot_scan(ESRCH);
    wanted.begin = arguments.walked_to;
  }
  if (auto alive = expect_alive(file); !alive) return std::move(alive).error();
  return all;
}

}  // namespace

std::uint64_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Result<PageScan> PageScan::over(UniqueFd pagemap) {
  PageScan scan(std::move(pagemap));
  ScanArguments arguments = arguments_for({}, nullptr, 0);
  if (scan_once(scan.file_.get(), arguments) >= 0) return scan;
  if (errno != ENOTTY && errno != EINVAL) return cannot_scan(errno);
  std::uint64_t entry = 0;
  if (::pread(scan.file_.get(), &entry, sizeof entry, 0) < 0) {
    return Error(Errc::not_supported, "not the pagemap of a process");
  }
  scan.means_ = Means::file;
  return scan;
}

Result<PageScan> PageScan::of(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return Error::from_errno(errno, "cannot open " + path,
                             errno == EACCES || errno == EPERM
                                 ? "run as the process's user or as root; see ptrace_scope"
                                 : "");
  }
  return over(std::move(file));
}

Result<std::vector<SeenPages>> PageScan::present(AddressRange range) const {
  return means_ == Means::scan ? by_scan(range) : by_file(range);
}

Result<bool> PageScan::is_known(std::uint64_t page) const {
  ScannedPages found{};
  ScanArguments arguments = arguments_for({page, page + page_bytes()}, &found, 1);
  arguments.all_of = 0;
  arguments.any_of = kPresent | kSwapped;
  const int count = scan_once(file_.get(), arguments);
  if (count < 0) return cannot_scan(errno);
  if (count > 0) return true;
  if (auto alive = expect_alive(file_.get()); !alive) return std::move(alive).error();
  return false;
}

Result<std::vector<SeenPages>> PageScan::take_written(AddressRange range) const {
  ScanArguments wanted = arguments_for(range, nullptr, 4096);
  wanted.flags = kProtectFound;
  // Do not protect a page that was never touched or only read. A write must first bring it into the
  // page table, so it is noticed. So the kernel makes no page tables for holes.
  wanted.inverted = kZeroes;
  wanted.all_of = kWriteProtectable | kWritten | kZeroes;
  wanted.any_of = kPresent | kSwapped;
  wanted.returned = kWritten;
  return scan_whole(file_.get(), wanted, [](const ScannedPages& pages) {
    return SeenPages{{pages.begin, pages.end}, {true, true}};
  });
}

Result<std::vector<SeenPages>> PageScan::by_scan(AddressRange range) const {
  return scan_whole(file_.get(), arguments_for(range, nullptr, 512), seen);
}

Result<std::vector<SeenPages>> PageScan::by_file(AddressRange range) const {
  constexpr std::size_t kAtOnce = 4096;
  const std::uint64_t page = page_bytes();
  std::vector<SeenPages> all;
  std::vector<std::uint64_t> entries(kAtOnce);
  while (range.begin < range.end) {
    const std::uint64_t wanted = std::min<std::uint64_t>(range.bytes() / page, kAtOnce);
    const ssize_t got = ::pread(file_.get(), entries.data(), wanted * sizeof entries[0],
                                static_cast<off_t>(range.begin / page * sizeof entries[0]));
    if (got < 0) return cannot_scan(errno);
    const std::size_t count = static_cast<std::size_t>(got) / sizeof entries[0];
    if (count == 0) return cannot_scan(ESRCH);
    for (std::size_t i = 0; i < count; ++i, range.begin += page) {
      if ((entries[i] & kFilePresent) != 0) {
        append(all, {{range.begin, range.begin + page}, {true, std::nullopt}});
      }
    }
  }
  return all;
}

Result<std::vector<Sighting>> PageScan::present(const std::vector<std::uint64_t>& pages) const {
  std::vector<Sighting> all;
  all.reserve(pages.size());
  const Sighting absent{false, means_ == Means::scan ? std::optional(false) : std::nullopt};
  for (const std::uint64_t page : pages) {
    const AddressRange range{page, page + page_bytes()};
    if (means_ == Means::scan) {
      ScannedPages found{};
      ScanArguments arguments = arguments_for(range, &found, 1);
      const int count = scan_once(file_.get(), arguments);
      if (count < 0) return cannot_scan(errno);
      if (arguments.walked_to < range.end) return cannot_scan(ESRCH);
      all.push_back(count == 0 ? absent : seen(found).seen);
    } else {
      auto found = by_file(range);
      if (!found) return std::move(found).error();
      all.push_back(found->empty() ? absent : found->front().seen);
    }
  }
  if (auto alive = expect_alive(file_.get()); !alive) return std::move(alive).error();
  return all;
}

}  // namespace shmif::perf
