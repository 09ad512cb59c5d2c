#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/proc.hpp"
#include "instruments/heat/damon.hpp"

namespace shmif::perf {
namespace {

/// One target of a DamonContext that several sources share.
class DamonSource : public HeatSource {
 public:
  DamonSource(std::shared_ptr<DamonContext> context, std::size_t target, const TaskId& process,
              KernelFiles files)
      : context_(std::move(context)),
        target_(target),
        process_(process),
        files_(std::move(files)),
        provenance_{"damon", "region", "DAMON, tried_regions of its schemes",
                    "DAMON does not tell reads from writes"} {}
  /// Sets ranges that the user gave. Without this call, the source watches the process's ranges.
  void use_ranges(const std::vector<AddressRange>& ranges, const std::string& name) {
    given_.reserve(ranges.size());
    for (const AddressRange& each : ranges) given_.push_back({each, name, 0});
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking::whole_ranges; }
  /// The kernel takes the samples itself.
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return {};
  }
  bool keeps_regions() const noexcept override { return true; }

  Result<std::vector<NamedRange>> ranges() override {
    if (!given_.empty()) return given_;
    const auto text = files_.read("/proc/" + std::to_string(process_.number) + "/maps");
    if (!text) return Error::from_errno(ESRCH, "cannot watch it");
    std::vector<NamedRange> ranges;
    for (std::size_t at = 0; at < text->size();) {
      const std::size_t end = std::min(text->find('\n', at), text->size());
      const std::string line = text->substr(at, end - at);
      at = end + 1;
      const auto mapped = base::read_maps_line(line);
      const std::size_t name = line.find_first_of("/[");
      if (!mapped) continue;
      ranges.push_back({{mapped->begin, mapped->end},
                        name == std::string::npos ? std::string() : line.substr(name),
                        0});
    }
    return ranges;
  }

  Result<void> forget(Regions& /*regions*/) override { return {}; }

  Result<void> look(Regions& /*regions*/) override {
    const auto on = context_->is_on(target_);
    if (!on) return on.error();
    if (!*on) return Error::from_errno(ESRCH, "DAMON has ended: cannot watch it");
    auto regions = context_->regions(target_);
    if (!regions) return std::move(regions).error();
    regions_ = *std::move(regions);
    return {};
  }

  pid_t kernel_thread() const noexcept override { return context_->thread_of(target_); }
  std::vector<Region> take_regions() override { return std::exchange(regions_, {}); }

 private:
  std::shared_ptr<DamonContext> context_;
  std::size_t target_;
  TaskId process_;
  KernelFiles files_;
  HeatProvenance provenance_;
  std::vector<NamedRange> given_;
  std::vector<Region> regions_;
};

}  // namespace

Result<std::vector<std::unique_ptr<HeatSource>>> watch_by_damon(
    const std::vector<TaskId>& processes, const HeatAttributes& attributes,
    const DamonMemory& memory, const KernelFiles& files, std::shared_ptr<DamonRecord> record) {
  DamonSetup setup{attributes, memory.space, {}};
  const bool is_physical = memory.space == DamonSpace::paddr;
  auto ranges = memory.ranges;
  if (is_physical && ranges.empty()) {
    auto all = physical_memory(files);
    if (!all) return std::move(all).error();
    ranges = *std::move(all);
  }
  const std::vector<TaskId> watched = is_physical ? std::vector<TaskId>(1) : processes;
  setup.targets.reserve(watched.size());
  for (const TaskId& each : watched) setup.targets.push_back({each.number, ranges});
  auto begun = DamonContext::begin(setup, files, std::move(record));
  if (!begun) return std::move(begun).error();
  const auto context = std::make_shared<DamonContext>(*std::move(begun));
  std::vector<std::unique_ptr<HeatSource>> sources;
  sources.reserve(watched.size());
  for (std::size_t i = 0; i < watched.size(); ++i) {
    auto source = std::make_unique<DamonSource>(context, i, watched[i], files);
    source->use_ranges(ranges, is_physical ? "physical memory" : "");
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace shmif::perf
