// The watch over a mapping, as such: many mappings come and go in one process, so each watch is
// the second one of its entry sooner or later.

#include "bus/file/sigbus_guard.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <optional>

#include "base/unique_fd.hpp"
#include "bus/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

const auto kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

/// A file of some pages, mapped, whose content is taken away.
class LostPages {
 public:
  explicit LostPages(std::size_t pages)
      : pages_(pages), fd_(memfd_create("shmif-test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_.get(), static_cast<off_t>(pages * kPage)), 0);
    void* p = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    EXPECT_NE(p, MAP_FAILED);
    begin_ = static_cast<std::byte*>(p);
  }
  LostPages(const LostPages&) = delete;
  LostPages& operator=(const LostPages&) = delete;
  ~LostPages() { munmap(begin_, pages_ * kPage); }

  std::byte* begin() const { return begin_; }
  std::size_t bytes() const { return pages_ * kPage; }
  void truncate() const { EXPECT_EQ(ftruncate(fd_.get(), 0), 0); }
  void touch(std::size_t page) const {
    static_cast<void>(*static_cast<volatile std::byte*>(begin_ + page * kPage));
  }

 private:
  std::size_t pages_;
  UniqueFd fd_;
  std::byte* begin_;
};

/// What becomes of a process that runs `body` under the guard alone.
int under_the_guard(const std::function<int()>& body) {
  return Child([&] {
           no_core();
           alarm(30);                // a fault that is answered wrongly comes again for ever
           signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
           return bus::install_sigbus_guard() ? body() : 98;
         })
      .wait();
}

TEST(SigbusGuard, AWatchKnowsNothingOfTheOneBeforeItInItsPlace) {
  EXPECT_EQ(under_the_guard([] {
              LostPages small(1);
              std::optional<bus::GuardedRange> first(std::in_place, small.begin(), small.bytes());
              small.truncate();
              errno = ENOTTY;
              small.touch(0);
              if (errno != ENOTTY) return 1;
              if (!first->lost()) return 2;
              first.reset();
              LostPages large(3);
              const bus::GuardedRange second(large.begin(), large.bytes());
              if (second.lost()) return 3;
              large.truncate();
              large.touch(2);  // further than the first one reached
              return second.lost() ? 0 : 4;
            }),
            0)
      << "1 errno was changed, 2 or 4 not lost, 3 lost too early";
}

TEST(SigbusGuard, AWatchThatEndedAnswersForNothingAtItsAddressAnyMore) {
  EXPECT_EQ(under_the_guard([] {
              LostPages pages(2);
              {
                const bus::GuardedRange ended(pages.begin(), pages.bytes());
              }
              pages.truncate();
              pages.touch(1);
              return 0;
            }),
            128 + SIGBUS);
}

TEST(SigbusGuard, AnswersFromTheFirstByteOfAMappingToTheLastAndNotForTheNeighbours) {
  for (const std::size_t page : {0, 1, 2, 3}) {
    const bool watched = page == 1 || page == 2;
    EXPECT_EQ(under_the_guard([&] {
                LostPages pages(4);
                const bus::GuardedRange middle(pages.begin() + kPage, 2 * kPage);
                pages.truncate();
                pages.touch(page);
                return middle.lost() ? 0 : 1;
              }),
              watched ? 0 : 128 + SIGBUS)
        << page;
  }
}

/// Part of the file is left: what stands there still looks like a bus.
TEST(SigbusGuard, WhoWaitsOnABusOfWhichTheBeginningIsLeftLearnsThatItIsLost) {
  for (const bool polls : {false, true}) {
    const TempBus file(small_ring());
    EXPECT_EQ(under_the_guard([&] {
                Follower follower = Follower::open(file.path(), Start::now).value();
                FrameBatch in;
                if (::truncate(file.path().c_str(), bus::kRingOffset + (32U << 10U)) != 0) return 1;
                if (follower.receive(in).error) return 2;
                if (polls) {
                  if (follower.prepare_wait().ready) return 3;
                  follower.finish_wait();
                } else if (follower.wait(std::chrono::seconds(8))) {
                  return 4;
                }
                return follower.receive(in).error == Errc::bus_lost ? 0 : 5;
              }),
              0)
        << polls;
  }
}

TEST(SigbusGuard, ThatIsInstalledTwiceStillLeavesOtherFaultsToWhoHadThemBefore) {
  EXPECT_EQ(under_the_guard([] {
              if (!bus::install_sigbus_guard()) return 1;
              raise(SIGBUS);
              return 2;
            }),
            128 + SIGBUS);
}

}  // namespace
}  // namespace shmif::test
