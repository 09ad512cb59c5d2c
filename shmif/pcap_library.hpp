#pragma once
// The functions of libpcap that we use. libpcap is loaded when a filter is compiled or a capture is
// opened for the first time, because it brings eight other libraries, and most programs on a bus
// need neither filters nor captures.

#include <pcap/pcap.h>

#include "base/result.hpp"

namespace shmif {

struct PcapLibrary {
  decltype(&::pcap_close) close = nullptr;
  decltype(&::pcap_compile) compile = nullptr;
  decltype(&::pcap_datalink) datalink = nullptr;
  decltype(&::pcap_datalink_val_to_description_or_dlt) datalink_name = nullptr;
  decltype(&::pcap_fopen_offline_with_tstamp_precision) open_stream = nullptr;
  decltype(&::pcap_freecode) free_code = nullptr;
  decltype(&::pcap_geterr) error = nullptr;
  decltype(&::pcap_next_ex) next = nullptr;
  decltype(&::pcap_offline_filter) matches = nullptr;
  decltype(&::pcap_open_dead) open_dead = nullptr;
};

/// Loads libpcap at the first call. Threads: safe. Blocks: the first call, for the disk. Errors:
/// not_supported if the library is not there. Result: never nullptr.
Result<const PcapLibrary*> pcap_library();

}  // namespace shmif
