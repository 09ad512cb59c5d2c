// The text of stat where ports differ in what happened to them, and tables at the width where they
// are folded.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/tools/show/shown_figures.hpp"
#include "tools/show/describe.hpp"

namespace shmif::test {
namespace {

PortInfo plain_port(unsigned slot, const std::string& name) {
  PortInfo port;
  port.slot = slot;
  port.name = name;
  port.live = port.up = true;
  return port;
}

TEST(StatText, APortThatWaitsForItselfIsToldWhatItLacks) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  bus.ports[1].waits_for = 4;
  const std::string text = tools::to_text(bus);
  EXPECT_TRUE(
      contains(text, "\nwaiting     slot 4 \"two\" for itself: it sends, but does not receive\n"));
}

TEST(StatText, ATableIsFoldedWhereItIsOneColumnTooWide) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  const std::string whole = tools::to_text(bus);
  std::size_t widest = 0;
  for (const std::string& line : shown_lines(whole.substr(whole.find("\n\n"))))
    widest = std::max(widest, line.size());
  EXPECT_EQ(tools::to_text(bus, widest), whole);
  const std::string folded = tools::to_text(bus, widest - 1);
  EXPECT_EQ(std::ranges::count(folded, '\n'), std::ranges::count(whole, '\n') + 4) << folded;
  // However narrow, each column stands somewhere.
  const std::string narrow = tools::to_text(bus, 1);
  for (const char* const title : {"state", "mode", "tx_frames", "lock_sleeps"})
    EXPECT_TRUE(contains(narrow, title));
}

TEST(StatText, ColumnsOfNumbersAreAlignedToTheRightWithWhatIsMissing) {
  EXPECT_EQ(tools::aligned({{"name", "pid", "share", "mixed"},
                            {"a", "-", "-1.5", "1"},
                            {"long", "1000", "20", "x"}}),
            "name   pid  share  mixed\n"
            "a        -   -1.5  1\n"
            "long  1000     20  x\n");
}

/// A bus of NetBSD's format in which each number is another one.
BusInfo netbsd_bus() {
  BusInfo bus;
  bus.format = BusFormat::netbsd;
  bus.path = "/dev/shm/n";
  bus.file_system = "tmpfs";
  bus.inode = 11;
  bus.ring_bytes = 12;
  bus.mtu = 13;
  bus.max_record_bytes = 14;
  bus.generation = 15;
  bus.first = 16;
  bus.last = 2064;
  bus.netbsd = BusInfo::Netbsd{.version = 2,
                               .lock_is_held = false,
                               .frames_in_ring = 18,
                               .bytes_in_ring = 19,
                               .first_offset = 20,
                               .last_offset = 21};
  return bus;
}

TEST(StatText, OfNetbsdsFormatHasWhatThatFormatTells) {
  BusInfo bus = netbsd_bus();
  const std::string head =
      "bus         /dev/shm/n\n"
      "format      NetBSD's, version 2\n"
      "file        tmpfs, inode 11\n"
      "geometry    ring 12 B, mtu 13, largest frame 14 B\n"
      "generation  15\n";
  const std::string tail =
      "ports       NetBSD's format does not list them\n"
      "counts      NetBSD's format has none of sent and lost frames\n";
  EXPECT_EQ(tools::to_text(bus),
            head +
                "first       16, offset 20\n"
                "last        2064, newest header at offset 21 (2 KiB of history)\n"
                "in ring     18 frames, 19 B\nlock        free\n" +
                tail);
  bus.netbsd->frames_in_ring = bus.netbsd->bytes_in_ring = std::nullopt;
  bus.netbsd->lock_is_held = true;
  EXPECT_EQ(tools::to_text(bus),
            head +
                "first       not known, offset 20\n"
                "last        not known, newest header at offset 21\n"
                "in ring     not known: the lock was held, or senders changed the bus, at each "
                "look\n"
                "lock        held, nobody knows by whom\n" +
                tail);
  bus.netbsd->version = 0;
  EXPECT_TRUE(contains(tools::to_text(bus), "NetBSD's, version 0 (nobody has rung yet)\n"));
}

TEST(StatText, OfNetbsdsFormatInJsonHasAReasonForEachThatIsNull) {
  BusInfo bus = netbsd_bus();
  for (const bool seen : {true, false}) {
    if (!seen) bus.netbsd->frames_in_ring = bus.netbsd->bytes_in_ring = std::nullopt;
    const auto shown = nlohmann::json::parse(tools::to_json(bus));
    EXPECT_EQ(shown["format"], "netbsd");
    EXPECT_EQ(shown["inode"], 11);
    EXPECT_EQ(shown["version"], 2);
    EXPECT_EQ(shown["geometry"]["ring_bytes"], 12);
    EXPECT_EQ(shown["geometry"]["mtu"], 13);
    EXPECT_EQ(shown["geometry"]["max_frame_bytes"], 14);
    EXPECT_EQ(shown["generation"], 15);
    const auto if_seen = [seen](int value) {
      return seen ? nlohmann::json(value) : nlohmann::json(nullptr);
    };
    EXPECT_EQ(shown["first"], if_seen(16));
    EXPECT_EQ(shown["last"], if_seen(2064));
    EXPECT_EQ(shown["first_offset"], 20);
    EXPECT_EQ(shown["last_offset"], 21);
    EXPECT_EQ(shown["lock_is_held"], false);
    EXPECT_EQ(shown["frames_in_ring"], if_seen(18));
    EXPECT_EQ(shown["bytes_in_ring"], if_seen(19));
    for (const auto& [name, value] : shown.items()) {
      EXPECT_EQ(value.is_null(), shown["why_null"].contains(name)) << name;
    }
  }
}

}  // namespace
}  // namespace shmif::test
