// What an errno of perf_event_open(2) means for the user.

#include <linux/perf_event.h>

#include <cerrno>
#include <string>

#include "instruments/counters/errors.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf {

namespace {

constexpr const char* kPermitKernel =
    "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
constexpr const char* kPermitTracepoints =
    "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON";
constexpr const char* kPermitCpus =
    "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON";

Refusal not_permitted(const CounterEvent& event, const RefusalHints& hints) {
  using State = Refusal::State;
  if (event.type == PERF_TYPE_TRACEPOINT) {
    return {State::not_permitted,
            "kernel.perf_event_paranoid does not allow tracepoints to this user",
            kPermitTracepoints};
  }
  // The kernel requires this even for events in user space only (find_get_context in
  // kernel/events/core.c).
  if (hints.whole_cpu) {
    return {State::not_permitted,
            "kernel.perf_event_paranoid does not allow this user to count everything on a CPU",
            kPermitCpus};
  }
  const std::string what =
      is_software_clock(event) ? "count it as " : "count it in user space only, as ";
  const std::string instead = hints.in_user_space ? what + user_space_name(event) + "; or " : "";
  return {State::not_permitted, "kernel.perf_event_paranoid does not allow it to this user",
          instead + kPermitKernel};
}

}  // namespace

bool happens_in_user_space(const CounterEvent& event) noexcept {
  if (event.type == PERF_TYPE_TRACEPOINT) return false;
  return event.type != PERF_TYPE_SOFTWARE || (event.config != PERF_COUNT_SW_CONTEXT_SWITCHES &&
                                              event.config != PERF_COUNT_SW_CPU_MIGRATIONS &&
                                              event.config != PERF_COUNT_SW_CGROUP_SWITCHES);
}

bool is_software_clock(const CounterEvent& event) noexcept {
  return event.type == PERF_TYPE_SOFTWARE &&
         (event.config == PERF_COUNT_SW_CPU_CLOCK || event.config == PERF_COUNT_SW_TASK_CLOCK);
}

std::string user_space_name(const CounterEvent& event) {
  const std::string& name = event.name;
  if (name.find('/') != std::string::npos) return name + 'u';
  const std::size_t colon = name.rfind(':');
  const bool modified = colon != std::string::npos && colon + 1 < name.size() &&
                        name.find_first_not_of("ukhGHp", colon + 1) == std::string::npos;
  return name + (modified ? "u" : ":u");
}

std::string user_space_note(const CounterEvent& event) {
  return "in user space only, as " + user_space_name(event) +
         ": kernel.perf_event_paranoid does not allow more to this user (to change that: " +
         kPermitKernel + ')';
}

std::string user_space_source(const CounterEvent& event) {
  return ", in user space only, as " + user_space_name(event) + " (kernel.perf_event_paranoid)";
}

Refusal foreign_refusal(uid_t owner) {
  const std::string user = owner == 0 ? "root" : "another user (uid " + std::to_string(owner) + ')';
  return {Refusal::State::not_permitted, "the process belongs to " + user,
          owner == 0 ? "run it as root" : "run it as that user, or as root"};
}

Refusal explain_refusal(int number, const CounterEvent& event, const RefusalHints& hints) {
  using State = Refusal::State;
  switch (number) {
    case EACCES:
    case EPERM: return not_permitted(event, hints);
    case ENOENT: return {State::not_supported, "this machine has no such event (ENOENT)", ""};
    case ENODEV:
      return {State::not_supported, "no such device, or this machine's PMU is off (ENODEV)", ""};
    case EOPNOTSUPP:
      return {State::not_supported, "the PMU cannot do this for the event (EOPNOTSUPP)", ""};
    case ENOSYS: return {State::not_supported, "this kernel has no perf_event_open", ""};
    case EINVAL:
      return {State::not_supported,
              "the PMU does not take it: it may not know the event, count it only for whole CPUs, "
              "or have too few counters for the group (EINVAL)",
              ""};
    case EBUSY:
      return {State::failed, "another program uses the counter alone (EBUSY)", "end that program"};
    case EMFILE:
      return {State::failed, "this process has too many open files (EMFILE)", "ulimit -n"};
    case ENOSPC: return {State::failed, "all counters of this kind are taken (ENOSPC)", ""};
    case ESRCH: return {State::failed, "the target has ended (ESRCH)", ""};
    default: return {State::failed, "errno " + std::to_string(number), ""};
  }
}

namespace {

class CounterCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "shmif counters"; }
  std::string message(int value) const override {
    switch (static_cast<CounterErrc>(value)) {
      case CounterErrc::busy: return "the session is busy";
      case CounterErrc::invalid: return "not possible in this state";
      case CounterErrc::bad_session: return "no such session";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& counter_error_category() noexcept {
  static const CounterCategory category;
  return category;
}

}  // namespace shmif::perf
