#include "tests/perf/inject/ptrace_steps.hpp"

#include <sys/ptrace.h>
#include <sys/types.h>

#include <cstdarg>
#include <utility>

namespace shmif::perf::test {
namespace {

std::function<void()> step_hook;

/// Whether the call only reads. Some of these numbers have no names in old headers.
bool only_looks(int request) {
  constexpr int kGetMask = 0x420a;
  constexpr int kGetCall = 0x420e;
  constexpr int kGetRseq = 0x420f;
  constexpr int kGetDispatch = 0x4211;
  switch (request) {
    case PTRACE_GETREGS:
    case PTRACE_GETREGSET:
    case PTRACE_GETSIGINFO:
    case PTRACE_PEEKDATA:
    case kGetMask:
    case kGetCall:
    case kGetRseq:
    case kGetDispatch: return true;
    default: return false;
  }
}

}  // namespace

BeforeEachStep::BeforeEachStep(std::function<void()> before_step) {
  step_hook = std::move(before_step);
}
BeforeEachStep::~BeforeEachStep() {
  step_hook = nullptr;
}

namespace {

void before_call(int request) {
  if (step_hook && !only_looks(request)) step_hook();
}

}  // namespace
}  // namespace shmif::perf::test

extern "C" {
long __real_ptrace(int request, pid_t thread, void* address, void* data);
long __wrap_ptrace(int request, ...);

long __wrap_ptrace(int request, ...) {
  va_list rest;
  va_start(rest, request);
  const pid_t thread = va_arg(rest, pid_t);
  void* const address = va_arg(rest, void*);
  void* const data = va_arg(rest, void*);
  va_end(rest);
  shmif::perf::test::before_call(request);
  return __real_ptrace(request, thread, address, data);
}
}
