// Capture files that cannot be written or read to their end, and those on standard streams.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

struct Pipe {
  explicit Pipe(int flags = 0) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC | flags), 0);
    output.reset(ends[0]);
    input.reset(ends[1]);
  }
  UniqueFd output;
  UniqueFd input;
};

template <class Writer>
class CaptureWriter : public testing::Test {};
using Writers = testing::Types<PcapWriter, PcapngWriter>;
TYPED_TEST_SUITE(CaptureWriter, Writers);

TYPED_TEST(CaptureWriter, AClosedPipeIsReportedOnceAndDoesNotEndTheProcess) {
  std::signal(SIGPIPE, SIG_DFL);  // whatever earlier tests of this program did about it
  Pipe pipe;
  auto writer = TypeParam::create("/proc/self/fd/" + std::to_string(pipe.input.get())).value();
  const std::uint64_t head = writer.bytes();
  pipe.output.reset();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(writer.send(views(frames)).taken, 1U) << "buffered";
  EXPECT_TRUE(writer.status());
  EXPECT_EQ(writer.flush(), std::errc::broken_pipe);
  EXPECT_EQ(writer.send(views(frames)).error, Errc::link_ended);
  EXPECT_EQ(writer.flush(), Errc::link_ended);
  EXPECT_TRUE(writer.prepare_wait().ready) << "a waiter would hang";
  pollfd waiter{.fd = writer.descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&waiter, 1, 0), 1) << "one who waits already, too";
  FrameBatch batch;
  EXPECT_EQ(writer.receive(batch).error, Errc::link_ended);
  EXPECT_FALSE(writer.status());
  EXPECT_EQ(writer.written(), 0U);
  EXPECT_EQ(writer.bytes(), head) << "what is buffered now goes nowhere";
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0) << "the signal was left pending";
}

TYPED_TEST(CaptureWriter, ToStandardOutputIsNamedInItsErrors) {
  std::signal(SIGPIPE, SIG_DFL);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  Pipe pipe;
  std::string address;
  std::error_code flushed;
  Result<void> status;
  Error refused(Errc::exists, "it was made");
  {
    const InPlaceOf output(STDOUT_FILENO, pipe.input.get());  // what fails here could not be told
    auto writer = TypeParam::create("-").value();
    address = writer.address();
    static_cast<void>(writer.send(views(frames)));
    pipe.output.reset();
    flushed = writer.flush();
    status = writer.status();
    if (auto again = TypeParam::create("-"); !again) refused = again.error();
  }
  EXPECT_EQ(address, "pcap:-");
  EXPECT_EQ(flushed, std::errc::broken_pipe);
  EXPECT_EQ(status.error().message, "cannot write to standard output: Broken pipe");
  EXPECT_EQ(refused.code, std::errc::broken_pipe);
  EXPECT_EQ(refused.message, "cannot write a capture to standard output: Broken pipe");
  const UniqueFd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal || grantpt(terminal.get()) != 0 || unlockpt(terminal.get()) != 0) {
    GTEST_SKIP() << "no terminals here";
  }
  const UniqueFd user(open(ptsname(terminal.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  {
    const InPlaceOf output(STDOUT_FILENO, user.get());
    if (auto writer = TypeParam::create("-"); !writer) refused = writer.error();
  }
  EXPECT_EQ(refused.code, Errc::bad_argument);
  EXPECT_NE(refused.message.find("it is a terminal"), std::string::npos) << refused.message;
}

TYPED_TEST(CaptureWriter, AFileThatCannotBeMadeIsAnErrorThatNamesItAndSaysWhatHelps) {
  const TempDir dir;
  write_file(dir.file("file"), "");
  ASSERT_EQ(mkdir(dir.file("closed").c_str(), 0555), 0);
  struct Case {
    std::string path;
    std::errc code;
    std::string message;
  };
  const std::vector<Case> cases{
      {dir.file("no/such/place"), std::errc::no_such_file_or_directory,
       "No such file or directory (make its directory first)"},
      {dir.file("file/below"), std::errc::not_a_directory,
       "Not a directory (make its directory first)"},
      {dir.path(), std::errc::is_a_directory,
       "Is a directory (it is a directory: name a file in it)"},
      {dir.file("closed/a"), std::errc::permission_denied,
       "Permission denied (name a file in a directory that you may write to)"},
      {"/dev/full", std::errc::no_space_on_device,
       "No space left on device (free some space, or name a file on another file system)"}};
  for (const Case& c : cases) {
    const bool as_nobody = c.code == std::errc::permission_denied && geteuid() == 0;
    if (as_nobody) {
      ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
      ASSERT_EQ(seteuid(65534), 0);
    }
    const auto writer = TypeParam::create(c.path);
    if (as_nobody) {
      ASSERT_EQ(seteuid(0), 0);
    }
    ASSERT_FALSE(writer) << c.path;
    EXPECT_EQ(writer.error().code, c.code) << c.path;
    EXPECT_EQ(writer.error().message, "cannot write capture file \"" + c.path + "\": " + c.message);
  }
}

TYPED_TEST(CaptureWriter, ANewFileHasTheModeThatTheUmaskLeaves) {
  const TempDir dir;
  for (const mode_t mask : {0U, 027U}) {
    const mode_t before = umask(mask);
    const std::string path = dir.file(std::to_string(mask));
    EXPECT_TRUE(TypeParam::create(path));
    umask(before);
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0666U & ~mask);
  }
}

/// A reader that starts late and interrupts the writer before: the pipe is full by then.
template <class Writer>
void expect_all_through_a_full_pipe(int flags) {
  struct sigaction nothing{};
  nothing.sa_handler = [](int) {};  // without SA_RESTART
  struct sigaction before{};
  ASSERT_EQ(sigaction(SIGUSR2, &nothing, &before), 0);
  Pipe pipe(flags);
  std::optional<InPlaceOf> output(std::in_place, STDOUT_FILENO, pipe.input.get());
  auto writer = std::optional(Writer::create("-").value());
  const std::vector<Bytes> frames(200, make_frame(1000, 1));
  const std::size_t taken = writer->send(views(frames)).taken;
  std::uint64_t came = 0;
  std::jthread reader([&, waiting = pthread_self()] {
    for (int i = 0; i < 4; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      pthread_kill(waiting, SIGUSR2);
    }
    std::array<char, 65536> some{};
    pollfd p{.fd = pipe.output.get(), .events = POLLIN, .revents = 0};
    while (poll(&p, 1, 10'000) == 1) {
      const ssize_t n = read(pipe.output.get(), some.data(), some.size());
      if (n <= 0) break;
      came += static_cast<std::uint64_t>(n);
    }
  });
  const std::error_code flushed = writer->flush();
  const std::uint64_t written = writer->written();
  const std::uint64_t bytes = writer->bytes();
  writer.reset();
  output.reset();
  pipe.input.reset();  // and so the pipe ends
  reader.join();
  EXPECT_EQ(taken, 200U);
  EXPECT_FALSE(flushed) << flushed.message();
  EXPECT_EQ(written, 200U);
  EXPECT_EQ(came, bytes);
  sigaction(SIGUSR2, &before, nullptr);
}

TYPED_TEST(CaptureWriter, WaitsForASlowReaderWhateverInterruptsIt) {
  expect_all_through_a_full_pipe<TypeParam>(0);
}

TYPED_TEST(CaptureWriter, WaitsForASlowReaderOfAPipeThatDoesNotBlock) {
  expect_all_through_a_full_pipe<TypeParam>(O_NONBLOCK);
}

TEST(PcapWriter, AFullDiskLeavesAFileOfWholeRecords) {
  const TempDir dir;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  // A limit on the file's size stands in for a full disk: write() takes a part, then fails.
  const auto handler = std::signal(SIGXFSZ, SIG_DFL);  // which would end this process
  const rlimit limit{.rlim_cur = 10'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::uint64_t written = 0;
  {
    auto writer = PcapWriter::create(dir.file("a.pcap")).value();
    const std::vector<Bytes> frames(100, make_frame(1000, 1));
    EXPECT_EQ(writer.send(views(frames)).taken, 100U);
    EXPECT_EQ(writer.flush(), std::errc::file_too_large);
    written = writer.written();
    EXPECT_EQ(writer.bytes(), std::filesystem::file_size(dir.file("a.pcap")));
    EXPECT_EQ(writer.status().error().message,
              "cannot write \"" + dir.file("a.pcap") + "\": File too large");
    EXPECT_EQ(writer.send(views(frames)).taken, 0U);
    EXPECT_EQ(writer.bytes(), std::filesystem::file_size(dir.file("a.pcap")));
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(written, 9U);  // of 1016 bytes each, behind 24 of the header
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  EXPECT_EQ(collect(reader, 100).size(), written);
  EXPECT_TRUE(reader.status()) << "the file ends within a record";
}

}  // namespace
}  // namespace shmif::test
