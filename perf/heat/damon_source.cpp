#include <cerrno>
#include <utility>

#include "base/proc.hpp"
#include "perf/heat/damon.hpp"

namespace shmif::perf {
namespace {

class DamonSource : public HeatSource {
 public:
  DamonSource(DamonContext context, const TaskId& process, KernelFiles files)
      : context_(std::move(context)), process_(process), files_(std::move(files)) {
    provenance_ = {"damon", "region", context_.means(), "DAMON does not tell reads from writes"};
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking::whole_ranges; }
  bool grows_with_target() const noexcept override { return false; }
  bool keeps_regions() const noexcept override { return true; }

  Result<std::vector<NamedRange>> ranges() override {
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
    const auto on = context_.is_on();
    if (!on) return on.error();
    if (!*on) return Error::from_errno(ESRCH, "DAMON has ended: cannot watch it");
    auto regions = context_.regions();
    if (!regions) return std::move(regions).error();
    regions_ = *std::move(regions);
    return {};
  }

  std::vector<Region> take_regions() override { return std::exchange(regions_, {}); }

 private:
  DamonContext context_;
  TaskId process_;
  KernelFiles files_;
  HeatProvenance provenance_;
  std::vector<Region> regions_;
};

}  // namespace

Result<std::unique_ptr<HeatSource>> watch_by_damon(const TaskId& process,
                                                   const HeatAttributes& attributes,
                                                   const KernelFiles& files) {
  auto context =
      DamonContext::begin({attributes, DamonSpace::vaddr, {{process.number, {}}}}, files);
  if (!context) return std::move(context).error();
  return std::unique_ptr<HeatSource>(
      std::make_unique<DamonSource>(*std::move(context), process, files));
}

}  // namespace shmif::perf
