// How to write sampling formats: one counts the samples of each page of data, the other counts all
// samples. Like the formats of `shmifperf sample --format NAME:ARGUMENT`, each has a name. The
// first takes an argument, and checks it before sampling begins. A session samples another process,
// which touches every second page of a buffer. After that, the example counts what all programs on
// CPU 0 do; this needs privileges. Exit status 0: each touched page has one sample, and the other
// pages have no sample.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <shmif/instruments/counters/event_names.hpp>
#include <shmif/instruments/counters/sample_format.hpp>
#include <shmif/instruments/counters/session.hpp>

using namespace shmif::perf;

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::size_t kPages = 8;

/// Counts the samples of each page. Page numbers begin at the page with the address `from`.
class Pages final : public SampleFormat {
 public:
  explicit Pages(std::uint64_t from) : first_(from / kPageBytes) {}

  std::uint64_t fields() const override { return PERF_SAMPLE_ADDR; }
  void sample(const Sample& sample) override {
    const std::uint64_t page = sample.address / kPageBytes;
    if (page >= first_ && page < first_ + kPages) ++counts_[page - first_];
  }
  std::string text() const override {
    std::string out;
    for (const auto& [page, samples] : counts_) {
      out += "page " + std::to_string(page) + ": " + std::to_string(samples) + " sampled\n";
    }
    return out;
  }

 private:
  std::uint64_t first_;
  std::map<std::uint64_t, std::uint64_t> counts_;
};

/// Makes a format from its argument, "from=ADDRESS".
shmif::Result<std::unique_ptr<SampleFormat>> make_pages(std::string_view argument) {
  const auto terms = read_format_terms(argument);
  if (!terms) return terms.error();
  std::uint64_t from = 0;
  for (const FormatTerm& term : *terms) {
    const char* const end = term.value.data() + term.value.size();
    if (term.key != "from" || std::from_chars(term.value.data(), end, from).ptr != end) {
      return shmif::Error(shmif::Errc::bad_argument,
                          "\"" + term.key + "=" + term.value + "\" is not from=ADDRESS");
    }
  }
  return std::unique_ptr<SampleFormat>(std::make_unique<Pages>(from));
}

/// Counts all samples. It takes no argument.
class Total final : public SampleFormat {
 public:
  void sample(const Sample&) override { ++count_; }
  std::string text() const override {
    return "all addresses: " + std::to_string(count_) + " sampled\n";
  }

 private:
  std::uint64_t count_ = 0;
};

/// Passes each sample to two formats.
class Both final : public SampleSink {
 public:
  Both(SampleSink& one, SampleSink& other) : one_(one), other_(other) {}
  void sample(const Sample& sample) override {
    one_.sample(sample);
    other_.sample(sample);
  }

 private:
  SampleSink& one_;
  SampleSink& other_;
};

/// The process that is sampled: waits until it may begin, touches its pages, and says when it has.
[[noreturn]] void touch(char* buffer, int may_begin, int is_done) {
  char word = 0;
  if (read(may_begin, &word, 1) == 1) {
    for (std::size_t page = 0; page < kPages; page += 2) {
      static_cast<volatile char*>(buffer)[page * kPageBytes] = 1;
    }
    if (write(is_done, &word, 1) != 1) _exit(1);
    static_cast<void>(read(may_begin, &word, 1));  // waits until the other end is closed
  }
  _exit(0);
}

/// Counts for all programs on CPU 0. Result: whether that worked, or was refused with advice.
bool count_cpu() {
  CounterSession session;
  session.program(std::array{EventSetup{EventNames().find("context-switches").value()}}).value();
  if (const auto loaded = session.load(CounterTarget::cpu({0})); !loaded) {
    std::printf("CPU 0 was not counted: %s\n", loaded.error().message.c_str());
    return loaded.error().message.find("perf_event_paranoid") != std::string::npos;
  }
  session.start().value();
  usleep(10'000);
  session.stop().value();
  std::array<Reading, 1> reading{};
  session.read(reading).value();
  std::printf("CPU 0 was counted\n");
  return reading[0].enabled_ns > 0;
}

int main() {
  sample_formats().add("pages", "samples of each page", make_pages).value();
  sample_formats().add("total", "all samples", [] { return std::make_unique<Total>(); }).value();
  const auto refused = sample_formats().make("pages:to=3");
  std::printf("refused: %s\n", refused ? "nothing" : refused.error().message.c_str());

  void* const buffer = mmap(nullptr, kPages * kPageBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::array<int, 2> begin{}, done{};
  if (buffer == MAP_FAILED || pipe(begin.data()) != 0 || pipe(done.data()) != 0) return 1;
  madvise(buffer, kPages * kPageBytes, MADV_NOHUGEPAGE);
  const pid_t child = fork();
  if (child < 0) return std::perror("fork"), 1;
  if (child == 0) {
    close(begin[1]);
    touch(static_cast<char*>(buffer), begin[0], done[1]);
  }

  const auto address = reinterpret_cast<std::uintptr_t>(buffer);
  const auto format = sample_formats().make("pages:from=" + std::to_string(address)).value();
  const auto total = sample_formats().make("total").value();
  EventSetup faults{EventNames().find("page-faults:u").value()};
  faults.sampling = {.period = 1, .fields = format->fields()};
  CounterSession session;
  session.program(std::array{faults}).value();
  // If this fails, value() throws, with a message.
  session.load(CounterTarget::process({child})).value();
  session.start().value();
  char word = 'x';
  if (write(begin[1], &word, 1) != 1 || read(done[0], &word, 1) != 1) return 1;
  session.stop().value();
  Both both(*format, *total);
  session.read_samples(both).value();
  close(begin[1]);
  waitpid(child, nullptr, 0);

  const std::string text = format->text();
  const std::string all = total->text();  // includes other work of the child
  std::printf("%s%s", text.c_str(), all.c_str());
  const bool right = !refused && text ==
                                     "page 0: 1 sampled\npage 2: 1 sampled\npage 4: 1 sampled\n"
                                     "page 6: 1 sampled\n";
  return right && all != "all addresses: 0 sampled\n" && count_cpu() ? 0 : 1;
}
