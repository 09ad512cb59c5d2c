#include "instruments/membw/allocation.hpp"

#include <algorithm>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
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
