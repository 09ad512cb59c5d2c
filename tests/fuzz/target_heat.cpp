#include <algorithm>
#include <string>
#include <vector>

#include "instruments/heat/control_text.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/watch/process.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

using namespace perf;

void check_attribute_text(const std::string& text) {
  const auto read = read_attributes(text);
  if (!read) {
    require(read.error().code == Errc::bad_argument && !read.error().message.empty(),
            "attributes that are refused without a reason");
    return;
  }
  require(check_attributes(*read).has_value(), "attributes that are taken and not right");
  const std::string again = attributes_text(*read);
  require(std::ranges::count(again, ',') == 4, "not five numbers");
  require(*read_attributes(again) == *read, "attributes that do not come back");
}

void check_pids(const std::string& text) {
  const auto pids = read_pids(text);
  if (!pids) return;
  std::string again;
  for (const pid_t pid : *pids) {
    require(pid > 0 && std::ranges::count(*pids, pid) == 1, "a number of no process");
    again += (again.empty() ? "" : ",") + std::to_string(pid);
  }
  require(*read_pids(again) == *pids, "processes that do not come back");
}

void check_control(const std::string& text) {
  const auto request = read_heat_request(text);
  if (request) {
    const auto again = read_heat_request(heat_request_text(*request));
    require(again && *again == *request, "a request to the monitor that does not come back");
  } else {
    require(!request.error().message.empty(), "a request that is refused without a reason");
  }
  const auto answer = read_heat_answer(text);
  require(answer || !answer.error().message.empty(), "an error of the monitor without a message");
}

/// What the kernel is believed to say.
void check_kernel_texts(const std::string& text) {
  if (const auto uses = read_smaps(text)) {
    for (const MappingUse& use : *uses) {
      require(use.memory.range.begin < use.memory.range.end, "a mapping of nothing");
    }
  }
}

/// The bytes say which ranges there are, and what is seen in them.
void check_regions(Bytes bytes) {
  constexpr std::uint64_t kPageBytes = 4096;
  if (bytes.size() < 4) return;
  HeatAttributes attributes;
  attributes.min_regions = 3 + bytes[0] % 16;
  attributes.max_regions = attributes.min_regions + bytes[1] % 16;
  Regions regions(attributes, static_cast<Looking>(bytes[2] % 3), kPageBytes, bytes[3]);
  std::vector<AddressRange> target;
  for (std::size_t i = 4; i + 1 < std::min<std::size_t>(bytes.size(), 24); i += 2) {
    const std::uint64_t begin = bytes[i] * (kPageBytes / 2);
    target.push_back({begin, begin + bytes[i + 1] * (kPageBytes / 2)});
  }
  regions.set_target(target);
  for (std::size_t i = 24; i < std::min<std::size_t>(bytes.size(), 256); ++i) {
    const Sighting seen{(bytes[i] & 1U) != 0, (bytes[i] & 2U) != 0};
    if (regions.looking() == Looking::all_pages) {
      const std::uint64_t begin = bytes[i] * kPageBytes;
      regions.record_pages(std::vector<SeenPages>{{{begin, begin + 3 * kPageBytes}, seen}});
    } else {
      std::vector<Sighting> all(regions.choose().size());
      for (std::size_t k = bytes[i] % 7; k < all.size(); k += 3) all[k] = seen;
      regions.record(all);
    }
    if (bytes[i] % 8 != 0) continue;
    std::uint64_t total = 0;
    std::uint64_t at = 0;
    for (const Region& region : regions.aggregate()) {
      require(region.begin >= at && region.begin < region.end, "regions in no order");
      at = region.end;
      total += region.bytes();
    }
    require(total == regions.target_bytes(), "bytes of the target that no region has");
  }
}

}  // namespace

void heat(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  check_attribute_text(text);
  check_pids(text);
  check_control(text);
  check_kernel_texts(text);
  check_regions(bytes);
}

}  // namespace shmif::fuzz
