// Files that users name for output: what is never written over, and what a failure leaves behind.

#include "bus/file/output_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>

#include "bus/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::bus {
namespace {

namespace fs = std::filesystem;

const std::string kCapture("\xd4\xc3\xb2\xa1 and more", 13);

void put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The beginning of a bus, of whatever version.
std::string bus_bytes() {
  std::string text(4096, 'x');
  text.replace(0, sizeof kMagic, reinterpret_cast<const char*>(&kMagic), sizeof kMagic);
  return text;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::ptrdiff_t files_in(const std::string& directory) {
  return std::distance(fs::directory_iterator(directory), {});
}

/// How each way to write answers; all must agree.
std::string refusal(const std::string& path, const OutputRules& rules) {
  const auto checked = check_output(path, rules);
  const auto opened = OutputFile::open_stream(path, rules);
  const auto whole = write_whole(path, bytes_of("new"), rules);
  EXPECT_EQ(checked.has_value(), opened.has_value()) << path;
  EXPECT_EQ(checked.has_value(), whole.has_value()) << path;
  if (checked) return {};
  EXPECT_EQ(checked.error().message, opened.error().message);
  EXPECT_EQ(checked.error().message, whole.error().message);
  EXPECT_EQ(checked.error().code, Errc::exists);
  return checked.error().message;
}

TEST(OutputFile, IsNeverABusWhateverItsNameAndTheRules) {
  const test::TempDir dir;
  const std::string bus = dir.file("bus");
  put(bus, bus_bytes());
  ASSERT_EQ(symlink("bus", dir.file("link").c_str()), 0);
  ASSERT_EQ(link(bus.c_str(), dir.file("name").c_str()), 0);
  for (const std::string& path : {bus, dir.file("link"), dir.file("name"), dir.file("./bus")}) {
    for (const Replace replace : {Replace::any, Replace::captures, Replace::nothing}) {
      EXPECT_EQ(refusal(path, {.what = "cannot write it", .replace = replace}),
                "cannot write it: it is a bus, which would be destroyed (name another file)");
    }
  }
  EXPECT_FALSE(OutputFile::open_append(bus, {.what = "cannot"}));
  EXPECT_EQ(text_of(bus), bus_bytes());
  EXPECT_EQ(files_in(dir.path()), 3);
}

TEST(OutputFile, IsNeverABusOfNetBsdsFormat) {
  const test::TempDir dir;
  const std::string bus = dir.file("bus");
  const std::string bytes("\x54\xd0\x11\xca", 4);
  put(bus, bytes);
  for (const Replace replace : {Replace::any, Replace::captures, Replace::nothing}) {
    EXPECT_EQ(refusal(bus, {.what = "cannot write it", .replace = replace}),
              "cannot write it: it is a bus, which would be destroyed (name another file)");
  }
  EXPECT_EQ(text_of(bus), bytes);
}

TEST(OutputFile, IsNoInputOfTheRunUnderAnyName) {
  const test::TempDir dir;
  const std::string job = dir.file("a.job");
  put(job, "[a]\n");
  ASSERT_EQ(symlink("a.job", dir.file("link").c_str()), 0);
  const OutputRules rules{.what = "cannot write it", .inputs = {dir.file("none"), job}};
  for (const std::string& path : {job, dir.file("link")}) {
    EXPECT_EQ(refusal(path, rules), "cannot write it: it is \"" + job +
                                        "\", which the same run uses, too (name another file)");
  }
  EXPECT_EQ(text_of(job), "[a]\n");
  EXPECT_EQ(refusal(dir.file("other"), rules), "");
}

TEST(OutputFile, ReplacesOnlyWhatItsRulesAllow) {
  const test::TempDir dir;
  const std::string path = dir.file("f");
  const auto refused = [&](const std::string& content, Replace replace) {
    put(path, content);
    const std::string why =
        refusal(path, {.what = "no", .replace = replace, .remedy = "give --force"});
    if (!why.empty()) {
      EXPECT_EQ(text_of(path), content);
    }
    return why;
  };
  EXPECT_EQ(refused("text", Replace::any), "");
  EXPECT_EQ(refused("text", Replace::captures),
            "no: it exists and is no capture (name another file, or remove this one first)");
  EXPECT_EQ(refused(kCapture, Replace::captures), "");
  EXPECT_EQ(refused("\x0a\x0d\x0d\x0a", Replace::captures), "");
  EXPECT_EQ(refused("\xa1\xb2\x3c\x4d", Replace::captures), "");
  EXPECT_EQ(refused(kCapture, Replace::nothing), "no: it exists (give --force)");
  EXPECT_EQ(refused("", Replace::nothing), "");
  put(path, "text");
  EXPECT_EQ(refusal(path, {.what = "no", .replace = Replace::nothing}),
            "no: it exists (name another file)");
}

TEST(OutputFile, ThatIsMadeWholeKeepsModeAndLinksAndLeavesNothingBeside) {
  const test::TempDir dir;
  const std::string path = dir.file("result");
  put(path, "old, and longer than the new one");
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  ASSERT_EQ(symlink("result", dir.file("latest").c_str()), 0);
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  write_whole(dir.file("latest"), bytes_of("new"), {.what = "cannot"}).value();
  EXPECT_EQ(text_of(path), "new");
  EXPECT_TRUE(fs::is_symlink(dir.file("latest")));
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
  EXPECT_EQ(files_in(dir.path()), 2);
  char first = 0;
  ASSERT_EQ(pread(reader.get(), &first, 1, 0), 1);
  EXPECT_EQ(first, 'o') << "a reader of the old one saw it change";
}

/// A disk on which no file of this process gets longer than so many bytes.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes = 0) {
    getrlimit(RLIMIT_FSIZE, &usual_);
    const rlimit none{.rlim_cur = bytes, .rlim_max = usual_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &usual_); }

 private:
  rlimit usual_{};
};

TEST(OutputFile, AFailureLeavesWhatWasThereAndNothingEmpty) {
  const test::TempDir dir;
  const std::string old = dir.file("old");
  put(old, kCapture);
  const OutputRules rules{.what = "cannot write it"};
  std::string whole, stream, fresh, started;
  {
    const FullDisk full;
    const auto message = [](const Result<void>& result) {
      return result ? std::string() : result.error().message;
    };
    whole = message(write_whole(old, bytes_of("new"), rules));
    fresh = message(write_whole(dir.file("new"), bytes_of("new"), rules));
    started = message(OutputFile::open_stream(dir.file("log"), rules).value().start(bytes_of("x")));
    stream = message(OutputFile::open_stream(old, rules).value().start(bytes_of("x")));
  }
  for (const std::string& why : {whole, fresh, started, stream}) {
    EXPECT_EQ(why, "cannot write it: File too large");
  }
  EXPECT_EQ(text_of(old), kCapture);
  EXPECT_EQ(files_in(dir.path()), 1);
  for (const std::string& nowhere : {std::string(), dir.file("none/"), dir.file("none/new")}) {
    EXPECT_EQ(check_output(nowhere, rules).error().message,
              "cannot write it: No such file or directory (make its directory first)");
  }
  EXPECT_STREQ(output_advice(EDQUOT), output_advice(ENOSPC));
  EXPECT_STREQ(output_advice(EROFS), output_advice(EACCES));
}

TEST(OutputFile, BehindALinkThatLeadsToNothingIsMadeWhereThatLeads) {
  const test::TempDir dir;
  fs::create_directory(dir.file("results"));
  const std::string link = dir.file("latest");
  fs::create_symlink("results/new", link);
  ASSERT_TRUE(check_output(link, {.what = "cannot"}));
  {
    const FullDisk full;
    EXPECT_FALSE(write_whole(link, bytes_of("new"), {.what = "cannot"}));
  }
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(files_in(dir.file("results")), 0) << "an empty file";
  write_whole(link, bytes_of("new"), {.what = "cannot"}).value();
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(text_of(dir.file("results/new")), "new");

  fs::create_symlink(dir.file("none/new"), dir.file("lost"));
  const auto lost = check_output(dir.file("lost"), {.what = "cannot"});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().message, "cannot: No such file or directory (make its directory first)");
  EXPECT_FALSE(write_whole(dir.file("lost"), bytes_of("new"), {.what = "cannot"}));
  EXPECT_TRUE(fs::is_symlink(dir.file("lost")));
}

TEST(OutputFile, IsWrittenInPlaceWhereNoneCanBeMadeBesideIt) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const test::TempDir dir;
  const std::string path = dir.file("result");
  put(path, "old, and longer");
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  ASSERT_EQ(seteuid(65534), 0);
  const auto written = write_whole(path, bytes_of("new"), {.what = "cannot"});
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_TRUE(written) << written.error().message;
  EXPECT_EQ(text_of(path), "new");
}

TEST(OutputFile, WritesToWhateverIsNoRegularFile) {
  const test::TempDir dir;
  ASSERT_EQ(mkfifo(dir.file("fifo").c_str(), 0600), 0);
  const UniqueFd reader(::open(dir.file("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  write_whole(dir.file("fifo"), bytes_of("new"), {.what = "cannot"}).value();
  std::string got(8, '\0');
  EXPECT_EQ(read(reader.get(), got.data(), got.size()), 3);
  const UniqueFd out(::open(dir.file("out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::string name = "/dev/fd/" + std::to_string(out.get());
  struct stat before{};
  ASSERT_EQ(fstat(out.get(), &before), 0);
  write_whole(name, bytes_of("new"), {.what = "cannot"}).value();
  struct stat after{};
  ASSERT_EQ(stat(dir.file("out").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "another file took its name";
  EXPECT_EQ(after.st_size, 3);
  const auto full = write_whole("/dev/full", bytes_of("new"), {.what = "cannot write it"});
  EXPECT_EQ(full.error().message,
            "cannot write it: No space left on device (free some space, or name a file on another "
            "file system)");
}

TEST(OutputFile, ThatIsAppendedToKeepsWhatAnotherWriterAppendsMeanwhile) {
  const test::TempDir dir;
  const std::string path = dir.file("log");
  put(path, "old ");
  const OutputFile one = OutputFile::open_append(path, {.what = "cannot"}).value();
  const OutputFile other = OutputFile::open_append(path, {.what = "cannot"}).value();
  EXPECT_EQ(one.old_bytes(), 4U);
  ASSERT_EQ(write(one.descriptor(), "a", 1), 1);
  ASSERT_EQ(write(other.descriptor(), "b", 1), 1);
  ASSERT_EQ(write(one.descriptor(), "c", 1), 1);
  EXPECT_EQ(text_of(path), "old abc");
}

TEST(OutputFile, IsTheSameAsAnotherByWhatItIsAndNotByItsName) {
  const test::TempDir dir;
  put(dir.file("a"), "");
  put(dir.file("b"), "");
  ASSERT_EQ(symlink("a", dir.file("link").c_str()), 0);
  ASSERT_EQ(link(dir.file("a").c_str(), dir.file("name").c_str()), 0);
  for (const char* const name : {"a", "link", "name", "./a"}) {
    EXPECT_TRUE(is_same_file(dir.file("a"), dir.file(name))) << name;
    EXPECT_TRUE(is_same_file(dir.file(name), dir.file("a"))) << name;
  }
  EXPECT_FALSE(is_same_file(dir.file("a"), dir.file("b")));
  EXPECT_TRUE(is_same_file(dir.file("none"), dir.file("none"))) << "one that is still to be made";
  EXPECT_FALSE(is_same_file(dir.file("none"), dir.file("a")));
  EXPECT_FALSE(is_same_file(dir.file("a"), dir.file("none")));
  ASSERT_TRUE(fs::create_directory(dir.file("sub")));
  put(dir.file("sub/b"), "");
  EXPECT_FALSE(is_same_file(dir.file("none"), dir.file("sub/none"))) << "in another directory";
  EXPECT_FALSE(is_same_file(dir.file("sub/b"), dir.file("none/b")));
  ASSERT_TRUE(fs::remove(dir.file("b")));
  EXPECT_FALSE(is_same_file(dir.file("b"), dir.file("sub/b"))) << "of which one is there";
  EXPECT_FALSE(is_same_file(dir.path(), dir.path())) << "a directory";
  EXPECT_FALSE(is_same_file("/dev/null", "/dev/null")) << "any number of writers may have it";
}

/// A FIFO holds 64 KiB. Whoever can be told to stop does not block in it, and yet writes all.
TEST(OutputFile, WaitsForASlowReaderOfAFifo) {
  const test::TempDir dir;
  const std::string path = dir.file("fifo");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  int stop[2];
  ASSERT_EQ(pipe(stop), 0);
  const UniqueFd never(stop[0]);
  const UniqueFd writer(stop[1]);
  const std::string content(std::size_t{300} * 1024, 'x');
  std::size_t got = 0;
  std::thread reader([&] {
    const UniqueFd in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string part(4096, '\0');
    for (ssize_t n = 0; (n = read(in.get(), part.data(), part.size())) > 0;)
      got += static_cast<std::size_t>(n);
  });
  auto file = OutputFile::open_stream(path, {.what = "cannot", .stop_descriptor = never.get()});
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->start(bytes_of(content)));
  file->close();
  reader.join();
  EXPECT_EQ(got, content.size());
}

/// Nothing can be renamed over a file that is mounted where it is, as in a container.
TEST(OutputFile, ThatIsAMountOfItsOwnIsWrittenInPlace) {
  EXPECT_EQ(test::Child([] {
              const test::OwnTmpfs own;
              if (!own.missing().empty()) return 0;
              const std::string path = own.file("mounted");
              put(path, "");
              put(own.file("real"), "old, and longer");
              if (mount(own.file("real").c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0)
                return 1;
              if (!write_whole(path, bytes_of("new"), {.what = "cannot"})) return 2;
              if (text_of(own.file("real")) != "new") return 3;
              return files_in(own.path()) == 2 ? 0 : 4;
            }).wait(),
            0);
}

TEST(OutputFile, ThatFailsLaterKeepsWhatItHas) {
  const test::TempDir dir;
  auto file = OutputFile::open_stream(dir.file("new"), {.what = "cannot"}).value();
  file.start(bytes_of("head")).value();
  file.close(true);
  EXPECT_EQ(text_of(dir.file("new")), "head");
}

TEST(OutputFile, ThatIsMadeWholeKeepsItsOwnerWhereThatCanBe) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const test::TempDir dir;
  const std::string path = dir.file("result");
  put(path, "old");
  ASSERT_EQ(chown(path.c_str(), 1234, 2345), 0);
  ASSERT_TRUE(write_whole(path, bytes_of("new"), {.what = "cannot"}));
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 1234U);
  EXPECT_EQ(status.st_gid, 2345U);
}

/// Some of the new content would fit.
TEST(OutputFile, ThatFindsTooLittleRoomIsNotHalfOverwritten) {
  const test::TempDir dir;
  const std::string path = dir.file("old");
  put(path, "old");
  std::string why;
  {
    const FullDisk nearly_full(5);
    why = OutputFile::open_stream(path, {.what = "cannot"})
              .value()
              .start(bytes_of("longer than the old one"))
              .error()
              .message;
  }
  EXPECT_EQ(why, "cannot: File too large");
  EXPECT_EQ(text_of(path), "old");
}

TEST(OutputFile, WaitsForTheReaderOfAFifoUntilItIsToldToStop) {
  const test::TempDir dir;
  ASSERT_EQ(mkfifo(dir.file("fifo").c_str(), 0600), 0);
  int stop[2];
  ASSERT_EQ(pipe(stop), 0);
  const UniqueFd told(stop[0]);
  const UniqueFd teller(stop[1]);
  ASSERT_EQ(write(teller.get(), "x", 1), 1);
  const OutputRules rules{.what = "cannot write it", .stop_descriptor = told.get()};
  const auto file = OutputFile::open_stream(dir.file("fifo"), rules);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, std::errc::interrupted);
  EXPECT_EQ(file.error().message, "cannot write it: nobody has opened it for reading");
  char byte = 0;
  ASSERT_EQ(read(told.get(), &byte, 1), 1);
  UniqueFd reader;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    reader.reset(open(dir.file("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  });
  EXPECT_TRUE(OutputFile::open_stream(dir.file("fifo"), rules));
  later.join();
}

}  // namespace
}  // namespace shmif::bus
