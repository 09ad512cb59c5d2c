// Ends whose frames another program carries: what they say first, and what of the program's
// datagrams and records they count as dropped.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::rig {
namespace {

sockaddr_un address_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

/// A socket of the program, at `path`.
UniqueFd bound_at(const std::string& path, int type) {
  UniqueFd made(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_at(path);
  EXPECT_EQ(::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return made;
}

JobOptions job_on(EngineKind kind, const std::string& socket) {
  JobOptions job;
  job.name = "a";
  job.engine = kind;
  job.socket = socket;
  return job;
}

/// What an end says first, so that switches learn where it is.
void expect_announcement(const Bytes& frame) {
  ASSERT_EQ(frame.size(), 60U);
  const MacAddress own = end_mac(0);
  EXPECT_TRUE(std::equal(frame.begin(), frame.begin() + 6, own.bytes.begin(), own.bytes.end(),
                         [](std::byte a, auto b) { return a == static_cast<std::byte>(b); }))
      << "to itself";
  EXPECT_TRUE(std::equal(frame.begin(), frame.begin() + 6, frame.begin() + 6)) << "from itself";
  EXPECT_EQ(frame[12], std::byte{0x90});
  EXPECT_EQ(frame[13], std::byte{0});
}

TEST(ProgramEnds, OfDatagramsCountWhatIsNoFrameAndWhatNobodyGot) {
  const shmif::test::TempDir dir;
  const std::string own = dir.file("own"), program = dir.file("program");
  UniqueFd other = bound_at(program, SOCK_DGRAM);
  const auto wire = make_wire(job_on(EngineKind::dgram, own + ',' + program), 1).value();
  const auto end = wire->open_end(end_options(0)).value();
  Bytes first(2000);
  const ssize_t got = ::recv(other.get(), first.data(), first.size(), 0);
  ASSERT_GT(got, 0);
  first.resize(static_cast<std::size_t>(got));
  expect_announcement(first);
  EXPECT_EQ(end->counters().dropped_frames, 0U);
  const sockaddr_un to = address_at(own);
  for (const std::size_t size : {std::size_t{13}, end->max_frame_bytes() + 1, std::size_t{60}}) {
    const Bytes frame = frame_to(0, 1, std::max<std::size_t>(size, 14), 1);
    EXPECT_EQ(::sendto(other.get(), frame.data(), size, 0, reinterpret_cast<const sockaddr*>(&to),
                       sizeof to),
              static_cast<ssize_t>(size));
  }
  EXPECT_EQ(collect(*end, 1).size(), 1U) << "the last is one";
  EXPECT_EQ(end->counters().dropped_frames, 2U) << "too short, and too long";
  ASSERT_EQ(::unlink(program.c_str()), 0);
  const auto frames = frames_to(1, 0, 3);
  EXPECT_EQ(end->send(shmif::test::views(frames)).taken, 3U);
  EXPECT_EQ(end->counters().dropped_frames, 5U) << "nobody is there";
}

TEST(ProgramEnds, OfAStreamCountWhatIsNoFrame) {
  const shmif::test::TempDir dir;
  const std::string place = dir.file("program");
  const UniqueFd listener = bound_at(place, SOCK_STREAM);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const auto wire = make_wire(job_on(EngineKind::stream, place), 1).value();
  const auto end = wire->open_end(end_options(0)).value();
  const UniqueFd other(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(other);
  Bytes first(4 + 60);
  ASSERT_EQ(::recv(other.get(), first.data(), first.size(), MSG_WAITALL),
            static_cast<ssize_t>(first.size()));
  EXPECT_EQ(first[3], std::byte{60});
  expect_announcement(Bytes(first.begin() + 4, first.end()));
  for (const std::size_t size : {std::size_t{13}, end->max_frame_bytes() + 1, std::size_t{60}}) {
    Bytes record(4);
    record[2] = static_cast<std::byte>(size >> 8U);
    record[3] = static_cast<std::byte>(size & 0xffU);
    const Bytes frame = frame_to(0, 1, std::max<std::size_t>(size, 14), 1);
    record.insert(record.end(), frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(::send(other.get(), record.data(), record.size(), 0),
              static_cast<ssize_t>(record.size()));
  }
  EXPECT_EQ(collect(*end, 1).size(), 1U) << "the last is one";
  EXPECT_EQ(end->counters().dropped_frames, 2U) << "too short, and too long";
}

}  // namespace
}  // namespace shmif::perf::rig
