#include "instruments/membw/schemata.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// The one of the same resource and domain; null if there is none.
const Allotment* find_in(const Schemata& all, const Allotment& one) {
  const auto found = std::ranges::find_if(all, [&](const Allotment& each) {
    return each.resource == one.resource && each.domain == one.domain;
  });
  return found == all.end() ? nullptr : &*found;
}

constexpr std::size_t kMaxSteps = 1000;

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

Error wrong(std::string_view part, const std::string& why) {
  constexpr std::size_t kMaxShown = 80;
  return Error(Errc::bad_argument, '"' + std::string(part.substr(0, kMaxShown)) +
                                       "\" is not an allocation (" + why + ")");
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char each) {
    return (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') || each == '_';
  });
}

/// Reads one part between semicolons or line ends. `resource` is the resource of the previous part.
Result<Allotment> read_part(std::string_view part, std::string& resource) {
  constexpr const char* kUsual = "write RESOURCE:DOMAIN=VALUE, such as MB:0=50 or L3:0=ff";
  std::string_view rest = part;
  if (const std::size_t colon = part.find(':'); colon != std::string_view::npos) {
    const std::string_view name = trimmed(part.substr(0, colon));
    if (!is_name(name)) return wrong(part, kUsual);
    resource = name;
    rest = part.substr(colon + 1);
  }
  const std::size_t equals = rest.find('=');
  if (resource.empty() || equals == std::string_view::npos) return wrong(part, kUsual);
  const auto domain = base::read_digits(trimmed(rest.substr(0, equals)));
  const std::string_view value = trimmed(rest.substr(equals + 1));
  if (!domain || *domain > std::numeric_limits<unsigned>::max() || value.empty()) {
    return wrong(part, kUsual);
  }
  return Allotment{resource, static_cast<unsigned>(*domain), std::string(value)};
}

bool is_bandwidth(const std::string& resource) {
  return resource == "MB" || resource == "SMBA";  // of memory, and of slow memory
}

/// The values of a range such as "100..10/10"; the value itself if the text is not a range.
Result<std::vector<std::string>> values_of(const Allotment& each) {
  const std::size_t dots = each.value.find("..");
  if (dots == std::string::npos) return std::vector<std::string>{each.value};
  const std::string_view text = each.value;
  const std::size_t slash = text.find('/');
  const auto usual = [&] {
    return wrong(text, "a range is FROM..TO/STEP in decimal digits, such as 100..10/10");
  };
  if (slash == std::string_view::npos || slash < dots) return usual();
  const auto from = base::read_digits(text.substr(0, dots));
  const auto to = base::read_digits(text.substr(dots + 2, slash - dots - 2));
  const auto step = base::read_digits(text.substr(slash + 1));
  if (!from || !to || !step || *step == 0) return usual();
  if (!is_bandwidth(each.resource)) return wrong(text, "only MB and SMBA can have a range");
  std::vector<std::string> values;
  const std::uint64_t distance = std::max(*from, *to) - std::min(*from, *to);
  if (distance / *step >= kMaxSteps) return wrong(text, "more than 1000 steps");
  for (std::uint64_t at = 0; at <= distance / *step; ++at) {
    values.push_back(std::to_string(*from > *to ? *from - at * *step : *from + at * *step));
  }
  return values;
}

/// Reads the digits of a mask, also with 0x before them.
std::optional<std::uint64_t> mask_of(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  return base::read_digits(text, 16);
}

Error not_possible(const Allotment& each, const std::string& why) {
  return Error(Errc::bad_argument,
               "this machine cannot allocate " + schemata_text({each}) + ": " + why);
}

/// Whether bandwidth is in MB/s and not a share: resctrl was mounted with -o mba_MBps.
bool counts_megabytes(const KernelFiles& files) {
  const auto mounts = files.read("/proc/mounts");
  for (const std::string_view line : base::lines_in(mounts ? std::string_view(*mounts) : "")) {
    if (line.find(" resctrl ") != std::string_view::npos &&
        line.find("mba_MBps") != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

Result<void> check_bandwidth(const KernelFiles& files, const std::string& info,
                             const Allotment& each) {
  const auto value = base::read_digits(each.value);
  if (!value || *value > std::numeric_limits<std::uint32_t>::max()) {
    return not_possible(each, "bandwidth is a number in decimal digits");
  }
  if (counts_megabytes(files)) return {};
  const auto least = files.read_number(info + "/min_bandwidth");
  if (!least) return least.error();
  const auto step = files.read_number(info + "/bandwidth_gran");
  if (!step) return step.error();
  // A linear scale is in percent. Only the kernel knows where other scales end.
  const auto linear = files.read_number(info + "/delay_linear");
  constexpr std::uint64_t kWhole = 100;
  const std::uint64_t most = linear && *linear == 1 ? kWhole : std::uint64_t{UINT32_MAX};
  if (*value < *least) return not_possible(each, "the minimum is " + std::to_string(*least));
  if (*value > most) return not_possible(each, "the maximum is " + std::to_string(most));
  if (*step == 0 || *value % *step == 0) return {};
  const std::uint64_t below = *value - *value % *step;
  std::string why = "the machine has steps of " + std::to_string(*step) + "; use ";
  if (below >= *least) why += std::to_string(below) + " or ";
  return not_possible(each, why + std::to_string(below + *step));
}

Result<void> check_mask(const KernelFiles& files, const std::string& info, const Allotment& each) {
  const auto mask = mask_of(each.value);
  if (!mask) return not_possible(each, "a mask is a number in hexadecimal digits");
  const auto text = files.read(info + "/cbm_mask");
  if (!text) return text.error();
  const auto whole =
      mask_of(trimmed(base::lines_in(*text).empty() ? "" : base::lines_in(*text).front()));
  if (!whole) return Error(Errc::bad_argument, files.path(info + "/cbm_mask") + " has no mask");
  const auto least = files.read_number(info + "/min_cbm_bits");
  if (!least) return least.error();
  if ((*mask & ~*whole) != 0) {
    return not_possible(each, "the mask has bits outside of the cache's mask " +
                                  std::string(base::lines_in(*text).front()));
  }
  const int run = std::countr_one(*mask == 0 ? 0 : *mask >> std::countr_zero(*mask));
  // Kernels before Linux 6.7 do not have this file, and check the mask themselves.
  const auto sparse = files.read_number(info + "/sparse_masks");
  if (sparse && *sparse == 0 && std::popcount(*mask) != run) {
    return not_possible(each, "the bits of a mask must be contiguous");
  }
  if (static_cast<std::uint64_t>(run) < *least) {
    return not_possible(each,
                        "a mask needs at least " + std::to_string(*least) + " contiguous bits");
  }
  return {};
}

Result<void> check_one(const KernelFiles& files, const std::string& mount_point,
                       const Schemata& there, const Allotment& each) {
  std::string resources;
  std::string domains;
  const auto add = [](std::string& list, const std::string& word) {
    if ((", " + list + ',').find(", " + word + ',') != std::string::npos) return;
    list += (list.empty() ? "" : ", ") + word;
  };
  for (const Allotment& one : there) {
    add(resources, one.resource);
    if (one.resource == each.resource) add(domains, std::to_string(one.domain));
  }
  if (domains.empty()) {
    return not_possible(each, "there is no " + each.resource + ", only " + resources);
  }
  if (find_in(there, each) == nullptr) {
    return not_possible(each, each.resource + " has the domains " + domains);
  }
  const std::string info = mount_point + "/info/" + each.resource;
  if (files.has(info + "/cbm_mask")) return check_mask(files, info, each);
  return check_bandwidth(files, info, each);
}

}  // namespace

Result<Schemata> read_schemata(std::string_view text) {
  Schemata all;
  std::string resource;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of(";\n", at), text.size());
    auto one = read_part(trimmed(text.substr(at, end - at)), resource);
    if (!one) return std::move(one).error();
    if (find_in(all, *one) != nullptr) {
      return wrong(text, one->resource + " has domain " + std::to_string(one->domain) + " twice");
    }
    all.push_back(*std::move(one));
    at = end + 1;
  }
  if (all.empty()) return wrong(text, "it is empty");
  return all;
}

Result<std::vector<Schemata>> read_schemata_steps(std::string_view text) {
  const auto all = read_schemata(text);
  if (!all) return all.error();
  std::vector<Schemata> steps;
  for (const Allotment& each : *all) {
    const auto values = values_of(each);
    if (!values) return values.error();
    if (each.value.find("..") == std::string::npos) continue;
    if (!steps.empty() && steps.size() != values->size()) {
      return wrong(text, "all ranges need the same number of steps, and these have " +
                             std::to_string(steps.size()) + " and " +
                             std::to_string(values->size()));
    }
    steps.resize(values->size());
  }
  if (steps.empty()) return wrong(text, "it has no range, such as 100..10/10");
  for (const Allotment& each : *all) {
    const auto values = values_of(each);
    for (std::size_t at = 0; at < steps.size(); ++at) {
      steps[at].push_back(
          {each.resource, each.domain, values->size() == 1 ? values->front() : (*values)[at]});
    }
  }
  return steps;
}

std::string schemata_text(const Schemata& schemata) {
  std::string text;
  const std::string* before = nullptr;
  for (const Allotment& each : schemata) {
    if (!text.empty()) text += ';';
    if (before == nullptr || *before != each.resource) text += each.resource + ':';
    text += std::to_string(each.domain) + '=' + each.value;
    before = &each.resource;
  }
  return text;
}

std::string schemata_lines(const Schemata& schemata) {
  std::vector<std::string> resources;
  for (const Allotment& each : schemata) {
    if (std::ranges::find(resources, each.resource) == resources.end()) {
      resources.push_back(each.resource);
    }
  }
  std::string lines;
  for (const std::string& resource : resources) {
    Schemata of_it;
    std::ranges::copy_if(schemata, std::back_inserter(of_it),
                         [&](const Allotment& each) { return each.resource == resource; });
    lines += schemata_text(of_it) + '\n';
  }
  return lines;
}

bool is_same_value(const Allotment& one, const Allotment& other) {
  if (is_bandwidth(one.resource)) {
    return base::read_digits(one.value) == base::read_digits(other.value);
  }
  return mask_of(one.value) == mask_of(other.value);
}

Result<void> check_schemata(const KernelFiles& files, const std::string& mount_point,
                            const Schemata& schemata) {
  const std::string file = mount_point + "/schemata";
  const auto text = files.read(file);
  if (!text) {
    return Error(Errc::not_supported,
                 "this machine cannot limit caches or bandwidth: " + text.error().message);
  }
  const auto there = read_schemata(*text);
  if (!there) return Error(there.error().code, files.path(file) + ": " + there.error().message);
  for (const Allotment& each : schemata) {
    auto possible = check_one(files, mount_point, *there, each);
    if (!possible) return possible;
  }
  return {};
}

namespace {

/// The values that differ from `wanted`; empty if all are the same.
std::string other_values(const Schemata& wanted, const Schemata& there) {
  Schemata others;
  for (const Allotment& each : wanted) {
    const Allotment* const found = find_in(there, each);
    if (found == nullptr) return "no " + schemata_text({each});
    if (!is_same_value(each, *found)) others.push_back(*found);
  }
  return others.empty() ? std::string() : schemata_text(others);
}

}  // namespace

Result<Schemata> ResctrlAllocation::read() const {
  const std::string file = group_ + "/schemata";
  const auto text = files_.read(file);
  if (!text) return text.error();
  auto all = read_schemata(*text);
  if (!all) return Error(all.error().code, files_.path(file) + ": " + all.error().message);
  return all;
}

Result<void> ResctrlAllocation::write(const Schemata& schemata, const std::string& what) const {
  const std::string file = group_ + "/schemata";
  const auto done = calls_.write(files_, file, schemata_lines(schemata));
  if (done) return {};
  std::string why = done.error().message;
  const auto said = files_.read(mount_point_ + "/info/last_cmd_status");
  if (said && !said->empty() && *said != "ok\n") {
    why += "; the kernel says: " + said->substr(0, said->find_last_not_of('\n') + 1);
  }
  return Error(done.error().code, "cannot " + what + ' ' + schemata_text(schemata) + ": " + why);
}

Result<void> ResctrlAllocation::set(const std::string& mount_point, const std::string& group,
                                    const Schemata& schemata) {
  mount_point_ = mount_point;
  group_ = group;
  auto before = read();
  if (!before) return std::move(before).error();
  for (const Allotment& each : schemata) {
    const Allotment* const found = find_in(*before, each);
    if (found != nullptr && find_in(old_, each) == nullptr) old_.push_back(*found);
  }
  debug(Debug::membw, [&] { return group_ + " gets " + schemata_text(schemata); });
  auto done = write(schemata, "set");
  if (!done) return done;
  now_ = schemata;
  const auto after = read();
  if (!after) return after.error();
  const std::string others = other_values(schemata, *after);
  if (others.empty()) return {};
  return Error(Errc::bad_argument,
               "set " + schemata_text(schemata) + ", but the kernel now shows " + others);
}

Result<void> ResctrlAllocation::check() const {
  if (now_.empty()) return {};
  const auto there = read();
  if (!there) return there.error();
  const std::string others = other_values(now_, *there);
  if (others.empty()) return {};
  return Error(Errc::busy, "another program changed the allocation of " + files_.path(group_) +
                               " during the measurement: the kernel shows " + others +
                               ", membw had set " + schemata_text(now_));
}

Result<void> ResctrlAllocation::put_back() {
  Result<void> done;
  if (!old_.empty() && files_.has(group_)) {
    debug(Debug::membw, [&] { return group_ + " gets " + schemata_text(old_) + " again"; });
    done = write(old_, "put back");
    if (!done && old_.size() > 1) done = put_back_each();
  }
  now_.clear();
  old_.clear();
  return done;
}

/// Puts back each value by itself. The kernel may refuse one, for example if the CPUs of its domain
/// went offline; the others are put back all the same.
Result<void> ResctrlAllocation::put_back_each() const {
  Schemata kept;
  Result<void> first;
  for (const Allotment& each : old_) {
    auto done = write({each}, "put back");
    if (done) continue;
    kept.push_back(each);
    if (first) first = std::move(done);
  }
  if (kept.size() < 2) return first;
  return Error(first.error().code, first.error().message + " (nor " +
                                       schemata_text({kept.begin() + 1, kept.end()}) + ')');
}

Result<void> AllocationSteps::init() {
  auto ready = source_.prepare();
  for (const Schemata& step : steps_) {
    if (ready) ready = check_schemata(files_, source_.mount_point(), step);
  }
  return ready;
}

Result<bool> AllocationSteps::set_up(std::size_t number) {
  const std::size_t step = samples_ == 0 ? 0 : number / (samples_ + 1);
  if (step >= steps_.size()) return false;
  const bool first = samples_ == 0 ? number == 0 : number % (samples_ + 1) == 0;
  if (!first) return true;
  if (source_.control_group().empty()) {
    return Error(Errc::not_supported, "cannot set " + schemata_text(steps_[step]) +
                                          ": there is no control group (" + source_.failure() +
                                          ")");
  }
  const auto done = allocation_.set(source_.mount_point(), source_.control_group(), steps_[step]);
  if (!done) return done.error();
  return true;
}

void AllocationSteps::hook_into(MembwHooks& hooks) {
  hooks.init = [this] { return init(); };
  hooks.set_up = [this](std::size_t number) { return set_up(number); };
  hooks.measured = [this](const MembwSample& /*sample*/) { return allocation_.check(); };
  hooks.end = [this] { return allocation_.put_back(); };
}

std::vector<std::string> AllocationSteps::texts() const {
  std::vector<std::string> texts;
  texts.reserve(steps_.size());
  for (const Schemata& each : steps_) texts.push_back(schemata_text(each));
  return texts;
}

}  // namespace shmif::perf
