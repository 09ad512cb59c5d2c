#pragma once
// The fuzz targets. Each takes any bytes, and comes back, or the program ends with a report: of a
// sanitizer, of fuzz::require, or of libFuzzer's clock.

#include <array>
#include <cstdint>
#include <span>

namespace shmif::fuzz {

using Bytes = std::span<const std::uint8_t>;

void open(Bytes bytes);      ///< the header and the size of a file that somebody opens
void read(Bytes bytes);      ///< following the chain
void append(Bytes bytes);    ///< lock, claims, batches, and whom to wake
void port(Bytes bytes);      ///< a port's whole life, and a follower's
void netbsd(Bytes bytes);    ///< a port, a follower, audit and repair on a bus of NetBSD's format
void audit(Bytes bytes);     ///< audit and info
void repair(Bytes bytes);    ///< repair; afterwards there is traffic again
void board(Bytes bytes);     ///< requests, answers, journal, lines and partitions of a board
void commands(Bytes bytes);  ///< every command of shmifctl that reads a bus
void pcap(Bytes bytes);      ///< capture files
void frame(Bytes bytes);     ///< the decoder of dump, ping frames, filters applied
void filter(Bytes bytes);    ///< filter expressions
void heat(Bytes bytes);      ///< attributes, regions, and texts of the monitor and of the kernel
void state(Bytes bytes);     ///< what a job of shmifperf saves for a later run
void jobs(Bytes bytes);      ///< job files, the options in them, and plans of those
void labs(Bytes bytes);      ///< files of labs
void netlink(Bytes bytes);   ///< what is believed to be the kernel's news of interfaces
void proc(Bytes bytes);      ///< what the kernel says about threads, CPUs, interfaces and groups
void resctrl(Bytes bytes);   ///< files of resctrl, and counters of processes and devices
void remote(Bytes bytes);    ///< messages between a client and a server of shmifperf
void stream(Bytes bytes);    ///< the records of a peer of a stream link
void vhost(Bytes bytes);     ///< messages and memory of a vhost-user front-end and its driver
void memif(Bytes bytes);     ///< messages, memory and rings of a memif client
void nat(Bytes bytes);       ///< frames both ways through the filter of a gateway
void events(Bytes bytes);    ///< names of events, as people write them
void formats(Bytes bytes);   ///< what sysfs says about the events of a PMU
void symbols(Bytes bytes);   ///< ELF files, the mappings of a process, and symbols of the kernel
void text(Bytes bytes);      ///< what people write, and the first lines of an uplink

struct Target {
  const char* name;
  void (*run)(Bytes);
};
inline constexpr std::array kTargets{
    Target{"open", open},       Target{"read", read},         Target{"append", append},
    Target{"port", port},       Target{"audit", audit},       Target{"repair", repair},
    Target{"pcap", pcap},       Target{"commands", commands}, Target{"frame", frame},
    Target{"filter", filter},   Target{"state", state},       Target{"text", text},
    Target{"events", events},   Target{"formats", formats},   Target{"jobs", jobs},
    Target{"remote", remote},   Target{"netlink", netlink},   Target{"heat", heat},
    Target{"resctrl", resctrl}, Target{"proc", proc},         Target{"symbols", symbols},
    Target{"stream", stream},   Target{"vhost", vhost},       Target{"memif", memif},
    Target{"nat", nat},         Target{"netbsd", netbsd},     Target{"labs", labs},
    Target{"board", board},
};

}  // namespace shmif::fuzz
