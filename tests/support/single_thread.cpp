// Linked into every test program: tells which tests began no thread, in any of their processes, so
// that tools/check need not run those under ThreadSanitizer, which finds races of threads.
//
// At the end of a program that ran one test, its name is added to the file SHMIF_SINGLE_THREADED.
// A program that does not come to its end tells nothing.

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace {

using Begin = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

/// Shared with the children of this process.
std::atomic<bool>* const began_thread = [] {
  void* page = mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : new (page) std::atomic<bool>(false);
}();

class Teller : public testing::EmptyTestEventListener {
  // A program that serves tests (main.cpp) has run others before.
  void OnTestProgramStart(const testing::UnitTest&) override {
    if (began_thread != nullptr) *began_thread = false;
  }
  void OnTestProgramEnd(const testing::UnitTest& program) override {
    const char* path = std::getenv("SHMIF_SINGLE_THREADED");
    if (path == nullptr || began_thread == nullptr || *began_thread ||
        program.successful_test_count() != 1) {
      return;
    }
    const int file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file < 0) return;
    const std::string line = testing::GTEST_FLAG(filter) + '\n';
    if (write(file, line.data(), line.size()) < 0) perror("SHMIF_SINGLE_THREADED");
    close(file);
  }
};

[[maybe_unused]] const bool appended = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Teller);
  return true;
}();

}  // namespace

// Comes before that of the C library.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*body)(void*), void* argument) noexcept {
  static const Begin begin = reinterpret_cast<Begin>(dlsym(RTLD_NEXT, "pthread_create"));
  if (began_thread != nullptr) *began_thread = true;
  return begin(thread, attributes, body, argument);
}
