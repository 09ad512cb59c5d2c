#include "perf/heat/damon_trace.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>

#include "base/quantity.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kInstances = "/sys/kernel/tracing/instances/";
constexpr const char* kEvent = "/events/damon/damon_aggregated/";

/// Reads a number that is followed by `end`, and removes both.
bool take_number(std::string_view& text, std::string_view end, std::uint64_t& into) {
  const std::size_t at = text.find(end);
  if (at == std::string_view::npos) return false;
  const auto number = base::read_digits(text.substr(0, at));
  if (!number) return false;
  into = *number;
  text.remove_prefix(at + end.size());
  return true;
}

}  // namespace

Result<DamonTraced> read_damon_trace(std::string_view line) {
  const Error other(Errc::bad_argument, "not as the tracepoint damon_aggregated prints");
  constexpr std::string_view kName = "damon_aggregated: target_id=";
  constexpr std::string_view kCount = " nr_regions=";
  const std::size_t at = line.find(kName);
  if (at == std::string_view::npos) return other;
  line.remove_prefix(at + kName.size());
  DamonTraced traced;
  std::uint64_t accesses = 0;
  if (!take_number(line, kCount, traced.target) || !take_number(line, " ", traced.regions) ||
      !take_number(line, "-", traced.region.begin) || !take_number(line, ": ", traced.region.end) ||
      !take_number(line, " ", accesses)) {
    return other;
  }
  const auto age = base::read_digits(line);
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
  if (!age || *age > kMax || accesses > kMax || traced.region.begin >= traced.region.end) {
    return other;
  }
  traced.region.accesses = static_cast<std::uint32_t>(accesses);
  traced.region.age = static_cast<std::uint32_t>(*age);
  return traced;
}

Result<DamonTrace> DamonTrace::open(std::size_t index, const KernelFiles& files) {
  const std::string folder =
      kInstances + ("shmif-" + std::to_string(::getpid())) + '-' + std::to_string(index);
  constexpr mode_t kPrivate = 0700;
  const bool made = ::mkdir(files.path(folder).c_str(), kPrivate) == 0;
  if (!made && errno != EEXIST) {
    return Error::from_errno(errno, "cannot make " + files.path(folder),
                             "this kernel tells DAMON's regions by tracefs only: "
                             "mount -t tracefs none /sys/kernel/tracing");
  }
  DamonTrace trace(files, folder);
  const std::string pipe = files.path(folder + "/trace_pipe");
  trace.pipe_.reset(::open(pipe.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!trace.pipe_) return Error::from_errno(errno, "cannot open " + pipe);
  return trace;
}

DamonTrace::DamonTrace(DamonTrace&& other) noexcept
    : files_(std::move(other.files_)),
      folder_(std::exchange(other.folder_, {})),
      pipe_(std::move(other.pipe_)),
      unread_(std::move(other.unread_)) {}

DamonTrace::~DamonTrace() {
  pipe_.reset();  // an instance cannot be removed while its pipe is open
  if (!folder_.empty()) ::rmdir(files_.path(folder_).c_str());
}

Result<void> DamonTrace::begin(pid_t thread) const {
  const std::string filter = "common_pid == " + std::to_string(thread) + '\n';
  if (auto done = files_.write(folder_ + kEvent + "filter", filter); !done) return done;
  return files_.write(folder_ + kEvent + "enable", "1\n");
}

/// Each window has its own lines. The last complete window counts.
std::vector<Region> DamonTrace::regions() {
  std::array<char, 16384> part;
  for (ssize_t got = 0; (got = ::read(pipe_.get(), part.data(), part.size())) > 0;) {
    unread_.append(part.data(), static_cast<std::size_t>(got));
  }
  std::vector<Region> whole;
  std::vector<Region> window;
  std::size_t taken = 0;
  for (std::size_t at = 0, end = 0; (end = unread_.find('\n', at)) != std::string::npos;) {
    const auto traced = read_damon_trace(std::string_view(unread_).substr(at, end - at));
    at = end + 1;
    if (!traced) continue;
    // The regions of a window come in the order of their addresses, so a lower address begins a new
    // window.
    if (!window.empty() && traced->region.begin < window.back().end) window.clear();
    window.push_back(traced->region);
    if (window.size() < traced->regions) continue;
    whole = std::exchange(window, {});
    taken = at;
  }
  unread_.erase(0, taken);
  constexpr std::size_t kMaxText = std::size_t{16} << 20U;
  if (unread_.size() > kMaxText) unread_.clear();
  return whole;
}

}  // namespace shmif::perf
