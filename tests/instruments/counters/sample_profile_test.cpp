// Profiles of samples: which object an address belongs to, whose names are read, and the calls.

#include <linux/perf_event.h>

#include "instruments/counters/sample_format.hpp"
#include "instruments/counters/sample_profile.hpp"
#include "instruments/watch/held_child.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::test {
namespace {

constexpr pid_t kProgram = 5;

Sample profiled(std::uint64_t ip, bool in_kernel = false, pid_t process = kProgram) {
  Sample sample;
  sample.ip = ip;
  sample.process = process;
  sample.in_kernel = in_kernel;
  return sample;
}

/// "2 SYMBOL in OBJECT" lines.
std::string shown(SampleProfile& profile) {
  profile.finish();
  return profile.text();
}

TEST(SampleProfile, AreNamedWithoutTheirFolders) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  std::uint64_t at = 0x1000;
  for (const char* file : {"/usr/lib/libx.so.6", "//anon", "", "[heap]", "relative"}) {
    profile.mapped({kProgram, at, 0x1000, 0, file});
    for (std::uint64_t more = 0x1000; more <= at; more += 0x1000) profile.sample(profiled(at));
    at += 0x1000;
  }
  EXPECT_EQ(shown(profile),
            "5 [no symbol] in [anonymous]\n5 [no symbol] in relative\n4 [no symbol] in [heap]\n"
            "1 [no symbol] in libx.so.6\n");
  EXPECT_EQ(profile.result().samples, 15U);
  EXPECT_DOUBLE_EQ(profile.result().rows[2].share, 4.0 / 15);
}

TEST(SampleProfile, OfAThreadAreThoseOfItsProcess) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  profile.mapped({kProgram, 0x1000, 0x1000, 0, "[one]"});
  profile.forked(kProgram, kProgram);
  profile.sample(profiled(0x1010));
  // A child of a child, of which one record comes too late.
  profile.forked(kProgram, 6);
  profile.mapped({kProgram, 0x3000, 0x1000, 0, "[two]"});
  profile.sample(profiled(0x3010, false, 6));
  // What the child maps itself goes first, and an exec forgets all.
  profile.mapped({6, 0x1000, 0x1000, 0, "[own]"});
  profile.sample(profiled(0x1010, false, 6));
  profile.settle();
  profile.executed(6, "other");
  for (const std::uint64_t ip : {0x1010U, 0x3010U}) profile.sample(profiled(ip, false, 6));
  EXPECT_EQ(shown(profile),
            "2 [no symbol] in [unknown]\n1 [no symbol] in [one]\n1 [no symbol] in [own]\n"
            "1 [no symbol] in [two]\n");
}

TEST(SampleProfile, OfAChildAreThoseOfItsParentAlsoBehindTheParentsExec) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  profile.mapped({kProgram, 0x1000, 0x1000, 0, "[before]"});
  profile.forked(kProgram, kProgram + 1);
  profile.executed(kProgram, "other");
  profile.mapped({kProgram, 0x1000, 0x1000, 0, "[behind]"});
  profile.sample(profiled(0x1010, false, kProgram + 1));
  EXPECT_EQ(shown(profile), "1 [no symbol] in [before]\n");
}

/// The child ran on another CPU, whose ring was read after that of its parent.
TEST(SampleProfile, KnowsAChildWhoseForkComesWithTheNextRead) {
  SampleProfile profile;
  profile.sample(profiled(0x1010, false, 6));
  profile.settle();
  profile.forked(5, 6);
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/program"});
  profile.settle();
  const auto result = profile.result();
  ASSERT_EQ(result.rows.size(), 1U);
  EXPECT_EQ(result.rows[0].object, "program");
  EXPECT_EQ(result.rows[0].samples, 1U);
}

/// Files that are mapped while the samples come, without records, as those of another namespace.
TEST(SampleProfile, ReadsTheMappingsOfAProcessOnceInEachRead) {
  for (const bool at_the_end : {false, true}) {
    const shmif::test::TempDir root;
    const std::filesystem::path folder = root.path() + "/proc/5";
    std::filesystem::create_directories(folder);
    const auto map = [&](const std::string& lines) { std::ofstream(folder / "maps") << lines; };
    SampleProfile profile(false, KernelFiles(root.path()));
    map("1000-2000 r-xp 00000000 fe:01 1 /nonexistent/first\n");
    profile.sample(profiled(0x1010));
    profile.sample(profiled(0x3010));
    profile.settle();
    map("3000-4000 r-xp 00000000 fe:01 2 /nonexistent/second\n");
    if (!at_the_end) profile.settle();
    if (!at_the_end) std::filesystem::remove(folder / "maps");  // it has ended
    profile.finish();
    const auto result = profile.result();
    ASSERT_EQ(result.rows.size(), 2U) << at_the_end;
    EXPECT_EQ(result.rows[0].object, "first");
    EXPECT_EQ(result.rows[1].object, "second") << at_the_end;
  }
}

TEST(SampleProfile, WaitForTheirMappingOnceButNotThoseOfTheKernel) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  profile.sample(profiled(0xffffffff81000010, true));
  profile.sample(profiled(0x1000));
  profile.settle();
  EXPECT_EQ(profile.result().samples, 1U) << "that of the kernel";
  profile.settle();
  EXPECT_EQ(profile.result().samples, 2U);
  profile.settle();
  profile.finish();
  EXPECT_EQ(profile.result().samples, 2U) << "each once";
}

TEST(SampleProfile, AreOpenedAsTheProcessSeesThem) {
  for (const char* place : {"/proc/5/map_files/1000-3000", "/proc/5/root/gone/program"}) {
    const Tree tree;
    tree.put(place, "no ELF file");
    SampleProfile profile(false, tree.files());
    profile.mapped({kProgram, 0x1000, 0x2000, 0, "/gone/program"});
    profile.sample(profiled(0x1010));
    profile.finish();
    tree.remove(place);  // it was opened before
    const auto notes = profile.result().notes;
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_EQ(notes[0].find("/gone/program: "), 0U) << notes[0];
    EXPECT_EQ(notes[0].find("cannot open"), std::string::npos) << place << notes[0];
  }
  const Tree tree;  // the process has not opened the file
  SampleProfile profile(false, tree.files());
  profile.mapped({kProgram, 0x1000, 0x2000, 0, "/gone/program"});
  profile.mapped({kProgram, 0x5000, 0x1000, 0, "/gone/program"});
  profile.sample(profiled(0x1010));
  profile.sample(profiled(0x5010));
  EXPECT_EQ(shown(profile), "2 [no symbol] in program\n") << "of two mappings of one file";
  EXPECT_EQ(profile.result().notes,
            std::vector<std::string>{"/gone/program: cannot open it: No such file or directory"});
}

/// Each keeps its file open, and the user may have no more than a thousand.
TEST(SampleProfile, OfTooManyFilesThatAreThereAreNotOpenedEither) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  constexpr int kFiles = 515;
  for (int file = 0; file < kFiles; ++file) {
    const std::uint64_t begin = 0x1000 * static_cast<std::uint64_t>(file + 1);
    const std::string name = "/there/" + std::to_string(file);
    tree.put("/proc/" + std::to_string(kProgram) + "/root" + name, "");
    profile.mapped({kProgram, begin, 0x1000, 0, name});
    profile.sample(profiled(begin));
  }
  profile.finish();
  EXPECT_EQ(std::ranges::count_if(profile.result().notes,
                                  [](const std::string& note) {
                                    return note.ends_with(": too many files have samples");
                                  }),
            5);
}

TEST(SampleProfile, OfTheKernelAreThoseOfItsList) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  profile.sample(profiled(0xffffffff81000800, true));
  profile.sample(profiled(0xffffffff81001000, true));
  profile.sample(profiled(0xffffffff81001001, true));
  profile.finish();
  EXPECT_EQ(profile.text(), "3 [no symbol] in [kernel]\n");
  ASSERT_EQ(profile.result().notes.size(), 1U);
  expect_words(profile.result().notes[0], {"[kernel]", "/proc/kallsyms"});
  tree.put("/proc/kallsyms",
           "ffffffff81000000 T first\nffffffff81001000 T second\nffffffff81002000 T third\n");
  EXPECT_EQ(profile.text(), "2 second in [kernel]\n1 first in [kernel]\n");
  EXPECT_TRUE(profile.result().notes.empty());
  SampleProfile user(false, Tree().files());
  user.sample(profiled(0x1000));
  user.finish();
  EXPECT_TRUE(user.result().notes.empty()) << "nothing was in the kernel";
}

TEST(SampleProfile, OfWhatTheKernelLendsAreThoseOfOurs) {
  const Tree tree;
  SampleProfile profile(false, tree.files());
  constexpr std::uint64_t kBytes = 0x4000;
  profile.mapped({kProgram, 0x70000, kBytes, 0, "[vdso]"});
  for (std::uint64_t at = 0; at < kBytes; at += 16) profile.sample(profiled(0x70000 + at));
  profile.finish();
  const auto result = profile.result();
  EXPECT_TRUE(std::ranges::any_of(result.rows, [](const ProfileRow& row) {
    return row.object == "[vdso]" && row.symbol.find("gettime") != std::string::npos;
  })) << profile.text();
  EXPECT_TRUE(result.notes.empty());
}

/// Adds a chain of calls through functions of the kernel, the innermost first.
void add_chain(SampleProfile& profile, const std::vector<std::uint64_t>& callers) {
  std::vector<std::uint64_t> chain{PERF_CONTEXT_KERNEL};
  chain.insert(chain.end(), callers.begin(), callers.end());
  Sample sample = sample_of(callers.front(), true);
  sample.chain = chain;
  profile.sample(sample);
}

std::string tree_of(const std::vector<CallNode>& nodes) {
  std::string text;
  for (const CallNode& each : nodes) {
    text += each.symbol + ':' + std::to_string(each.samples) + '/' + std::to_string(each.own);
    if (!each.calls.empty()) text += '(' + tree_of(each.calls) + ')';
    text += ' ';
  }
  return text;
}

TEST(SampleProfile, AreSharedByChainsThatBeginAlike) {
  const Tree tree;
  tree.put("/proc/kallsyms",
           "ffffffff81000000 T a\nffffffff81001000 T b\nffffffff81002000 T c\n"
           "ffffffff81003000 T d\n");
  constexpr std::uint64_t a = 0xffffffff81000100, b = 0xffffffff81001100, c = 0xffffffff81002100,
                          d = 0xffffffff81003100;
  SampleProfile profile(true, tree.files());
  EXPECT_EQ(profile.fields(), std::uint64_t{PERF_SAMPLE_CALLCHAIN});
  add_chain(profile, {c, b, a});
  add_chain(profile, {c, b, a});
  add_chain(profile, {d, b, a});
  add_chain(profile, {b, a});
  add_chain(profile, {d, a});
  add_chain(profile, {c, a});
  add_chain(profile, {b});
  profile.finish();
  EXPECT_EQ(tree_of(profile.result().roots), "a:6/0(b:4/1(c:2/2 d:1/1 ) c:1/1 d:1/1 ) b:1/1 ");
  EXPECT_EQ(profile.text(), "3 c in [kernel]\n2 b in [kernel]\n2 d in [kernel]\n");
  SampleProfile flat(false, tree.files());
  EXPECT_EQ(flat.fields(), 0U);
  add_chain(flat, {c, b, a});
  flat.finish();
  EXPECT_TRUE(flat.result().roots.empty());
}

/// A call can be the last instruction of its function. It returns to where the next one begins.
TEST(SampleProfile, TakesACallForWhereItWasMade) {
  SampleProfile profile(true);
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/inner"});
  profile.mapped({5, 0x3000, 0x1000, 0, "/nonexistent/outer"});
  profile.mapped({5, 0x4000, 0x1000, 0, "/nonexistent/behind"});
  const std::array<std::uint64_t, 3> chain{PERF_CONTEXT_USER, 0x1000, 0x4000};
  Sample sample = profiled(0x1000);
  sample.chain = chain;
  profile.sample(sample);
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.roots.size(), 1U);
  EXPECT_EQ(result.roots[0].object, "outer");
  ASSERT_EQ(result.roots[0].calls.size(), 1U);
  EXPECT_EQ(result.roots[0].calls[0].object, "inner");
}

/// The kernel puts a mark before its own callers, and another one before those in user space.
TEST(SampleProfile, LooksForCallersWhereTheMarksSayThatTheyAre) {
  SampleProfile profile(true);
  profile.mapped({5, 0x3000, 0x1000, 0, "/nonexistent/program"});
  const std::array<std::uint64_t, 4> chain{PERF_CONTEXT_KERNEL, 0xffffffff81000010,
                                           PERF_CONTEXT_USER, 0x3010};
  Sample sample = profiled(0xffffffff81000010, true);
  sample.chain = chain;
  profile.sample(sample);
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.roots.size(), 1U);
  EXPECT_EQ(result.roots[0].object, "program");
  ASSERT_EQ(result.roots[0].calls.size(), 1U);
  EXPECT_EQ(result.roots[0].calls[0].object, "[kernel]");
}

}  // namespace

// Runs of the sampler: several targets and what is refused, on a scripted kernel; and a program.

namespace {

constexpr std::array kFirstTask{TaskId{kTask, 7}};
constexpr std::array kBothTasks{TaskId{kTask, 7}, TaskId{kOther, 7}};

class ScriptedRun : public testing::Test {
 protected:
  ScriptedRun() { options.sampling.period = 10; }
  auto start(std::span<const TaskId> tasks = kFirstTask) {
    return SampleRun::start(event, tasks, options, &refused, kernel);
  }
  FakeCounters kernel;
  SampleOptions options;
  CounterEvent event = fake_event(1);
  std::optional<Refusal> refused;
};

TEST_F(ScriptedRun, AddsWhatAllTargetsTell) {
  auto run = start(kBothTasks);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_FALSE(run->user_space_only());
  EXPECT_EQ(kernel.opened.size(), 6U) << "a clock and an event on two CPUs, of each";
  for (const auto& [file, each] : kernel.events) {
    if (!each.ring.empty()) {
      EXPECT_EQ(each.ring.size(), 65U * 4096);
    }
  }
  kernel.overflow(1, 0x10);
  auto addresses = sample_formats().make("addresses").value();
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 4U);
  kernel.overflow(1, 0x10);
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 8U);
  EXPECT_FALSE(run->counts().lost_is_least);
  kernel.end(kOther);
  run->stop();
  EXPECT_FALSE(kernel.counts(1)) << "that of the first";
  kernel.overflow(1, 0x10);
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 10U);
}

TEST_F(ScriptedRun, GoesOnWithoutATargetThatHasEnded) {
  kernel.before = [this](KernelCall call, int) {
    if (call == KernelCall::open && kernel.events.size() == 3) kernel.ended.insert(kTask);
    return 0;
  };
  EXPECT_TRUE(start(kBothTasks));
  FakeCounters fresh;
  fresh.before = [](KernelCall call, int nth) {
    return call == KernelCall::control && nth == 3 ? -ENOSPC : 0;
  };
  EXPECT_EQ(SampleRun::start(event, kFirstTask, options, &refused, fresh).error().code,
            std::errc::no_space_on_device);
  EXPECT_FALSE(refused) << "the event was not refused";
}

TEST_F(ScriptedRun, FallsBackToUserSpaceForAllTargets) {
  // The clock and the events of the first target; of the second, the event is refused.
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 5 ? -EPERM : 0;
  };
  auto run = start(kBothTasks);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_TRUE(run->user_space_only());
  EXPECT_FALSE(refused);
  std::size_t events = 0;
  for (const auto& [file, each] : kernel.events) {
    EXPECT_EQ(each.attr.base.exclude_kernel, 1U);
    EXPECT_EQ(each.attr.base.exclude_hv, 1U);
    events += each.attr.base.config == 1 ? 1U : 0U;
  }
  EXPECT_EQ(events, 4U) << "each target is sampled once";
}

TEST_F(ScriptedRun, FallsBackOnlyWhereThatHelps) {
  const auto opens = [&](int error) {
    refused.reset();
    kernel.opened.clear();
    kernel.before = [error, asked = 0](KernelCall call, int) mutable {
      return call == KernelCall::open && ++asked == 2 ? -error : 0;
    };
    const auto run = start();
    kernel.before = {};
    return std::pair(run.has_value(), refused.has_value());
  };
  const std::pair falls_back(true, false);
  const std::pair is_refused(false, true);
  EXPECT_EQ(opens(EACCES), falls_back);
  EXPECT_EQ(opens(EPERM), falls_back);
  EXPECT_EQ(opens(EBUSY), is_refused);
  EXPECT_EQ(refused->reason, "another program uses the counter alone (EBUSY)");
  event.exclude_kernel = true;
  EXPECT_EQ(opens(EACCES), is_refused) << "it is in user space already";
  event = fake_event(1);
  event.type = PERF_TYPE_TRACEPOINT;
  EXPECT_EQ(opens(EACCES), is_refused) << "it is in the kernel";
  event = fake_event(1);
  options.cpus = {0};
  EXPECT_EQ(opens(EACCES), is_refused) << "user space of a CPU is permitted no sooner";
}

TEST_F(ScriptedRun, SaysWhatWholeCpusNeed) {
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EACCES : 0; };
  EXPECT_FALSE(start());
  EXPECT_FALSE(refused) << "the error says it";
  options.cpus = {0};
  EXPECT_FALSE(start({}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->enable_with,
            "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
  EXPECT_FALSE(SampleRun::start(event, {}, options, nullptr, kernel)) << "nobody asks why";
  refused.reset();
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EMFILE : 0; };
  EXPECT_EQ(start({}).error().code, std::errc::too_many_files_open);
  EXPECT_FALSE(refused);
  EXPECT_EQ(kernel.open_files(), 0U);
}

TEST(SampleRun, SaysThatMoreMayBeLostIfOneOfItsTargetsDoesNotTell) {
  for (const pid_t tells : {kTask, kOther}) {
    FakeCounters kernel;
    // The clock of a session is opened before its events are.
    kernel.before = [&](KernelCall call, int) {
      if (call != KernelCall::open || kernel.events.empty()) return 0;
      kernel.tells_lost = kernel.events.rbegin()->second.task == tells;
      return 0;
    };
    SampleOptions options;
    options.sampling.period = 10;
    auto run = SampleRun::start(fake_event(1), kBothTasks, options, nullptr, kernel);
    ASSERT_TRUE(run) << run.error().message;
    auto addresses = sample_formats().make("addresses").value();
    ASSERT_TRUE(run->read(*addresses));
    EXPECT_TRUE(run->counts().lost_is_least) << tells;
  }
}

TEST_F(ScriptedRun, AddsTheLostRecordsOfAllReads) {
  auto run = start();
  ASSERT_TRUE(run) << run.error().message;
  auto addresses = sample_formats().make("addresses").value();
  for (const std::uint64_t count : {9U, 5U}) {
    const std::array<std::uint64_t, 2> lost{0, count};
    for (const auto& [file, each] : kernel.events) {
      if (each.ring.empty()) continue;
      kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
      break;
    }
    ASSERT_TRUE(run->read(*addresses));
  }
  EXPECT_EQ(run->counts().lost, 14U);
}

/// With a period, each so many events are one sample. Which function was at work is known.
TEST(SampleRun, SamplesAProgramOfThisMachineAndNamesItsFunctions) {
  auto child = HeldChild::start({.argv = {shmif::test::in_build("tests/instruments/known_load"),
                                          "faults", "2000", "children", "2"}})
                   .value();
  CounterEvent faults;
  faults.name = "page-faults";
  faults.type = PERF_TYPE_SOFTWARE;
  faults.config = PERF_COUNT_SW_PAGE_FAULTS;
  SampleProfile profile;
  SampleOptions options;
  options.sampling.period = 1;
  options.on_exec = true;
  const std::array targets{TaskId{child.pid(), 0}};
  auto run = SampleRun::start(faults, targets, options);
  ASSERT_TRUE(run) << run.error().message;
  ASSERT_TRUE(child.release());
  EXPECT_TRUE(shmif::test::eventually([&] {
    const bool ended = child.ended().has_value();
    EXPECT_TRUE(run->read(profile));
    profile.finish();
    return ended;
  }));
  const auto result = profile.result();
  EXPECT_EQ(result.samples, run->counts().samples);
  const auto row = std::ranges::find(result.rows, "(anonymous namespace)::touch_pages(long)",
                                     &ProfileRow::symbol);
  ASSERT_NE(row, result.rows.end()) << profile.text();
  EXPECT_EQ(row->object, "known_load");
  EXPECT_GE(row->samples + run->counts().lost, 6000U) << "of the program and its two children";
}

}  // namespace

}  // namespace shmif::perf::test
