#include "perf/heat/damon.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>

#include "base/quantity.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kAdmin = "/sys/kernel/mm/damon/admin/kdamonds/";
constexpr const char* kState = "0/state";
constexpr const char* kContext = "0/contexts/0/";
constexpr const char* kScheme = "0/contexts/0/schemes/0/";
constexpr const char* kTracing = "/sys/kernel/tracing";

const char* word_of(DamonSpace space) {
  switch (space) {
    case DamonSpace::vaddr: return "vaddr";
    case DamonSpace::fvaddr: return "fvaddr";
    case DamonSpace::paddr: return "paddr";
  }
  return "";
}

/// The first word of a file.
Result<std::string> word_in(const KernelFiles& files, const std::string& name) {
  auto text = files.read(name);
  if (!text) return text;
  text->resize(std::min(text->find_first_of(" \n"), text->size()));
  return text;
}

/// A number behind which `end` comes; both are taken away.
bool take_number(std::string_view& text, std::string_view end, std::uint64_t& into) {
  const std::size_t at = text.find(end);
  if (at == std::string_view::npos) return false;
  const auto number = base::read_digits(text.substr(0, at));
  if (!number) return false;
  into = *number;
  text.remove_prefix(at + end.size());
  return true;
}

Result<Region> read_tried_region(const KernelFiles& files, const std::string& folder) {
  Region region;
  const auto begin = files.read_number(folder + "/start");
  const auto end = files.read_number(folder + "/end");
  const auto accesses = files.read_number(folder + "/nr_accesses");
  const auto age = files.read_number(folder + "/age");
  for (const auto* const each : {&begin, &end, &accesses, &age}) {
    if (!*each) return each->error();
  }
  region.begin = *begin;
  region.end = *end;
  region.accesses = static_cast<std::uint32_t>(*accesses);
  region.age = static_cast<std::uint32_t>(*age);
  return region;
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
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (!age || *age > kMost || accesses > kMost || traced.region.begin >= traced.region.end) {
    return other;
  }
  traced.region.accesses = static_cast<std::uint32_t>(accesses);
  traced.region.age = static_cast<std::uint32_t>(*age);
  return traced;
}

Result<void> DamonContext::write(const std::string& name, const std::string& text) const {
  return files_.write(kAdmin + name, text + '\n');
}
Result<void> DamonContext::write(const std::string& name, std::uint64_t number) const {
  return write(name, std::to_string(number));
}

Result<DamonContext> DamonContext::begin(const DamonSetup& setup, const KernelFiles& files) {
  const std::string number = std::string(kAdmin) + "nr_kdamonds";
  if (!files.has(number)) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files.path(number) +
                                          " does not exist (a kernel with CONFIG_DAMON_SYSFS, and "
                                          "root, are needed)");
  }
  const auto running = files.read_number(number);
  if (!running) return running.error();
  if (*running != 0) {
    return Error(Errc::busy, "cannot use DAMON: " + files.path(number) + " is " +
                                 std::to_string(*running) +
                                 ", so somebody else uses it (end what does, first)");
  }
  DamonContext context(files);
  if (auto created = context.write("nr_kdamonds", 1); !created) return std::move(created).error();
  context.is_ours_ = true;
  if (auto set = context.set_up(setup); !set) return std::move(set).error();
  return context;
}

DamonContext::DamonContext(DamonContext&& other) noexcept
    : files_(std::move(other.files_)),
      is_ours_(std::exchange(other.is_ours_, false)),
      trace_(std::exchange(other.trace_, {})),
      pipe_(std::move(other.pipe_)),
      unread_(std::move(other.unread_)) {}

DamonContext::~DamonContext() {
  if (is_ours_) {
    // One that has ended by itself refuses this.
    static_cast<void>(write(kState, "off"));
    static_cast<void>(write("nr_kdamonds", 0));
  }
  pipe_.reset();
  if (!trace_.empty()) ::rmdir(files_.path(trace_).c_str());
}

Result<void> DamonContext::set_up(const DamonSetup& setup) {
  const std::string context = kContext;
  if (auto done = write("0/contexts/nr_contexts", 1); !done) return done;
  const std::string available = std::string(kAdmin) + context + "avail_operations";
  const std::string word = word_of(setup.space);
  if (const auto words = files_.read(available)) {
    if (('\n' + *words).find('\n' + word + '\n') == std::string::npos) {
      return Error(Errc::not_supported,
                   "cannot use DAMON: " + files_.path(available) + " has no " + word);
    }
  }
  if (auto done = write(context + "operations", word); !done) return done;
  if (auto done = set_attributes(setup.attributes); !done) return done;
  if (auto done = set_targets(setup); !done) return done;
  if (auto done = prepare_results(); !done) return done;
  return write(kState, "on");
}

Result<void> DamonContext::set_attributes(const HeatAttributes& attributes) const {
  const std::string intervals = std::string(kContext) + "monitoring_attrs/intervals/";
  const std::string regions = std::string(kContext) + "monitoring_attrs/nr_regions/";
  const auto number = [](std::chrono::microseconds time) {
    return static_cast<std::uint64_t>(time.count());
  };
  const std::array<std::pair<std::string, std::uint64_t>, 5> values{
      {{intervals + "sample_us", number(attributes.sampling)},
       {intervals + "aggr_us", number(attributes.aggregation)},
       {intervals + "update_us", number(attributes.update)},
       {regions + "min", attributes.min_regions},
       {regions + "max", attributes.max_regions}}};
  for (const auto& [name, value] : values) {
    if (auto done = write(name, value); !done) return done;
  }
  return {};
}

Result<void> DamonContext::set_targets(const DamonSetup& setup) const {
  const std::string targets = std::string(kContext) + "targets/";
  if (auto done = write(targets + "nr_targets", setup.targets.size()); !done) return done;
  for (std::size_t i = 0; i < setup.targets.size(); ++i) {
    const DamonTarget& target = setup.targets[i];
    const std::string folder = targets + std::to_string(i);
    if (setup.space != DamonSpace::paddr) {
      const auto pid = static_cast<std::uint64_t>(target.pid);
      if (auto done = write(folder + "/pid_target", pid); !done) return done;
    }
    if (setup.space == DamonSpace::vaddr) continue;
    if (auto done = write(folder + "/regions/nr_regions", target.ranges.size()); !done) return done;
    for (std::size_t k = 0; k < target.ranges.size(); ++k) {
      const std::string region = folder + "/regions/" + std::to_string(k);
      if (auto done = write(region + "/start", target.ranges[k].begin); !done) return done;
      if (auto done = write(region + "/end", target.ranges[k].end); !done) return done;
    }
  }
  return {};
}

/// A scheme that any region is subject to, and that only counts.
Result<void> DamonContext::prepare_results() {
  const std::string schemes = std::string(kContext) + "schemes/nr_schemes";
  if (auto done = write(schemes, 1); !done) return done;
  if (!files_.has(std::string(kAdmin) + kScheme + "tried_regions")) {
    if (auto removed = write(schemes, 0); !removed) return removed;
    return prepare_trace();
  }
  const std::string pattern = std::string(kScheme) + "access_pattern/";
  for (const char* const each : {"sz", "nr_accesses", "age"}) {
    if (auto done = write(pattern + each + "/min", 0); !done) return done;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    const bool is_size = std::string_view(each) == "sz";
    const std::uint64_t most = is_size ? std::numeric_limits<std::uint64_t>::max() : kMost;
    if (auto done = write(pattern + each + "/max", most); !done) return done;
  }
  return write(std::string(kScheme) + "action", "stat");
}

Result<void> DamonContext::prepare_trace() {
  const std::string instance =
      std::string(kTracing) + "/instances/shmif-" + std::to_string(::getpid());
  constexpr mode_t kPrivate = 0700;
  const bool made = ::mkdir(files_.path(instance).c_str(), kPrivate) == 0;
  if (!made && errno != EEXIST) {
    return Error::from_errno(errno, "cannot make " + files_.path(instance),
                             "this kernel tells DAMON's regions by tracefs only: "
                             "mount -t tracefs none /sys/kernel/tracing");
  }
  trace_ = instance;
  if (auto done = files_.write(instance + "/events/damon/damon_aggregated/enable", "1\n"); !done) {
    return done;
  }
  const std::string pipe = files_.path(instance + "/trace_pipe");
  pipe_.reset(::open(pipe.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!pipe_) return Error::from_errno(errno, "cannot open " + pipe);
  return {};
}

Result<bool> DamonContext::is_on() const {
  const auto state = word_in(files_, std::string(kAdmin) + kState);
  if (!state) return state.error();
  return *state == "on";
}

Result<void> DamonContext::commit(const HeatAttributes& attributes) {
  if (auto done = set_attributes(attributes); !done) return done;
  return write(kState, "commit");
}

const char* DamonContext::means() const noexcept {
  return trace_.empty() ? "DAMON, tried_regions of its schemes" : "DAMON, damon:damon_aggregated";
}

Result<std::vector<Region>> DamonContext::regions() {
  return trace_.empty() ? tried_regions() : traced_regions();
}

Result<std::vector<Region>> DamonContext::tried_regions() const {
  if (auto done = write(kState, "update_schemes_tried_regions"); !done) {
    return std::move(done).error();
  }
  const std::string folder = std::string(kAdmin) + kScheme + "tried_regions";
  const auto names = files_.list(folder);
  if (!names) return names.error();
  std::vector<Region> regions;
  for (const std::string& name : *names) {
    if (!base::read_digits(name)) continue;  // "total_bytes"
    std::string path = folder;
    path.append("/").append(name);
    auto region = read_tried_region(files_, path);
    if (!region) return std::move(region).error();
    regions.push_back(*region);
  }
  std::ranges::sort(regions, {}, &Region::begin);
  return regions;
}

/// Lines come for each window; the last whole one counts.
Result<std::vector<Region>> DamonContext::traced_regions() {
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
    // A window's regions are in the order of their addresses.
    if (!window.empty() && traced->region.begin < window.back().end) window.clear();
    window.push_back(traced->region);
    if (window.size() < traced->regions) continue;
    whole = std::exchange(window, {});
    taken = at;
  }
  unread_.erase(0, taken);
  constexpr std::size_t kMostText = std::size_t{16} << 20U;
  if (unread_.size() > kMostText) unread_.clear();
  return whole;
}

}  // namespace shmif::perf
