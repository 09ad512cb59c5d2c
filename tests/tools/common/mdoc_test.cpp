// Texts of --help as mdoc.

#include "tools/common/options_help.hpp"

#include <gtest/gtest.h>

#include "tools/common/options.hpp"

namespace shmif::tools {
namespace {

TEST(Mdoc, TakesNoWordForARequest) {
  EXPECT_EQ(mdoc_text(".pcap ends"), "\\&.pcap ends\n");
  EXPECT_EQ(mdoc_text("a\\b ^ ~ 5±1"), "a\\eb \\(ha \\(ti 5\\(+-1\n");
  EXPECT_EQ(mdoc_argument("say \"no\""), "\"\\&say \\(dqno\\(dq\"");
  EXPECT_EQ(mdoc_literal("'x"), "\\&'x");
}

TEST(Mdoc, AnEntryHasACommentBehindEachPart) {
  Options options("act", "PATH");
  options.about("Acts on PATH.")
      .flag("n", "no effect")
      .value("c,count", "N", "end after N")
      .repeatable("via", "tap|veth", "how")
      .open("rate", "RATE", "of jobs", std::nullopt)
      .example("shmifctl act x", "acts");
  EXPECT_EQ(options.mdoc(),
            ".It Cm act No [\\fIOPTION\\fR]... \\fIPATH\\fR\n"
            "Acts on \\fIPATH\\fR.\n"
            ".\\\" @act\n"
            ".Bl -tag -width Ds\n"
            ".It Fl n\nNo effect.\n.\\\" @act --n\n"
            ".It Fl c , Fl Fl count Ar \"\\&N\"\nEnd after \\fIN\\fR.\n.\\\" @act --count\n"
            ".It Fl Fl via Cm \"\\&tap|veth\"\nHow (repeatable).\n.\\\" @act --via\n"
            ".El\n");
  EXPECT_EQ(Options("rest", "").about("Rests.").mdoc(), ".It Cm rest\nRests.\n.\\\" @rest\n");
}

}  // namespace
}  // namespace shmif::tools
