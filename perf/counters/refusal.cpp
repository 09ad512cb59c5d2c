// What an errno of perf_event_open(2) means for the user.

#include <cerrno>

#include "perf/counters/session.hpp"

namespace shmif::perf {

Refusal explain_refusal(int number, const CounterEvent& event) {
  using State = Refusal::State;
  const bool tracepoint = event.type == PERF_TYPE_TRACEPOINT;
  switch (number) {
    case EACCES:
    case EPERM:
      return {State::not_permitted,
              tracepoint ? "kernel.perf_event_paranoid does not allow tracepoints to this user"
                         : "kernel.perf_event_paranoid does not allow it to this user",
              tracepoint ? "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON"
                         : "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON"};
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

}  // namespace shmif::perf
