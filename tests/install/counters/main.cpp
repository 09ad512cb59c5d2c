// A program that adds a sampling format of its own: samples by the page of their data. The format
// has an argument, which it checks.

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <shmif/instruments/counters/event_names.hpp>
#include <shmif/instruments/counters/sample_format.hpp>
#include <shmif/instruments/counters/session.hpp>

using namespace shmif::perf;

namespace {

constexpr std::uint64_t kPage = 4096;

/// Counts the samples of each page, from the page `from` on.
class Pages final : public SampleFormat {
 public:
  explicit Pages(std::uint64_t from) : from_(from) {}
  std::uint64_t fields() const override { return PERF_SAMPLE_ADDR; }
  void sample(const Sample& sample) override {
    if (sample.address / kPage >= from_) ++counts_[sample.address / kPage];
  }
  std::string text() const override {
    std::string out;
    for (const auto& [page, samples] : counts_) {
      out += std::to_string(page - from_) + ": " + std::to_string(samples) + "\n";
    }
    return out;
  }

 private:
  std::uint64_t from_;
  std::map<std::uint64_t, std::uint64_t> counts_;
};

shmif::Result<std::unique_ptr<SampleFormat>> make_pages(std::string_view argument) {
  std::uint64_t from = 0;
  const auto terms = read_format_terms(argument);
  if (!terms) return terms.error();
  for (const FormatTerm& term : *terms) {
    if (term.key != "from") {
      return shmif::Error(shmif::Errc::bad_argument, "it takes from=PAGE, not " + term.key);
    }
    from = std::stoull(term.value);
  }
  return std::unique_ptr<SampleFormat>(std::make_unique<Pages>(from));
}

int fail(const std::string& what) {
  return std::printf("%s\n", what.c_str()), 1;
}

}  // namespace

int main() {
  if (!sample_formats().add("pages", "samples of each page", make_pages)) return fail("no room");
  const auto wrong = sample_formats().make("pages:to=3");
  if (wrong || wrong.error().message.find("it takes from=PAGE, not to") == std::string::npos) {
    return fail("a wrong argument was taken");
  }
  constexpr std::size_t kPages = 8;
  void* const memory =
      ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail("no memory");
  ::madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
  const auto first = reinterpret_cast<std::uintptr_t>(memory) / kPage;
  auto format = sample_formats().make("pages:from=" + std::to_string(first)).value();

  EventSetup setup{EventNames().find("page-faults:u").value()};
  setup.sampling = {.period = 1, .fields = format->fields()};
  CounterSession session;
  session.program(std::array{setup}).value();
  session.load(CounterTarget::thread({})).value();
  session.start().value();
  for (std::size_t page = 0; page < kPages; page += 2) {
    static_cast<volatile char*>(memory)[page * kPage] = 1;
  }
  session.stop().value();
  session.read_samples(*format).value();
  const std::string text = format->text();
  if (text.substr(0, 20) != "0: 1\n2: 1\n4: 1\n6: 1\n") return fail("wrong samples:\n" + text);
  std::puts("the format of this program kept the samples");
}
