#pragma once
// What a frame says, in a line for people: the decoder of `shmifctl dump`.

#include <string>
#include <string_view>

#include "shmif/frame.hpp"

namespace shmif::tools {

struct DecodeOptions {
  bool link_header = false;      ///< addresses, EtherType and length of the frame first
  bool hex_dump = false;         ///< every byte, in hexadecimal and as text, on lines of its own
  std::string_view sender = {};  ///< who sent it, said first; empty: not said
};

/// One line (and the hex dump's) about a frame, in the manner of tcpdump, each ended by '\n': the
/// local time to the nanosecond, then ARP, IPv4, IPv6, ICMP, ICMPv6, TCP, UDP, VLAN tags, LLC, STP
/// and ping frames decoded, of all else the beginning in hexadecimal. Reads headers up to layer 4,
/// never what is behind them. Any bytes are decoded: what contradicts itself is called malformed.
/// Threads: safe. Blocks: never.
std::string decode(const FrameView& frame, const DecodeOptions& options = {});

}  // namespace shmif::tools
