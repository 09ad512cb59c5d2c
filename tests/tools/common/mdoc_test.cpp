// Texts of --help as mdoc.

#include "tools/common/mdoc.hpp"

#include <gtest/gtest.h>

#include "tools/common/options.hpp"

namespace shmif::tools {
namespace {

TEST(Mdoc, OptionsAndQuotationsAreBoldAndStandInsItalic) {
  EXPECT_EQ(mdoc_text("Give --rate_min, -w or 'shmifctl exec PATH' at PATH, not at PATHS, the "
                      "host's PATH_2 or link-local.",
                      {"PATH"}),
            "Give \\fB\\-\\-rate_min\\fR, \\fB\\-w\\fR or \\fBshmifctl exec PATH\\fR at\n"
            "\\fIPATH\\fR, not at PATHS, the host's PATH_2 or link-local.\n");
}

TEST(Mdoc, TakesNoWordForARequest) {
  EXPECT_EQ(mdoc_text(".pcap ends"), "\\&.pcap ends\n");
  EXPECT_EQ(mdoc_text("a\\b ^ ~ 5±1"), "a\\eb \\(ha \\(ti 5\\(+-1\n");
  EXPECT_EQ(mdoc_argument("say \"no\""), "\"\\&say \\(dqno\\(dq\"");
  EXPECT_EQ(mdoc_literal("'x"), "\\&'x");
}

TEST(Mdoc, RowsBecomeAList) {
  EXPECT_EQ(mdoc_text("A link:\n  bus:PATH is a bus;\n  tap:NAME: a device.\n\nMore."),
            "A link:\n.Bl -tag -width Ds -compact\n.It Cm \"\\&bus:PATH\"\nIs a bus.\n"
            ".It Cm \"\\&tap:NAME\"\nA device.\n.El\n.Pp\nMore.\n");
  EXPECT_EQ(mdoc_sentence("one of these\nloss=1%: lose it", {}),
            "One of these.\n.Bl -tag -width Ds -compact\n.It Cm \"\\&loss=1%\"\nLose it.\n.El\n");
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
