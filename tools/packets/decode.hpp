#pragma once
// Describes a frame in a line for people: the decoder of `shmifctl dump`.

#include <string>
#include <string_view>

#include "shmif/frame.hpp"

namespace shmif::tools {

struct DecodeOptions {
  bool link_header = false;      ///< begins with the frame's addresses, EtherType and length
  bool hex_dump = false;         ///< adds lines with every byte, in hexadecimal and as text
  std::string_view sender = {};  ///< the sender's name, at the beginning; empty if it is left out
};

/// One line about a frame in tcpdump's style, followed by the hex dump's lines; each ends with
/// '\n'. It has the local time to the nanosecond, then decodes ARP, IPv4, IPv6, ICMP, ICMPv6, TCP,
/// UDP, VLAN tags, LLC, STP and ping frames. It shows the beginning of other frames in hexadecimal.
/// It reads headers up to layer 4, never the data behind them. It accepts any bytes: contradictory
/// headers are called malformed. Threads: safe. Blocks: never.
std::string decode(const FrameView& frame, const DecodeOptions& options = {});

}  // namespace shmif::tools
