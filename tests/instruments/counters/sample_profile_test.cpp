// Profiles of samples: which object an address belongs to, whose names are read, and the calls.

#include "instruments/counters/sample_profile.hpp"

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/temp_dir.hpp"

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
}  // namespace shmif::perf::test
